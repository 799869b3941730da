"""Anchors: their file, those that suit a dataset, and how well given anchors do."""

import re
from collections.abc import Sequence
from os import PathLike
from pathlib import Path

import numpy as np

from nets.anchors import V4_ANCHORS, V4_TINY_ANCHORS
from nets.versions import ANCHORS_PER_LEVEL
from utils.data.annotation import Sample
from utils.data.letterbox import Letterbox

RESTARTS = 5
MOST_ROUNDS = 100
MOST_BOXES = 20_000  # drawn at random from larger sets; more change no anchor by a pixel
WITHIN_REACH = 4.0  # times an anchor's width or height that a network learns to regress easily


def load_anchors(path: str | PathLike[str]) -> np.ndarray:
    """Read nine or six anchors, smallest first: `12,16 19,36 ...`, commas and spaces as one likes.

    Returns:
        float32 (levels, 3, 2), three levels of nine anchors or two of six.

    Raises:
        ValueError: The file holds anything but nine or six pairs of positive numbers.
    """
    words = [word for word in re.split(r"[,\s]+", Path(path).read_text(encoding="utf-8")) if word]
    try:
        anchors = np.array(words, np.float32)
    except ValueError as error:
        raise ValueError(f"anchors in {path}: {error}") from error
    if anchors.size not in (V4_ANCHORS.size, V4_TINY_ANCHORS.size):
        raise ValueError(
            f"anchors in {path}: {anchors.size} numbers, not nine or six pairs width,height"
        )
    if not (np.isfinite(anchors) & (anchors > 0)).all():
        raise ValueError(f"anchors in {path}: widths and heights must be positive")
    return anchors.reshape(-1, ANCHORS_PER_LEVEL, 2)


def save_anchors(path: str | PathLike[str], anchors: np.ndarray) -> None:
    """Write anchors (levels, 3, 2) as `load_anchors` reads them, every digit kept."""
    numbers = [np.format_float_positional(side, trim="-") for side in np.float32(anchors).flat]
    pairs = [",".join(pair) for pair in zip(numbers[::2], numbers[1::2], strict=True)]
    Path(path).write_text("  ".join(pairs) + "\n", encoding="utf-8")


def box_sizes(samples: Sequence[Sample], input_size: tuple[int, int]) -> np.ndarray:
    """Width and height of all objects as letterboxed: float32 (N, 2), input pixels."""
    sizes = [np.zeros((0, 2), np.float32)]
    for sample in samples:
        borders = (sample.width, sample.height) * 2
        fit = Letterbox.fit((sample.height, sample.width), input_size)
        boxes = fit.forward(np.clip(sample.boxes, 0, borders))
        sizes.append(boxes[:, 2:] - boxes[:, :2])
    return np.concatenate(sizes)


def size_iou(sizes: np.ndarray, anchors: np.ndarray) -> np.ndarray:
    """IoU of boxes (N, 2) and anchors (K, 2) that share their centre: (N, K)."""
    overlap = np.minimum(sizes[:, None], anchors).prod(axis=-1)
    return overlap / (sizes.prod(axis=-1)[:, None] + anchors.prod(axis=-1) - overlap)


def anchor_fit(sizes: np.ndarray, anchors: np.ndarray) -> tuple[float, float]:
    """How well anchors suit boxes.

    Args:
        sizes: (N, 2) width and height in input pixels.
        anchors: (..., 2) the same.

    Returns:
        Best possible recall, the share of boxes from which some anchor differs by less than 4
        times in width and in height (YOLOv5's measure), and the mean IoU with the best anchor.
        NaN where there is no box.
    """
    anchors = anchors.reshape(-1, 2)
    if not len(sizes):
        return float("nan"), float("nan")
    ratio = sizes[:, None] / anchors
    reach = np.maximum(ratio, 1 / ratio).max(axis=-1).min(axis=-1)
    best = size_iou(sizes, anchors).max(axis=-1)
    return float((reach < WITHIN_REACH).mean()), float(best.mean())


def kmeans_anchors(sizes: np.ndarray, k: int = 9, seed: int = 0) -> np.ndarray:
    """Cluster box sizes by 1 - IoU (YOLO9000, arXiv 1612.08242).

    Args:
        sizes: (N, 2) width and height in input pixels, N at least 1.
        k: How many anchors.
        seed: Of the starting points; the best of several starts is taken.

    Returns:
        float32 (k, 2), smallest area first, to a tenth of a pixel.
    """
    rng = np.random.default_rng(seed)
    sizes = np.asarray(sizes, np.float64)
    if len(sizes) > MOST_BOXES:
        sizes = rng.choice(sizes, MOST_BOXES, replace=False)
    found = [_cluster(sizes, _spread(sizes, k, rng)) for _ in range(RESTARTS)]
    best = max(found, key=lambda anchors: size_iou(sizes, anchors).max(axis=1).mean())
    best = best[np.argsort(best.prod(axis=1), kind="stable")]
    return np.maximum(best.round(1), 1).astype(np.float32)


def _spread(sizes: np.ndarray, k: int, rng: np.random.Generator) -> np.ndarray:
    """k-means++: each start is drawn with odds that grow with its distance from those before."""
    starts = rng.choice(sizes, 1)
    while len(starts) < k:
        distance = 1 - size_iou(sizes, starts).max(axis=1)
        odds = distance**2 + 1e-12  # sets with fewer than k sizes draw some of them again
        starts = np.concatenate([starts, rng.choice(sizes, 1, p=odds / odds.sum())])
    return starts


def _cluster(sizes: np.ndarray, anchors: np.ndarray) -> np.ndarray:
    nearest = None
    for _ in range(MOST_ROUNDS):
        before, nearest = nearest, size_iou(sizes, anchors).argmax(axis=1)
        if before is not None and (before == nearest).all():
            break
        # The median holds against the few huge boxes of most sets, and fits better than the mean.
        anchors = np.array(
            [
                np.median(sizes[nearest == i], axis=0) if (nearest == i).any() else anchors[i]
                for i in range(len(anchors))
            ]
        )
    return anchors
