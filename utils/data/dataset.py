"""Batches for training, made ahead by threads and the same however often they are asked for."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from utils.data.annotation import Sample
from utils.data.augment import Augmentation, Picture, plan, shift_colours
from utils.data.images import DECODERS, read_image
from utils.errors import JobError, UserError

PREFETCH = 4  # batches in the making
PATIENCE = 300.0  # seconds for one image before the storage is taken for dead
MOST_BOXES = 800  # so many can be told apart by nets.assigner


def boxes_needed(samples: Sequence[Sample], augmentation: Augmentation) -> int:
    """Places for objects in an image of a batch: a multiple of 8, at most 800.

    Any image of up to 800 objects fits; with mosaic and mixup five images do that are fuller than
    95% of all, as far as 800 go.
    """
    counts = [len(sample.boxes) for sample in samples] or [0]
    needed = max(counts)
    if augmentation.mosaic:
        needed = max(needed, 5 * int(np.ceil(np.quantile(counts, 0.95))))
    return min(MOST_BOXES, max(8, -(-needed // 8) * 8))


@lru_cache(maxsize=4)
def _permutation(seed: int, epoch: int, count: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch, 1]).permutation(count)


class BatchStream:
    """An endless, ordered stream of batches of static shape.

    Sample k of a run is the k-th of the samples shuffled anew for each epoch, epochs following one
    another without a gap, so that none is ever left out, and all chance in it comes from the seed
    and k. A batch is therefore a function of seed, step, `mosaic` and size, and a run can be taken
    up at any step.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        input_size: tuple[int, int],
        batch_size: int,
        max_boxes: int,
        augmentation: Augmentation,
        seed: int,
        workers: int = DECODERS,
    ):
        """Args:
        samples: What to draw from; fewer than a batch will do.
        input_size: (H, W) of the network's input.
        batch_size: Images a batch.
        max_boxes: Places for objects an image; where there are more the largest stay.
        augmentation: How images are varied.
        seed: Of order and augmentation.
        workers: Threads of `stream`.
        """
        if not samples:
            raise UserError("no image left to train on: see the faults named above")
        self._samples = list(samples)
        self._sizes = [(sample.height, sample.width) for sample in samples]
        self._input_size = tuple(input_size)
        self._batch_size = batch_size
        self._max_boxes = max_boxes
        self._augmentation = augmentation
        self._seed = seed
        self._workers = workers

    @property
    def steps_per_epoch(self) -> int:
        """Batches in which each sample was seen, the last filled up from the next epoch."""
        return -(-len(self._samples) // self._batch_size)

    def batch(
        self, step: int, mosaic: bool, size: tuple[int, int] | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """One batch.

        Args:
            step: Its number in the run, from 0.
            mosaic: Whether mosaic and mixup are switched on.
            size: (H, W) of the images, if not that of the network's input.

        Returns:
            Images uint8 (B, H, W, 3) RGB; boxes float32 (B, N, 4), xyxy in their pixels; labels
            int32 (B, N), -1 where there is no object.
        """
        arrays = self._empty(size or self._input_size)
        for row in range(self._batch_size):
            self._fill(step, row, mosaic, arrays)
        return arrays

    def sources(self, step: int, mosaic: bool) -> list[Path]:
        """The image files that went into a batch."""
        first = step * self._batch_size
        indices = [
            index
            for row in range(self._batch_size)
            for picture in self._plan(first + row, mosaic, self._input_size)
            for index, _ in picture.parts
        ]
        return [self._samples[index].image for index in dict.fromkeys(indices)]

    def stream(
        self,
        start_step: int,
        mosaic: Callable[[int], bool],
        size: Callable[[int], tuple[int, int]] | None = None,
    ) -> Iterator[tuple[int, np.ndarray, np.ndarray, np.ndarray]]:
        """Batches from `start_step` on, without end, each with its step; see `batch`.

        Args:
            start_step: The first one's number in the run.
            mosaic: Whether mosaic and mixup are switched on at a step. Asked when the making of
                its batch begins, a few steps ahead of its use.
            size: (H, W) of the images at a step, asked likewise.

        Raises:
            JobError: An image took minutes to come.
            UserError: An image could not be read.
        """
        pool = ThreadPoolExecutor(self._workers, thread_name_prefix="batch")
        ahead: deque[tuple[tuple[np.ndarray, ...], list[Future]]] = deque()
        step = start_step
        try:
            while True:
                while len(ahead) < PREFETCH:
                    number = step + len(ahead)
                    arrays = self._empty(size(number) if size else self._input_size)
                    switched_on = mosaic(number)
                    making = [
                        pool.submit(self._fill, number, row, switched_on, arrays)
                        for row in range(self._batch_size)
                    ]
                    ahead.append((arrays, making))
                arrays, making = ahead.popleft()
                for future in making:
                    future.result(timeout=PATIENCE)
                yield step, *arrays
                step += 1
        except TimeoutError as error:
            raise JobError(
                f"no image for {PATIENCE:.0f} s at step {step}: is {self._samples[0].image.parent} "
                "on a disk or share that still answers?"
            ) from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _empty(self, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return (
            np.empty((self._batch_size, *size, 3), np.uint8),
            np.zeros((self._batch_size, self._max_boxes, 4), np.float32),
            np.full((self._batch_size, self._max_boxes), -1, np.int32),
        )

    def _index(self, k: int) -> int:
        epoch, place = divmod(k, len(self._samples))
        return int(_permutation(self._seed, epoch, len(self._samples))[place])

    def _plan(self, k: int, mosaic: bool, size: tuple[int, int]) -> list[Picture]:
        rng = np.random.default_rng([self._seed, k])
        return plan(rng, self._augmentation, self._index(k), self._sizes, size, mosaic)

    def _fill(self, step: int, row: int, mosaic: bool, arrays: tuple[np.ndarray, ...]) -> None:
        """Make one sample of a batch in its place."""
        k = step * self._batch_size + row
        image, boxes, labels = (array[row] for array in arrays)
        first, *second = self._plan(k, mosaic, image.shape[:2])
        found = self._draw(first, image)
        for picture in second:
            blended = np.empty_like(image)
            found += self._draw(picture, blended)
            cv2.addWeighted(image, 0.5, blended, 0.5, 0, dst=image)
        all_boxes = np.concatenate([some for some, _ in found])
        all_labels = np.concatenate([some for _, some in found])
        if len(all_boxes) > self._max_boxes:
            areas = (all_boxes[:, 2:] - all_boxes[:, :2]).prod(axis=1)
            largest = np.argsort(-areas, kind="stable")[: self._max_boxes]
            all_boxes, all_labels = all_boxes[largest], all_labels[largest]
        boxes[: len(all_boxes)] = all_boxes
        labels[: len(all_labels)] = all_labels

    def _draw(self, picture: Picture, canvas: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        found = []
        for index, placement in picture.parts:
            sample = self._samples[index]
            drawn = (int(placement.height), int(placement.width))
            placement.draw(read_image(sample.image, drawn, self._sizes[index]), canvas)
            boxes, kept = placement.forward(sample.boxes)
            found.append((boxes[kept], sample.labels[kept]))
        shift_colours(canvas, picture.gains)
        return found
