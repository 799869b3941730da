"""Runs a detector over a whole set: the one road to figures, in training and afterwards."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from utils.data.annotation import Sample
from utils.data.images import DECODERS, read_image, reduction
from utils.inference.detections import Detections

if TYPE_CHECKING:  # it imports TensorFlow, which --help must not wait for
    from utils.inference.predictor import Predictor


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
            results = predictor([next(images) for _ in batch])
            for sample, result in zip(batch, results, strict=True):
                found.append(_in_photo_pixels(result, sample, predictor.input_size))
            bar.update(len(batch))
    return found


def _decode_ahead(
    samples: Sequence[Sample], input_size: tuple[int, int], ahead: int
) -> Iterator[np.ndarray]:
    with ThreadPoolExecutor(DECODERS) as pool:
        waiting = deque()
        for sample in samples:
            size = sample.height, sample.width
            waiting.append(pool.submit(read_image, sample.image, input_size, size))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _in_photo_pixels(found: Detections, sample: Sample, input_size: tuple[int, int]) -> Detections:
    """Undoes what decoding a large photo at a reduced size did to the boxes."""
    factor = reduction((sample.height, sample.width), input_size)
    if factor == 1:
        return found
    borders = np.array([sample.width, sample.height] * 2, np.float32)
    return Detections(np.minimum(found.boxes * factor, borders), found.scores, found.labels)
