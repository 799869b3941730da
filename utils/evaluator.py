"""Runs a detector over a whole set: the one road to figures, in training and afterwards."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import cv2
import numpy as np
from tqdm import tqdm

from utils.annotation import Sample
from utils.detections import Detections
from utils.images import read_image

if TYPE_CHECKING:  # it imports TensorFlow, which --help must not wait for
    from utils.predictor import Predictor

THREADS = 2  # decoding hides behind the network with two already


def predict_samples(
    predictor: "Predictor", samples: Sequence[Sample], progress: bool = True
) -> list[Detections]:
    """Detects the objects of every sample, decoding the images ahead of the network.

    Args:
        predictor: makes detections, `predictor.batch_size` images at a time.
        samples: where the images are; their ground truth is not looked at.
        progress: shows a bar on standard error.

    Returns:
        One `Detections` a sample, in the samples' order and their images' pixels.
    """
    found = []
    with tqdm(total=len(samples), desc="predict", unit="image", disable=not progress) as bar:
        images = _decode_ahead(samples, predictor.input_size, 2 * predictor.batch_size)
        for start in range(0, len(samples), predictor.batch_size):
            batch = samples[start : start + predictor.batch_size]
            decoded = [next(images) for _ in batch]
            for sample, image, result in zip(batch, decoded, predictor(decoded), strict=True):
                found.append(_in_nominal_pixels(result, sample, image))
            bar.update(len(batch))
    return found


def _decode_ahead(
    samples: Sequence[Sample], input_size: tuple[int, int], ahead: int
) -> Iterator[np.ndarray]:
    cv2.setNumThreads(0)  # the threads are ours
    with ThreadPoolExecutor(THREADS) as pool:
        waiting = deque()
        for sample in samples:
            waiting.append(pool.submit(read_image, sample.image, input_size))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _in_nominal_pixels(found: Detections, sample: Sample, image: np.ndarray) -> Detections:
    """Undoes what a reduced decoding of a large photo did to the boxes."""
    height, width = image.shape[:2]
    if (height, width) == (sample.height, sample.width):
        return found
    scale = np.array([sample.width / width, sample.height / height] * 2, np.float32)
    return Detections(found.boxes * scale, found.scores, found.labels)
