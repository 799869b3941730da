"""A dataset with detections, computed in the background, for the page that shows mistakes."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Literal

from utils.data.annotation import read_samples
from utils.data.faults import fault_lines
from utils.data.images import read_image
from utils.data.imagesets import list_images
from utils.data.samples import Sample
from utils.errors import JobError, UserError
from utils.evaluation.mistake_kinds import KindOfMistake, find_mistakes
from utils.inference.detections import Detections
from utils.serving.refusals import FAILED, Refusal, bad_request
from utils.serving.service import Service
from utils.serving.work import Picture

LOG = logging.getLogger("swapyolo.serve")
IMAGE_SET = "all"
IDLE_WAIT = 0.02  # seconds between looks whether clients wait
MOST_SKIPPED_SHOWN = 20
LONGEST_WAIT = 1.0  # seconds after which an image is computed although clients wait

State = Literal["waiting", "reading", "predicting", "done", "failed"]


@dataclass(frozen=True, eq=False)
class Reviewed:
    """An image of the dataset with its result.

    Attributes:
        index: Its position in the dataset.
        sample: The image with its ground truth.
        detections: What the network finds in it.
        mistakes: The mistakes, largest first.
    """

    index: int
    sample: Sample
    detections: Detections
    mistakes: list[KindOfMistake]

    def size(self) -> float:
        """The size of its largest mistake; 0 if it has none."""
        return max((each.size for each in self.mistakes), default=0.0)


class Review:
    """Computes the detections of a dataset, one image at a time, after the first look at it.

    An image is only computed while no request is open, or a second after the one before. So
    clients wait for at most one more image, and ten thousand of them take minutes, not the service.

    Args:
        service: Runs the network.
        data: A VOC folder.

    Attributes:
        state: What it does.
        samples: The images; empty until they are read.
        results: The results so far, by position of the image.
        skipped: Number of images that could not be computed.
        faults: The faults of the files, in words.
        error: Why it has failed; empty if it has not.
    """

    def __init__(self, service: Service, data: Path):
        self._service = service
        self.data = data
        self.state: State = "waiting"
        self.samples: Sequence[Sample] = ()
        self.results: dict[int, Reviewed] = {}
        self.skipped = 0
        self.faults: list[str] = []
        self.error = ""
        self._lock = Lock()
        self._pause = Event()

    def start(self) -> None:
        """Starts the computation, unless it was started."""
        with self._lock:
            if self.state == "waiting":
                self.state = "reading"
                Thread(target=self._run, name="review thread", daemon=True).start()

    def _run(self) -> None:
        try:
            classes = self._service.network.metadata.classes
            self.samples, faults = read_samples(list_images(self.data, IMAGE_SET), classes)
            self.faults = fault_lines(faults).splitlines() if faults else []
            self.state = "predicting"
            for index, sample in enumerate(self.samples):
                self._wait_for_idle()
                if self._service.stopping:
                    return
                self._review(index, sample)
            self.state = "done"
        except (UserError, JobError, OSError) as error:
            self._fail(str(error))
        except Exception as error:  # whatever it is, the page must say that nothing comes any more
            LOG.error("the review of %s failed", self.data, exc_info=error)
            self._fail("the review failed, see the log of the service")

    def _fail(self, text: str) -> None:
        self.error, self.state = text, "failed"

    def _wait_for_idle(self) -> None:
        for _ in range(round(LONGEST_WAIT / IDLE_WAIT)):
            if self._service.is_idle:
                return
            self._pause.wait(IDLE_WAIT)

    def _review(self, index: int, sample: Sample) -> None:
        try:
            ((_, found),) = self._service.run_aside(lambda: self._pictures(sample))
        except (Refusal, TimeoutError) as error:
            self.skipped += 1
            if self.skipped <= MOST_SKIPPED_SHOWN:
                self.faults.append(_fault(sample, error))
            return
        mistakes = sorted(find_mistakes(sample, found), key=lambda each: -each.size)
        self.results[index] = Reviewed(index, sample, found, mistakes)

    def _pictures(self, sample: Sample) -> Iterator[Picture]:
        if sample.height * sample.width > self._service.settings.max_pixels:
            raise bad_request(f"{sample.image} has more pixels than --max-megapixels allows")
        try:
            image = read_image(sample.image)
        except (UserError, OSError) as error:
            raise bad_request(str(error)) from error
        network = self._service.network
        yield Picture(sample.image.name, network.prepare(image), network.thresholds)


def _fault(sample: Sample, error: Refusal | TimeoutError) -> str:
    """Returns why an image was not computed, in a line that names it."""
    if isinstance(error, Refusal) and error.status == 400:
        return error.text  # of `Review._pictures`, which names it
    reason = str(error) or "not computed in time"
    if reason == FAILED:  # there is no answer with an id
        reason = "the service failed on it, see its log"
    return f"{sample.image}: {reason}"
