"""The prediction loop: reads sources ahead, predicts in batches, and passes frames to sinks."""

import math
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import groupby, islice, repeat, takewhile
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from tqdm import tqdm

from utils.data.images import DECODERS, count_pictures, read_image
from utils.data.reading import describe_read_error
from utils.errors import JobError, UserError
from utils.inference.animation import AnimationReader, is_animation
from utils.inference.detections import Detections, NanError
from utils.inference.frames import Frame
from utils.inference.predictor import Predictor, Prepared
from utils.inference.sinks import Sink
from utils.inference.sources import Source
from utils.inference.video import VideoReader
from utils.inference.window import Window
from utils.lookahead import read_ahead, read_one

if TYPE_CHECKING:  # needs packages that only tracking requires
    from utils.inference.tracking import Tracker

T = TypeVar("T")

SLOWEST_FPS = 5.0  # below this, a video is a slide show


@dataclass(frozen=True)
class RunnerSettings:
    """How sources are processed.

    Attributes:
        window: Shows each frame after the sinks have taken it; None for no window.
        image_bar: Whether still images have a progress bar on a terminal; videos always have one.
        every: Step between the frames of a video that are processed; 1 processes all.
        origin: Where the weights come from, for error messages.
        start_tracker: Returns a tracker for a number of frames per second; None to not track.
        always_skip: Whether a source that cannot be read is skipped even if there is no other.
    """

    window: Window | None = None
    image_bar: bool = False
    every: int = 1
    origin: str = "the network"
    start_tracker: Callable[[float], "Tracker"] | None = None
    always_skip: bool = False


DEFAULT_SETTINGS = RunnerSettings()


@dataclass(frozen=True, eq=False)
class _Picture:
    """An image that a thread has read.

    Attributes:
        image: RGB uint8 (height, width, 3), for the sinks.
        prepared: The same image in the size in which the network receives it.
    """

    image: np.ndarray
    prepared: Prepared


class Runner:
    """Runs a predictor on sources and passes every frame to all sinks.

    Args:
        predictor: Finds the objects.
        classes: Names of the classes, by label.
        sinks: Receivers of the frames, which process each frame in the order of this list.
        settings: How the sources are processed.
    """

    def __init__(
        self,
        predictor: Predictor,
        classes: Sequence[str],
        sinks: Sequence[Sink],
        settings: RunnerSettings = DEFAULT_SETTINGS,
    ):
        self._predictor = predictor
        self._classes = classes
        self._sinks = sinks
        self._window = settings.window
        self._image_bar = settings.image_bar
        self._every = settings.every
        self._origin = settings.origin
        self._start_tracker = settings.start_tracker
        self._always_skip = settings.always_skip
        self._done = 0
        self._failed = 0
        self._cut_off = 0

    def process(self, sources: Sequence[Source]) -> None:
        """Predicts on all sources, one after another.

        A source that cannot be read is skipped with a warning if there are others.

        Raises:
            UserError: The only source is damaged or not supported.
            OSError: The operating system cannot read the only source.
            JobError: A source gives no data for too long, or the network computes NaN.
        """
        for sink in self._sinks:
            sink.begin(sources)
        is_only_source = len(sources) == 1 and not self._always_skip
        first = self._done + self._failed
        # The sources can be too many for a list of all.
        for is_image, group in groupby(sources, key=lambda source: source.is_image):
            if is_image:
                hidden = None if self._image_bar else True  # None hides it without a terminal
                position = self._done + self._failed - first
                with tqdm(
                    total=len(sources), initial=position, unit="source", disable=hidden
                ) as bar:
                    self._process_images(group, is_only_source, bar)
            else:
                for source in group:
                    self._process_video(source, is_only_source)

    def finish(self) -> None:
        """Finishes all sinks.

        Raises:
            JobError: At least one source was skipped or ended early.
        """
        for sink in self._sinks:
            sink.finish()
        failures = {"could not be read": self._failed, "ended early": self._cut_off}
        found = [f"{number} {what}" for what, number in failures.items() if number]
        if found:
            what = " and ".join(found).replace(" ", f" of {self._failed + self._done} sources ", 1)
            raise JobError(f"{what}, see above")

    def _process_images(self, sources: Iterable[Source], is_only_source: bool, bar: tqdm) -> None:
        with closing(read_ahead(self._decode, sources, self._depth, DECODERS, _address)) as decoded:
            for source, image, detections in self._detect(decoded, _address):
                if isinstance(image, Exception):
                    self._skip(source, image, is_only_source)
                    bar.update()
                    continue
                self._pass_to_sinks(Frame(source, image, detections, self._classes), bar)
                self._end(source)

    def _process_video(self, source: Source, is_only_source: bool) -> None:
        try:
            video = self._open(source.address)
        except (UserError, OSError) as error:
            self._skip(source, error, is_only_source)
            return
        total = video.count and math.ceil(video.count / self._every)
        # Some recorders do not state the number of frames.
        is_live = not video.count and not Path(source.address).is_file()
        count, was_stopped, tracks, error = 0, False, None, None
        tracker = self._start_tracker and self._start_tracker(video.fps / self._every)
        with (
            video,
            ExitStack() as recordings,
            closing(self._read_frames(video, source.address)) as images,
            tqdm(total=total, desc=source.name, unit="frame", disable=None) as bar,
        ):
            for sink in self._sinks:
                recordings.enter_context(sink.recording(source, self._result_fps(video.fps)))
            try:
                for seconds, image, detections in self._detect(images, lambda _: source.address):
                    if tracker:
                        if not count and (error := tracker.line_error(image, source.address)):
                            break
                        time = seconds if is_live else None
                        detections, tracks = tracker.update(image, detections, time)
                    seconds = seconds if is_live else 0.0
                    number = count * self._every
                    frame = Frame(source, image, detections, self._classes, number, seconds, tracks)
                    self._pass_to_sinks(frame, bar)
                    count += 1
            except KeyboardInterrupt:
                # This closes cameras and windows. An incomplete result of a file is deleted.
                if not is_live and not self._window:
                    raise
                was_stopped = True
        if not count:
            error = error or UserError(f"{source.address} has no frame that can be read")
            self._skip(source, error, is_only_source)
            return
        if is_live and not was_stopped:
            _warn(f"{source.address} gives no more frames")
        elif video.count and not was_stopped:
            self._check_end(source, video)
        self._end(source)

    def _check_end(self, source: Source, video: VideoReader | AnimationReader) -> None:
        read, stated = video.frames_read, video.count
        problem = None
        if read < stated - 1:  # the number that a file states may be wrong by one
            problem = f"{source.address} should have {stated} frames, {read} could be read"
        elif video.ended_early:
            problem = f"{source.address} is damaged: only its first {read} frames could be read"
        if problem:
            _warn(problem)
        if video.ended_early:
            self._cut_off += 1
            for sink in self._sinks:
                sink.fail(source, problem)

    def _open(self, address: str) -> VideoReader | AnimationReader:
        if address.isdecimal():  # macOS opens cameras only in the main thread
            return VideoReader(address, self._every)
        if read_one(is_animation, Path(address)):
            return read_one(lambda path: AnimationReader(path, self._every), Path(address))
        return read_one(lambda name: VideoReader(name, self._every), address)

    def _result_fps(self, fps: float) -> float:
        """Frame rate of the written video, which plays in real time unless that is too slow."""
        return max(fps / self._every, min(fps, SLOWEST_FPS))

    @property
    def _depth(self) -> int:
        return 2 * self._predictor.batch_size

    def _detect(
        self, pictures: Iterable[tuple[T, _Picture | Exception]], name: Callable[[T], str]
    ) -> Iterator[tuple[T, np.ndarray | Exception, Detections | None]]:
        """Yields images with their detections, and errors without, in order."""
        pictures = iter(pictures)
        while batch := list(islice(pictures, self._predictor.batch_size)):
            readable = [each for each in batch if isinstance(each[1], _Picture)]
            try:
                found = self._predictor([picture.prepared for _, picture in readable])
            except NanError as error:
                raise error.named(name(readable[error.index][0]), self._origin) from error
            found = iter(found)
            for key, picture in batch:
                if isinstance(picture, _Picture):
                    yield key, picture.image, next(found)
                else:
                    yield key, picture, None

    # Threads run `_decode` and `_picture`, so that reading and resizing do not delay the network.

    def _picture(self, image: np.ndarray) -> _Picture:
        return _Picture(image, self._predictor.prepare(image))

    def _decode(self, source: Source) -> tuple[Source, _Picture | Exception]:
        path = Path(source.address)
        try:
            picture, count = self._picture(read_image(path)), count_pictures(path)
        except (UserError, OSError) as error:
            return source, error
        if count > 1:
            _warn(f"only the first of the {count} pictures in {source.address} is used")
        return source, picture

    def _read_frames(
        self, video: VideoReader | AnimationReader, address: str
    ) -> Iterator[tuple[float, _Picture]]:
        """Yields the frames of a video, which a thread reads ahead."""
        frames = ((seconds, self._picture(image)) for seconds, image in video)
        with closing(
            read_ahead(lambda _: next(frames, None), repeat(address), self._depth)
        ) as ahead:
            yield from takewhile(lambda frame: frame is not None, ahead)

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

    def _skip(self, source: Source, error: Exception, is_only_source: bool) -> None:
        if is_only_source:
            raise error
        self._failed += 1
        message = describe_read_error(error)
        _warn(message)
        for sink in self._sinks:
            sink.fail(source, message)


def _address(source: Source) -> str:
    return source.address


def _warn(message: object) -> None:
    tqdm.write(f"warning: {message}", file=sys.stderr)
