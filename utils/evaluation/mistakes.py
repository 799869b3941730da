"""The worst mistakes of a detector, each with a cut-out of its image."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from utils.data.images import read_image
from utils.data.samples import Sample
from utils.evaluation.matching import FALSE_POSITIVE, box_iou
from utils.evaluation.mistake_kinds import confused_object
from utils.evaluation.report import Report
from utils.evaluation.settings import SCORE_THRESHOLD

MAX_MISTAKES = 24  # of each kind
CUT_OUT_SIZE = (200, 300)  # maximum height and width in pixels
MARGIN = 0.8  # half the side of a cut-out, relative to the side of the box
MIN_HALF_SIDE = 40  # minimum of half the side of a cut-out, in pixels
DETECTION_COLOUR, OBJECT_COLOUR = (229, 72, 77), (31, 163, 91)  # RGB, as in page.html


@dataclass(frozen=True, eq=False)
class Mistake:
    """A false positive or a missed object.

    Attributes:
        caption: The class, and the score of a false positive.
        note: The highest IoU with an object or a detection.
        image: The image file.
        cut_out: (H, W, 3) RGB uint8, the box and its surroundings.
    """

    caption: str
    note: str
    image: Path
    cut_out: np.ndarray


def worst_false_positives(report: Report) -> list[Mistake]:
    """Finds the false positives with the highest scores; draws the ground truth of all classes."""
    matches, iou = report.evaluation.matches, report.metrics["voc"]["iou"]
    mistakes = []
    for row in np.flatnonzero(matches.outcome == FALSE_POSITIVE)[:MAX_MISTAKES]:
        image, overlap = matches.image[row], matches.overlap[row]
        sample = report.samples[image]
        box = report.detections[image].boxes[matches.index[row]]
        note = f"best IoU {overlap:.2f}"
        ious = box_iou(box[None], sample.boxes)[0]
        other = confused_object(ious, overlap, iou)
        if other is not None:
            note += f"; {ious[other]:.2f} with {report.classes[sample.labels[other]]}"
        caption = f"{report.classes[matches.label[row]]} {matches.score[row]:.2f}"
        drawn = [(other, OBJECT_COLOUR) for other in sample.boxes] + [(box, DETECTION_COLOUR)]
        mistakes.append(Mistake(caption, note, sample.image, _cut_out(sample, box, drawn)))
    return mistakes


def largest_misses(report: Report) -> list[Mistake]:
    """Finds the largest objects without a match; draws the detections of all classes."""
    missed = [
        (-float(np.prod(sample.boxes[i, 2:] - sample.boxes[i, :2])), image, i)
        for image, sample in enumerate(report.samples)
        for i in np.flatnonzero(~report.evaluation.matches.found[image] & ~sample.difficult)
    ]
    mistakes = []
    for _, image, i in sorted(missed)[:MAX_MISTAKES]:
        sample, detected = report.samples[image], report.detections[image]
        box, label = sample.boxes[i], sample.labels[i]
        same_class = detected.labels == label
        ious = box_iou(box[None], detected.boxes[same_class])[0]
        note = f"best IoU {ious.max(initial=0):.2f}"
        if len(ious):
            note += f" at score {detected.scores[same_class][ious.argmax()]:.2f}"
        shown = detected.boxes[detected.scores >= SCORE_THRESHOLD]
        drawn = [(other, DETECTION_COLOUR) for other in shown] + [(box, OBJECT_COLOUR)]
        cut_out = _cut_out(sample, box, drawn)
        mistakes.append(Mistake(report.classes[label], note, sample.image, cut_out))
    return mistakes


def _cut_out(
    sample: Sample, box: np.ndarray, drawn: list[tuple[np.ndarray, tuple[int, int, int]]]
) -> np.ndarray:
    """Cuts out a box with its surroundings and draws boxes in their colours."""
    image = read_image(sample.image)
    height, width = image.shape[:2]
    centre = (box[:2] + box[2:]) / 2
    half = np.maximum((box[2:] - box[:2]) * MARGIN, MIN_HALF_SIDE)
    left, top = np.clip(centre - half, 0, (width - 1, height - 1)).astype(int)
    right, bottom = np.clip(centre + half, (left + 1, top + 1), (width, height)).astype(int)
    cut = image[top:bottom, left:right]
    scale = min(CUT_OUT_SIZE[0] / cut.shape[0], CUT_OUT_SIZE[1] / cut.shape[1])
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    cut = cv2.resize(cut, None, fx=scale, fy=scale, interpolation=interpolation)
    for corners, colour in drawn:
        low, high = np.rint((corners.reshape(2, 2) - (left, top)) * scale).astype(int).tolist()
        cv2.rectangle(cut, low, high, colour, 2, cv2.LINE_AA)
    return cut
