"""An endless, reproducible stream of augmented batches, which are prepared in advance."""

import itertools
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from nets.versions import MAX_GROUND_TRUTHS
from utils.config import Augmentation
from utils.data.drawing import drawing_processes
from utils.data.images import DECODERS
from utils.data.reading import UnreadableImages
from utils.data.samples import Sample, Samples
from utils.data.training_images import Draw, TrainingImages
from utils.errors import JobError, UserError
from utils.lookahead import look_ahead

PREFETCH = 4  # batches that are prepared in advance
DECODE_TIMEOUT = 300.0  # seconds for one image, after which the storage is considered dead
SMALLEST_PADDED = 32  # objects per image; with fewer, shorter batches are hardly faster

Batch = tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True)
class BatchSettings:
    """The size and content of batches.

    Attributes:
        input_size: Height and width of the network's input in pixels.
        batch_size: Images per batch.
        max_boxes: Maximum number of objects per image; the largest ones are kept.
        augmentation: How images are varied.
        seed: Seed of order and augmentation.
    """

    input_size: tuple[int, int]
    batch_size: int
    max_boxes: int
    augmentation: Augmentation
    seed: int


def boxes_needed(samples: Sequence[Sample], augmentation: Augmentation) -> int:
    """Computes the maximum number of objects per image of a batch.

    Returns:
        A multiple of 8, at most 800. It is enough for every single image and, with mosaic and
        mixup, for five images at the 95th percentile.
    """
    counts = Samples.of(samples).counts
    needed = int(counts.max(initial=0))
    if augmentation.mosaic and len(counts):
        needed = max(needed, 5 * int(np.ceil(np.quantile(counts, 0.95))))
    return places_for(needed)


def places_for(objects: int) -> int:
    """Returns the places for objects per image of a batch: a multiple of 8, at most 800."""
    return min(MAX_GROUND_TRUTHS, max(8, -(-objects // 8) * 8))


def padded_counts(max_boxes: int) -> list[int]:
    """Returns the numbers of objects per image that batches are padded to, smallest first.

    The training step is traced, and on a GPU with XLA compiled, for each of them. There are
    therefore at most three, each about a quarter of the next, and only one for up to 96 objects.

    Args:
        max_boxes: Maximum number of objects per image.
    """
    smaller = [-(-max_boxes // divisor // 8) * 8 for divisor in (16, 4)]
    return [*(count for count in smaller if SMALLEST_PADDED <= count < max_boxes), max_boxes]


def most_objects(batch: Batch) -> int:
    """Returns the most objects per image of a batch."""
    return int((batch[2] >= 0).sum(axis=1).max())


def trimmed(batch: Batch, needed: int) -> Batch:
    """Shortens a batch to the smallest of `padded_counts` that holds a number of objects.

    Args:
        batch: A batch that is padded to the maximum.
        needed: The most objects per image, at least those of the batch.
    """
    images, boxes, labels = batch
    count = next(count for count in padded_counts(labels.shape[1]) if count >= needed)
    return images, boxes[:, :count], labels[:, :count]


class BatchStream:
    """An endless, ordered stream of batches of a few shapes.

    Epochs follow one another without a gap: a batch may contain the end of one and the start of the
    next, so that no sample is left out. A batch is a function of seed, step, `mosaic` and size, and
    a stream can start at any step.

    An image that cannot be read any more is tried again several times. It is then replaced by grey
    without objects, with one warning per image on standard error.

    Args:
        samples: The samples to draw from; may be fewer than a batch.
        settings: Size and content of the batches.
        threads: Number of threads of `stream`.
        processes: Number of processes that prepare its images instead; 0 for none.
        rows: The images of each batch that are prepared, by position; None for all. A process that
            trains together with others prepares only its own part.

    Raises:
        UserError: There is no sample.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        settings: BatchSettings,
        threads: int = DECODERS,
        processes: int = 0,
        rows: range | None = None,
    ):
        if not samples:
            raise UserError("no image to train on: see the faults listed above")
        self._images = TrainingImages(
            samples, settings.augmentation, settings.max_boxes, settings.seed
        )
        self._settings = settings
        self._threads = processes or threads
        self._processes = processes
        self._rows = range(settings.batch_size) if rows is None else rows
        self._unreadable = UnreadableImages(len(samples))

    @property
    def steps_per_epoch(self) -> int:
        """Batches per epoch; the last one is filled up from the next epoch."""
        return -(-len(self._images) // self._settings.batch_size)

    def batch(self, step: int, mosaic: bool, size: tuple[int, int] | None = None) -> Batch:
        """Prepares one batch in the calling thread.

        Args:
            step: Number of the batch in the run, from 0.
            mosaic: Whether mosaic and mixup are used.
            size: Height and width of the images, by default the network's input.

        Returns:
            Images uint8 (B, H, W, 3) RGB, boxes float32 (B, N, 4) xyxy in their pixels, and labels
            int32 (B, N), -1 for padding. N depends on the objects, see `padded_counts`.
        """
        for fill_image in self._tasks(self._images.draw, step, mosaic, size):
            batch = fill_image()
        self._print_warnings()
        return trimmed(batch, most_objects(batch))

    def sources(self, step: int, mosaic: bool) -> list[Path]:
        """Returns the image files that a batch is made from."""
        settings = self._settings
        first = step * settings.batch_size
        numbers = range(first, first + settings.batch_size)
        found = (self._images.sources(k, mosaic, settings.input_size) for k in numbers)
        return list(dict.fromkeys(itertools.chain.from_iterable(found)))

    def stream(
        self,
        start_step: int,
        mosaic: Callable[[int], bool],
        size: Callable[[int], tuple[int, int]] | None = None,
    ) -> Iterator[tuple[int, np.ndarray, np.ndarray, np.ndarray]]:
        """Yields (step, images, boxes, labels) without end; see `batch` and `padded`."""
        with closing(self.padded(start_step, mosaic, size)) as batches:
            for step, *batch in batches:
                yield step, *trimmed(batch, most_objects(batch))

    def padded(
        self,
        start_step: int,
        mosaic: Callable[[int], bool],
        size: Callable[[int], tuple[int, int]] | None = None,
    ) -> Iterator[tuple[int, np.ndarray, np.ndarray, np.ndarray]]:
        """Yields (step, images, boxes, labels) without end, padded to the maximum of objects.

        Close the generator to stop its threads and processes.

        Args:
            start_step: Number of the first batch in the run.
            mosaic: Returns whether mosaic and mixup are used at a step. It is called once per
                batch, a few steps before the batch is used.
            size: Returns the height and width of the images at a step. It is called like `mosaic`.

        Raises:
            JobError: An image took longer than `DECODE_TIMEOUT`, too many cannot be read (see
                `UnreadableImages`), or a process ended unexpectedly.
        """
        count = len(self._rows)
        with (
            self._drawing() as draw,
            closing(
                look_ahead(
                    self._all_tasks(draw, start_step, mosaic, size),
                    PREFETCH * count,
                    self._threads,
                    DECODE_TIMEOUT,
                )
            ) as ahead,
        ):
            for step in itertools.count(start_step):
                try:
                    for _ in range(count):
                        batch = next(ahead)
                except TimeoutError as error:
                    raise JobError(
                        f"no image for {DECODE_TIMEOUT:.0f} s at step {step}: is "
                        f"{self._images.folder} on a disk or share that still responds?"
                    ) from error
                self._print_warnings()
                yield step, *batch

    def _drawing(self) -> AbstractContextManager[Draw]:
        """Returns a context with a function that draws in the calling thread or in a process."""
        if not self._processes:
            return nullcontext(self._images.draw)
        return drawing_processes(self._images, self._processes, self._settings.input_size)

    def _all_tasks(
        self,
        draw: Draw,
        start_step: int,
        mosaic: Callable[[int], bool],
        size: Callable[[int], tuple[int, int]] | None,
    ) -> Iterator[Callable[[], Batch]]:
        for step in itertools.count(start_step):
            yield from self._tasks(draw, step, mosaic(step), size(step) if size else None)

    def _tasks(
        self, draw: Draw, step: int, mosaic: bool, size: tuple[int, int] | None
    ) -> Iterator[Callable[[], Batch]]:
        """Yields one task per image of a batch. Each fills in its image and returns the batch."""
        settings, count = self._settings, len(self._rows)
        batch = (
            np.empty((count, *(size or settings.input_size), 3), np.uint8),
            np.zeros((count, settings.max_boxes, 4), np.float32),
            np.full((count, settings.max_boxes), -1, np.int32),
        )
        first = step * settings.batch_size
        for place, row in enumerate(self._rows):
            yield partial(self._fill, draw, batch, place, first + row, mosaic)

    def _fill(self, draw: Draw, batch: Batch, place: int, k: int, mosaic: bool) -> Batch:
        """Fills in image k of the run, with its objects."""
        image, boxes, labels = (array[place] for array in batch)
        drawn = draw(k, mosaic, image)
        self._unreadable.count(drawn.outcomes)
        boxes[: len(drawn.boxes)] = drawn.boxes
        labels[: len(drawn.labels)] = drawn.labels
        return batch

    def _print_warnings(self) -> None:
        """Prints in the calling thread, above a progress bar if there is one."""
        for warning in self._unreadable.take_warnings():
            tqdm.write(f"warning: {warning}", file=sys.stderr)
