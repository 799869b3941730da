"""Runs a detector on a whole image set, for validation and for evaluation."""

from collections.abc import Sequence
from dataclasses import replace
from operator import attrgetter

import numpy as np
from tqdm import tqdm

from utils.data.images import DECODERS, reduction
from utils.data.reading import read_patiently
from utils.data.samples import Sample
from utils.inference.detections import Detections, NanError
from utils.inference.predictor import Predictor, Prepared
from utils.lookahead import read_ahead


def predict_samples(
    predictor: Predictor, samples: Sequence[Sample], progress: bool = True
) -> list[Detections]:
    """Detects the objects of every sample, while threads decode the next images.

    Args:
        predictor: Makes the detections, `predictor.batch_size` images at a time.
        samples: The images; their ground truth is not used.
        progress: Whether to show a progress bar on standard error, if that is a terminal.

    Returns:
        One `Detections` per sample, in the same order, in pixels of the original image.

    Raises:
        UserError: An image is damaged, also after several attempts to read it.
        OSError: An image cannot be read, also after several attempts.
        JobError: The network computes NaN for an image, or the disk does not respond.
    """
    detections = []
    hidden = None if progress else True  # None hides it where standard error is no terminal
    with tqdm(total=len(samples), desc="predict", unit="image", disable=hidden) as bar:

        def read(sample: Sample) -> Prepared:
            size = (sample.height, sample.width)
            return predictor.prepare(read_patiently(sample.image, predictor.input_size, size))

        depth = 2 * predictor.batch_size
        images = read_ahead(read, samples, depth, DECODERS, attrgetter("image"))
        for start in range(0, len(samples), predictor.batch_size):
            batch = samples[start : start + predictor.batch_size]
            try:
                results = predictor([next(images) for _ in batch])
            except NanError as error:
                raise error.named(batch[error.index].image, "the network") from error
            for sample, result in zip(batch, results, strict=True):
                detections.append(_scale_to_original(result, sample, predictor.input_size))
            bar.update(len(batch))
    return detections


def _scale_to_original(
    detected: Detections, sample: Sample, input_size: tuple[int, int]
) -> Detections:
    """Scales boxes up if `read_image` decoded a large image at a reduced size."""
    factor = reduction((sample.height, sample.width), input_size)
    if factor == 1:
        return detected
    borders = np.array([sample.width, sample.height] * 2, np.float32)
    boxes = np.minimum(detected.boxes * factor, borders)
    return replace(detected, boxes=boxes)
