"""Anchors: clustering, how well they fit the boxes, and the anchors file."""

import re
from os import PathLike
from pathlib import Path

import numpy as np

from nets.versions import ANCHORS_PER_LEVEL
from utils.data.letterbox import Letterbox
from utils.data.samples import Samples
from utils.regular_files import check_regular

RESTARTS = 5
MAX_ROUNDS = 100
# Larger sets are sampled at random; with more boxes, no anchor changes by a pixel.
MAX_CLUSTERED_BOXES = 20_000
# A network easily learns boxes whose sides differ from those of an anchor by less than this factor.
MAX_SIDE_RATIO = 4.0


def load_anchors(path: str | PathLike[str]) -> np.ndarray:
    """Reads an anchors file: nine or six pairs `width,height`, smallest first.

    Commas, spaces and line breaks all separate numbers, as in the files of the predecessors.

    Returns:
        float32 (levels, 3, 2): three levels for nine anchors, two for six.

    Raises:
        ValueError: The file does not contain nine or six pairs of positive numbers.
        UserError: It is not a regular file.
    """
    path = Path(path)
    check_regular(path)
    words = [word for word in re.split(r"[,\s]+", path.read_text(encoding="utf-8-sig")) if word]
    try:
        anchors = np.array(words, np.float32)
    except ValueError as error:
        raise ValueError(f"anchors in {path}: {error}") from error
    if anchors.size // 2 not in (6, 9) or anchors.size % 2:
        raise ValueError(
            f"anchors in {path}: {anchors.size} numbers, not nine or six pairs width,height"
        )
    if not (np.isfinite(anchors) & (anchors > 0)).all():
        raise ValueError(f"anchors in {path}: widths and heights must be positive")
    return anchors.reshape(-1, ANCHORS_PER_LEVEL, 2)


def save_anchors(path: str | PathLike[str], anchors: np.ndarray) -> None:
    """Writes anchors (levels, 3, 2) so that `load_anchors` returns exactly the same numbers."""
    numbers = [np.format_float_positional(side, trim="-") for side in np.float32(anchors).flat]
    pairs = [",".join(pair) for pair in zip(numbers[::2], numbers[1::2], strict=True)]
    Path(path).write_text("  ".join(pairs) + "\n", encoding="utf-8")


def box_sizes(samples: Samples, input_size: tuple[int, int]) -> np.ndarray:
    """Width and height of all objects after letterboxing.

    Args:
        samples: The samples.
        input_size: Height and width of the network's input.

    Returns:
        float32 (N, 2) input pixels.
    """
    boxes = samples.boxes
    image_of = np.repeat(np.arange(len(samples)), samples.counts)
    # One letterbox per size of image: large sets have few sizes.
    unique, size_of = np.unique(samples.sizes, axis=0, return_inverse=True)
    order = np.argsort(size_of.reshape(-1)[image_of], kind="stable")
    ends = np.cumsum(np.bincount(size_of.reshape(-1)[image_of], minlength=len(unique)))
    sizes = np.zeros((len(boxes), 2), np.float32)
    for (height, width), members in zip(unique.tolist(), np.split(order, ends[:-1]), strict=False):
        fit = Letterbox.fit((height, width), input_size)
        fitted = fit.forward(np.clip(boxes[members], 0, (width, height, width, height)))
        sizes[members] = fitted[:, 2:] - fitted[:, :2]
    return sizes


def size_iou(sizes: np.ndarray, anchors: np.ndarray) -> np.ndarray:
    """IoU (N, K) of boxes (N, 2) and anchors (K, 2) with a common centre."""
    width, height = np.split(sizes, 2, axis=1)
    anchor_width, anchor_height = anchors.T
    # Products of columns take a quarter of the time of `prod` over an axis of two.
    overlap = np.minimum(width, anchor_width) * np.minimum(height, anchor_height)
    return overlap / (width * height + anchor_width * anchor_height - overlap)


def anchor_fit(sizes: np.ndarray, anchors: np.ndarray) -> tuple[float, float]:
    """Measures how well anchors fit boxes.

    Args:
        sizes: (N, 2) width and height in input pixels.
        anchors: (..., 2) width and height in input pixels.

    Returns:
        Best possible recall and mean IoU with the best anchor, both 0..1, or NaN without boxes.
        The recall, as YOLOv5 defines it, is the fraction of boxes that have an anchor whose width
        and height both differ from theirs by a factor of less than 4.
    """
    anchors = anchors.reshape(-1, 2)
    if not len(sizes):
        return float("nan"), float("nan")
    ratio = sizes[:, None] / anchors
    side_ratio = np.maximum(ratio, 1 / ratio).max(axis=-1).min(axis=-1)
    best = size_iou(sizes, anchors).max(axis=-1)
    return float((side_ratio < MAX_SIDE_RATIO).mean()), float(best.mean())


def kmeans_anchors(sizes: np.ndarray, k: int = 9, seed: int = 0) -> np.ndarray:
    """Clusters box sizes by k-means with the distance 1 - IoU (YOLO9000, arXiv 1612.08242).

    Args:
        sizes: (N, 2) width and height in input pixels, N at least 1.
        k: Number of anchors.
        seed: Seed of the initial centres; the best of several restarts is returned.

    Returns:
        float32 (k, 2), smallest area first, rounded to a tenth of a pixel.
    """
    rng = np.random.default_rng(seed)
    sizes = np.asarray(sizes, np.float64)
    if len(sizes) > MAX_CLUSTERED_BOXES:
        sizes = rng.choice(sizes, MAX_CLUSTERED_BOXES, replace=False)
    results = [_cluster(sizes, _initial_centres(sizes, k, rng)) for _ in range(RESTARTS)]
    best = max(results, key=lambda anchors: size_iou(sizes, anchors).max(axis=1).mean())
    best = best[np.argsort(best.prod(axis=1), kind="stable")]
    return np.maximum(best.round(1), 1).astype(np.float32)


def _initial_centres(sizes: np.ndarray, k: int, rng: np.random.Generator) -> np.ndarray:
    """k-means++: the probability of a new centre grows with its distance from the others."""
    centres = rng.choice(sizes, 1)
    while len(centres) < k:
        distance = 1 - size_iou(sizes, centres).max(axis=1)
        weights = distance**2 + 1e-12  # not all 0, even with fewer than k distinct sizes
        centres = np.concatenate([centres, rng.choice(sizes, 1, p=weights / weights.sum())])
    return centres


def _cluster(sizes: np.ndarray, anchors: np.ndarray) -> np.ndarray:
    nearest = None
    for _ in range(MAX_ROUNDS):
        before, nearest = nearest, size_iou(sizes, anchors).argmax(axis=1)
        if before is not None and (before == nearest).all():
            break
        # The median is robust against the few huge boxes of most datasets, and fits better.
        anchors = np.array(
            [
                np.median(sizes[nearest == i], axis=0) if (nearest == i).any() else anchors[i]
                for i in range(len(anchors))
            ]
        )
    return anchors
