"""One run of a predictor over sources of any kind: what it writes, prints and counts."""

import json
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from itertools import groupby, islice
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
from tqdm import tqdm

from utils.data.images import IMAGE_SUFFIXES, read_image
from utils.errors import JobError, UserError
from utils.files import OutputFolder, write_image
from utils.inference.detections import Detections, to_json
from utils.inference.draw import draw_boxes, draw_heatmap
from utils.inference.predictor import Predictor
from utils.inference.sources import Source, ahead
from utils.inference.video import VideoReader, VideoWriter

T = TypeVar("T")


class Prediction:
    """Predicts on sources, one after another.

    Args:
        predictor: finds the objects.
        classes: names, by label.
        out: folder for pictures and videos with the detections drawn in.
        crop: whether to write each object to `img_crop` in `out`, never over an older file.
        count: whether to print how many objects there are of each class.
        heatmap: whether to write a heatmap beside each picture and video.
        as_json: whether to print one JSON document at the end instead of text.
        show: whether to open a window.
    """

    def __init__(
        self,
        predictor: Predictor,
        classes: list[str],
        out: Path,
        *,
        crop: bool = False,
        count: bool = False,
        heatmap: bool = False,
        as_json: bool = False,
        show: bool = False,
    ):
        self._predictor = predictor
        self._classes = classes
        self._out = OutputFolder(out)
        self._crops = OutputFolder(out / "img_crop", replace=False) if crop else None
        self._count = count
        self._heatmap = heatmap
        self._as_json = as_json
        self._show = show
        self._entries: list[dict[str, Any]] = []
        self._total = Counter()
        self._objects = 0
        self._done = 0
        self._failed = 0

    def process(self, sources: list[Source]) -> None:
        """Predicts on all sources; of several, those that cannot be read are passed over.

        Raises:
            UserError: the only source cannot be read.
        """
        self._out.spare(Path(source.address) for source in sources)
        alone = len(sources) == 1
        for is_image, group in groupby(sources, key=lambda source: source.is_image):
            if is_image:
                self._process_images(list(group), alone)
            else:
                for source in group:
                    self._process_video(source, alone)

    def finish(self) -> None:
        """Prints what is known at the end only.

        Raises:
            JobError: a source was passed over.
        """
        if self._count and self._done > 1:
            self._say(f"in all images: {self._in_words(self._total)}")
        if self._as_json:
            print(json.dumps(self._entries))
        if self._done and not self._objects:
            print("note: nothing was found, a lower --conf may show weaker finds", file=sys.stderr)
        if self._failed:
            sources = self._failed + self._done
            raise JobError(f"{self._failed} of {sources} sources could not be read, see above")

    def _process_images(self, sources: list[Source], alone: bool) -> None:
        with (
            closing(ahead(_decode(sources), self._depth)) as decoded,
            tqdm(total=len(sources), unit="image", disable=not self._as_json) as bar,
        ):
            for source, image, found in self._detect(self._readable(decoded, alone)):
                suffix = Path(source.address).suffix.lower()
                suffix = suffix if suffix in IMAGE_SUFFIXES else ".png"
                path = self._out.path(source.name, suffix)
                drawn = draw_boxes(image, found, self._classes)
                write_image(path, drawn)
                if self._heatmap:
                    heat_path = self._out.path(f"{source.name}_heatmap", suffix)
                    write_image(heat_path, draw_heatmap(image, self._predictor.heatmap(image)))
                self._take_down(source, source.name, image, found)
                self._describe(source, path, found)
                self._done += 1
                bar.update()
                if self._show:
                    _show(source, drawn, wait_ms=0)

    def _process_video(self, source: Source, alone: bool) -> None:
        try:
            video = VideoReader(source.address)
        except UserError as error:
            self._pass_over(error, alone)
            return
        path = self._out.path(source.name, ".mp4")
        heat_path = self._out.path(f"{source.name}_heatmap", ".mp4")
        most = Counter()
        with (
            video,
            VideoWriter(path, video.fps) as drawn_video,
            VideoWriter(heat_path, video.fps) as heat_video,
            closing(ahead(video, self._depth)) as frames,
            tqdm(total=video.count, desc=source.name, unit="frame") as bar,
        ):
            try:
                for seconds, image, found in self._detect(frames):
                    moment = 0 if video.count else seconds
                    drawn = draw_boxes(image, found, self._classes)
                    drawn_video.write(drawn, moment)
                    if self._heatmap:
                        heat = self._predictor.heatmap(image)
                        heat_video.write(draw_heatmap(image, heat), moment)
                    self._take_down(source, f"{source.name}_{bar.n:06d}", image, found, bar.n)
                    most |= Counter(found.labels.tolist())
                    bar.update()
                    if self._show:
                        _show(source, drawn, wait_ms=1)
            except KeyboardInterrupt:
                # It is how a camera or a window is closed; of a file nothing half done is kept.
                if video.count and not self._show:
                    raise
        if not bar.n:
            self._pass_over(UserError(f"{source.address} has no frame that can be read"), alone)
            return
        if video.count and bar.n < video.count - 1:  # containers count to about one frame
            warning = f"{source.address} claims {video.count} frames, {bar.n} could be read"
            print(f"warning: {warning}", file=sys.stderr)
        self._done += 1
        self._say(f"{source.address} -> {path}, {bar.n} frames")
        if self._count:
            self._say(f"  at most in one frame: {self._in_words(most)}")

    @property
    def _depth(self) -> int:
        return 2 * self._predictor.batch_size

    def _detect(
        self, images: Iterable[tuple[T, np.ndarray]]
    ) -> Iterator[tuple[T, np.ndarray, Detections]]:
        images = iter(images)
        while batch := list(islice(images, self._predictor.batch_size)):
            found = self._predictor([image for _, image in batch])
            for (key, image), detections in zip(batch, found, strict=True):
                yield key, image, detections

    def _readable(
        self, decoded: Iterable[tuple[Source, np.ndarray | Exception]], alone: bool
    ) -> Iterator[tuple[Source, np.ndarray]]:
        for source, image in decoded:
            if isinstance(image, Exception):
                self._pass_over(image, alone)
            else:
                yield source, image

    def _pass_over(self, error: Exception, alone: bool) -> None:
        if alone:
            raise error
        self._failed += 1
        tqdm.write(f"warning: {error}", file=sys.stderr)

    def _take_down(
        self,
        source: Source,
        name: str,
        image: np.ndarray,
        found: Detections,
        frame: int | None = None,
    ) -> None:
        """Keeps detections for the JSON document, and the pixels in their boxes."""
        self._objects += len(found)
        if self._as_json:
            entry = to_json(source.address, image.shape[:2], found, self._classes)
            self._entries.append(entry if frame is None else {**entry, "frame": frame})
        if self._crops:
            for box, label in zip(found.boxes, found.labels, strict=True):
                xmin, ymin = np.floor(box[:2]).astype(int)
                xmax, ymax = np.ceil(box[2:]).astype(int)
                # What no file system takes in a name.
                class_name = re.sub(r'[\\/:*?"<>|\s]+', "_", self._classes[label])
                path = self._crops.path(f"{name}_{class_name}", ".png")
                write_image(path, image[ymin:ymax, xmin:xmax])

    def _describe(self, source: Source, path: Path, found: Detections) -> None:
        self._say(f"{source.address} -> {path}")
        for box, score, label in zip(found.boxes, found.scores, found.labels, strict=True):
            corners = " ".join(f"{corner:.0f}" for corner in box)
            self._say(f"  {self._classes[label]} {score:.2f} [{corners}]")
        if self._count:
            counts = Counter(found.labels.tolist())
            self._total += counts
            self._say(f"  {self._in_words(counts)}")

    def _in_words(self, counts: Counter) -> str:
        names = (f"{number} {self._classes[label]}" for label, number in sorted(counts.items()))
        return ", ".join(names) or "nothing"

    def _say(self, line: str) -> None:
        if not self._as_json:
            tqdm.write(line, file=sys.stdout)


def _decode(sources: list[Source]) -> Iterator[tuple[Source, np.ndarray | Exception]]:
    for source in sources:
        try:
            yield source, read_image(Path(source.address))
        except (UserError, OSError) as error:
            yield source, error


def _show(source: Source, image: np.ndarray, wait_ms: int) -> None:
    """Shows an image for `wait_ms`, 0 for until a key is pressed; q and Esc work as Ctrl-C."""
    cv2.imshow(source.address, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    if cv2.waitKey(wait_ms) & 0xFF in (ord("q"), 27):
        raise KeyboardInterrupt
