"""The prediction loop: reads sources ahead, predicts in batches, and passes frames to sinks."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from functools import partial
from itertools import groupby, islice, repeat, takewhile
from pathlib import Path
from typing import TypeVar

import numpy as np
from tqdm import tqdm

from utils.data.images import read_image
from utils.errors import JobError, UserError
from utils.inference.detections import Detections
from utils.inference.frames import Frame
from utils.inference.predictor import Predictor
from utils.inference.sinks import Sink
from utils.inference.sources import Source
from utils.inference.video import VideoReader
from utils.inference.window import Window
from utils.lookahead import look_ahead

T = TypeVar("T")


class Runner:
    """Runs a predictor on sources and passes every frame to all sinks.

    Args:
        predictor: Finds the objects.
        classes: Names of the classes, by label.
        sinks: Receivers of the frames, which process each frame in the order of this list.
        window: Shows each frame after the sinks have taken it; None for no window.
        image_bar: Whether still images have a progress bar; videos always have one.
    """

    def __init__(
        self,
        predictor: Predictor,
        classes: Sequence[str],
        sinks: Sequence[Sink],
        window: Window | None = None,
        image_bar: bool = False,
    ):
        self._predictor = predictor
        self._classes = classes
        self._sinks = sinks
        self._window = window
        self._image_bar = image_bar
        self._done = 0
        self._failed = 0

    def process(self, sources: Sequence[Source]) -> None:
        """Predicts on all sources, one after another.

        A source that cannot be read is skipped with a warning if there are others.

        Raises:
            UserError: The only source is damaged or not supported.
            OSError: The operating system cannot read the only source.
        """
        for sink in self._sinks:
            sink.begin(sources)
        is_only_source = len(sources) == 1
        for is_image, group in groupby(sources, key=lambda source: source.is_image):
            if is_image:
                self._process_images(list(group), is_only_source)
            else:
                for source in group:
                    self._process_video(source, is_only_source)

    def finish(self) -> None:
        """Finishes all sinks.

        Raises:
            JobError: At least one source was skipped.
        """
        for sink in self._sinks:
            sink.finish()
        if self._failed:
            sources = self._failed + self._done
            raise JobError(f"{self._failed} of {sources} sources could not be read, see above")

    def _process_images(self, sources: Sequence[Source], is_only_source: bool) -> None:
        tasks = (partial(_decode, source) for source in sources)
        with (
            closing(look_ahead(tasks, self._depth)) as decoded,
            tqdm(total=len(sources), unit="image", disable=not self._image_bar) as bar,
        ):
            for source, image, detections in self._detect(self._readable(decoded, is_only_source)):
                self._pass_to_sinks(Frame(source, image, detections, self._classes), bar)
                self._end(source)

    def _process_video(self, source: Source, is_only_source: bool) -> None:
        try:
            video = VideoReader(source.address)
        except UserError as error:
            self._skip(error, is_only_source)
            return
        with (
            video,
            ExitStack() as recordings,
            closing(_read_ahead(video, self._depth)) as images,
            tqdm(total=video.count, desc=source.name, unit="frame") as bar,
        ):
            for sink in self._sinks:
                recordings.enter_context(sink.recording(source, video.fps))
            try:
                for seconds, image, detections in self._detect(images):
                    seconds = 0.0 if video.count else seconds
                    frame = Frame(source, image, detections, self._classes, bar.n, seconds)
                    self._pass_to_sinks(frame, bar)
            except KeyboardInterrupt:
                # This is how cameras and windows are closed. An incomplete result of a file is
                # deleted.
                if video.count and not self._window:
                    raise
        if not bar.n:
            self._skip(UserError(f"{source.address} has no frame that can be read"), is_only_source)
            return
        if video.count and bar.n < video.count - 1:  # the count in a file may be wrong by one frame
            warning = f"{source.address} should have {video.count} frames, {bar.n} could be read"
            print(f"warning: {warning}", file=sys.stderr)
        self._end(source)

    @property
    def _depth(self) -> int:
        return 2 * self._predictor.batch_size

    def _readable(
        self, decoded: Iterable[tuple[Source, np.ndarray | Exception]], is_only_source: bool
    ) -> Iterator[tuple[Source, np.ndarray]]:
        for source, image in decoded:
            if isinstance(image, Exception):
                self._skip(image, is_only_source)
            else:
                yield source, image

    def _detect(
        self, images: Iterable[tuple[T, np.ndarray]]
    ) -> Iterator[tuple[T, np.ndarray, Detections]]:
        images = iter(images)
        while batch := list(islice(images, self._predictor.batch_size)):
            found = self._predictor([image for _, image in batch])
            for (key, image), detections in zip(batch, found, strict=True):
                yield key, image, detections

    def _pass_to_sinks(self, frame: Frame, bar: tqdm) -> None:
        for sink in self._sinks:
            sink.take(frame)
        bar.update()
        if self._window:
            self._window.show(frame)

    def _end(self, source: Source) -> None:
        self._done += 1
        for sink in self._sinks:
            sink.end(source)

    def _skip(self, error: Exception, is_only_source: bool) -> None:
        if is_only_source:
            raise error
        self._failed += 1
        tqdm.write(f"warning: {error}", file=sys.stderr)


def _decode(source: Source) -> tuple[Source, np.ndarray | Exception]:
    try:
        return source, read_image(Path(source.address))
    except (UserError, OSError) as error:
        return source, error


def _read_ahead(video: VideoReader, depth: int) -> Iterator[tuple[float, np.ndarray]]:
    """Yields the frames of a video, which a thread reads up to `depth` frames ahead."""
    read = partial(next, iter(video), None)
    with closing(look_ahead(repeat(read), depth)) as frames:
        yield from takewhile(lambda frame: frame is not None, frames)
