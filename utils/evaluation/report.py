"""What an evaluation leaves: the table, the pictures, `results.json` and `report.html`."""

import base64
import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template
from typing import Any

import cv2
import numpy as np

from utils.data.annotation import Sample
from utils.data.datacheck import format_table
from utils.data.images import read_image
from utils.evaluation.metrics import (
    FALSE,
    SURE,
    Curve,
    Matches,
    box_iou,
    class_curves,
    confusion_matrix,
    match,
)
from utils.evaluation.plots import (
    CURVES,
    draw_bars,
    draw_class_curves,
    draw_confusion_matrix,
    percent,
)
from utils.inference.detections import Detections

TEMPLATE = Path(__file__).with_suffix(".html")
HEADLINES = {
    "voc": ("voc", "map", "VOC mAP"),
    "voc11": ("voc", "map_11pt", "VOC mAP, 11 points"),
    "coco": ("coco", "map", "COCO AP"),
}
COLUMNS = {
    "ap": "AP",
    "ap_11pt": "AP 11pt",
    "coco_ap": "COCO AP",
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
    "lamr": "LAMR",
    "ground_truths": "objects",
    "detections": "detections",
}
COCO_NAMES = {
    "map": "COCO AP",
    "map50": "AP50",
    "map75": "AP75",
    "map_small": "AP small",
    "map_medium": "AP medium",
    "map_large": "AP large",
    "mar_1": "AR 1",
    "mar_10": "AR 10",
    "mar_100": "AR 100",
}
# Folders of an evaluation with a file for each image or class, and what these files end on.
FILE_A_NAME = {"ground-truth": ".txt", "detection-results": ".txt"}
FILE_A_NAME |= {f"results/{kind}": ".png" for kind in CURVES}
CUT_OUTS = 24  # of each kind
CUT_OUT_SIZE = (200, 300)  # the largest height and width in pixels
FOUND, TRUE = (229, 72, 77), (31, 163, 91)  # RGB of detections and of ground truth


@contextmanager
def replacing(out: Path) -> Iterator[Path]:
    """Gives a folder to write into; its files go to `out` together when all of them are written.

    An earlier result in `out` stays whole until then; what it has of other images and classes
    goes with it, and nothing else in `out` is touched.
    """
    out.mkdir(parents=True, exist_ok=True)
    new = Path(tempfile.mkdtemp(prefix=".new-", dir=out))
    try:
        yield new
        for folder, suffix in FILE_A_NAME.items():
            renewed = {path.name for path in (new / folder).glob("*")}
            for old in (out / folder).glob(f"*{suffix}") if renewed else ():
                if old.name not in renewed:
                    old.unlink()
        for path in sorted(new.rglob("*")):
            target = out / path.relative_to(new)
            if path.is_dir():
                target.mkdir(exist_ok=True)
            else:
                path.replace(target)
    finally:
        shutil.rmtree(new)


@dataclass(frozen=True)
class Evaluation:
    """A scored set, and how to present it.

    Attributes:
        title: heading.
        subtitle: what was scored and how, in a line.
        samples: the images with their ground truth.
        detections: what was found in them.
        scores: what `metrics.evaluate` says of it.
        metric: the figure that stands first, one of `HEADLINES`.
        has_images: whether the samples' images can be shown.
    """

    title: str
    subtitle: str
    samples: Sequence[Sample]
    detections: Sequence[Detections]
    scores: dict[str, Any]
    metric: str
    has_images: bool

    @property
    def classes(self) -> list[str]:
        """Names, by label."""
        return list(self.scores["per_class"])


def table(evaluation: Evaluation) -> str:
    """The figures as text: a row a class, the means, the chosen one large."""
    scores = evaluation.scores
    rows = [["class", *COLUMNS.values()]]
    for name, figures in scores["per_class"].items():
        rows.append([name, *(_text(figures[key]) for key in COLUMNS)])
    voc, coco = scores["voc"], scores["coco"]
    means = map(_text, (voc["map"], voc["map_11pt"], coco["map"]))
    rows.append(["mean", *means, *[""] * (len(COLUMNS) - 3)])
    head, *body, mean = format_table(rows).splitlines()
    rule = "-" * len(head)
    others = "   ".join(f"{name} {percent(coco[key])}" for key, name in COCO_NAMES.items())
    name, value = _headline(scores, evaluation.metric)
    large = f"|   {name}   {percent(value)}   |"
    frame = "+" + "=" * (len(large) - 2) + "+"
    heading = f"{evaluation.title}: {evaluation.subtitle}, {scores['images']} images"
    lines = [heading, "", head, rule, *body, rule, mean, "", others, "", frame, large, frame]
    return "\n".join(lines) + "\n"


def write_results(folder: Path, evaluation: Evaluation) -> None:
    """Writes `results.json`, `report.html` and the folder `results` with table and pictures."""
    samples, detections, scores = evaluation.samples, evaluation.detections, evaluation.scores
    classes, iou = evaluation.classes, scores["voc"]["iou"]
    matches = match(samples, detections, iou)
    curves = dict(zip(classes, class_curves(matches, len(classes)), strict=True))
    confusion = confusion_matrix(samples, detections, len(classes), iou)
    results = folder / "results"
    results.mkdir()
    draw_class_curves(results, curves)
    name, mean = _headline(scores, "voc")
    for file, key, title in (
        ("mAP.png", "ap", f"{name}   {percent(mean)}"),
        ("lamr.png", "lamr", "Log-average miss rate (less is better)"),
    ):
        values = {name: figures[key] for name, figures in scores["per_class"].items()}
        draw_bars(results / file, values, title)
    draw_confusion_matrix(results / "confusion_matrix.png", confusion, classes)
    (results / "results.txt").write_text(table(evaluation), encoding="utf-8")
    document = json.dumps(scores, ensure_ascii=False, allow_nan=False, indent=2)
    (folder / "results.json").write_text(document + "\n", encoding="utf-8")
    page = _page(evaluation, matches, curves, confusion)
    (folder / "report.html").write_text(page, encoding="utf-8", errors="backslashreplace")


def _headline(scores: dict[str, Any], metric: str) -> tuple[str, float | None]:
    """Name and value of the figure that `--metric` asks for."""
    block, key, name = HEADLINES[metric]
    if block == "voc":
        name = f"{name} at IoU {scores['voc']['iou']:g}"
    return name, scores[block][key]


def _page(
    evaluation: Evaluation, matches: Matches, curves: dict[str, Curve], confusion: np.ndarray
) -> str:
    """One page that needs no other file."""
    scores = evaluation.scores
    cut_outs = ""
    if evaluation.has_images:
        cut_outs = _false_positives(evaluation, matches) + _misses(evaluation, matches)
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        title=escape(evaluation.title),
        subtitle=escape(evaluation.subtitle),
        sure=SURE,
        iou=f"{scores['voc']['iou']:g}",
        cards=_cards(scores, evaluation.metric),
        classes=_class_table(scores["per_class"]),
        curves="".join(
            f'<div class="card">{_svg(curve)}<i>{escape(name)}</i>'
            f"<span>AP {percent(curve.average_precision)}</span></div>"
            for name, curve in curves.items()
            if curve.ground_truths
        ),
        confusion=_confusion_table(confusion, [*curves, "background"]),
        cut_outs=cut_outs,
    )


def _false_positives(evaluation: Evaluation, matches: Matches) -> str:
    figures = []
    for row in np.flatnonzero(matches.outcome == FALSE)[:CUT_OUTS]:
        image, overlap = matches.image[row], matches.overlap[row]
        sample = evaluation.samples[image]
        box = evaluation.detections[image].boxes[matches.index[row]]
        note = f"best IoU {overlap:.2f}"
        ious = box_iou(box[None], sample.boxes)[0]
        if ious.max(initial=0) > max(overlap, evaluation.scores["voc"]["iou"]):
            other = evaluation.classes[sample.labels[ious.argmax()]]
            note += f"; {ious.max():.2f} with {other}"
        what = f"{evaluation.classes[matches.label[row]]} {matches.score[row]:.2f}"
        picture = _cut_out(sample, box, FOUND, sample.boxes, TRUE)
        figures.append(_figure(picture, what, note, sample))
    about = (
        'The surest <i class="found">detections</i> that found no object of their class, or one '
        'that a surer detection had found. <i class="true">Ground truth</i> of any class.'
    )
    return _section("Worst false positives", about, figures, "No detection is false.")


def _misses(evaluation: Evaluation, matches: Matches) -> str:
    missed = [
        (-float(np.prod(sample.boxes[i, 2:] - sample.boxes[i, :2])), image, i)
        for image, sample in enumerate(evaluation.samples)
        for i in np.flatnonzero(~matches.found[image] & ~sample.difficult)
    ]
    figures = []
    for _, image, i in sorted(missed)[:CUT_OUTS]:
        sample, found = evaluation.samples[image], evaluation.detections[image]
        same_class = found.labels == sample.labels[i]
        ious = box_iou(sample.boxes[i : i + 1], found.boxes[same_class])[0]
        note = f"best IoU {ious.max(initial=0):.2f}"
        if len(ious):
            note += f" at score {found.scores[same_class][ious.argmax()]:.2f}"
        sure = found.boxes[found.scores >= SURE]
        picture = _cut_out(sample, sample.boxes[i], TRUE, sure, FOUND)
        figures.append(_figure(picture, evaluation.classes[sample.labels[i]], note, sample))
    about = (
        'The largest <i class="true">objects</i> that no detection of their class found, however '
        f'low its score. <i class="found">Detections</i> of any class with a score from {SURE}.'
    )
    return _section("Largest misses", about, figures, "Every object was found.")


def _cards(scores: dict[str, Any], metric: str) -> str:
    name, value = _headline(scores, metric)
    figures = [_headline(scores, other) for other in HEADLINES if other != metric]
    shown = {name for name, _ in figures} | {name}
    figures += [(name, scores["coco"][key]) for key, name in COCO_NAMES.items()]
    cards = [("card chief", name, percent(value))]
    cards += [("card", name, percent(value)) for name, value in figures[:2]]
    cards += [("card", name, percent(value)) for name, value in figures[2:] if name not in shown]
    objects = sum(figures["ground_truths"] for figures in scores["per_class"].values())
    cards += [("card", "images", scores["images"]), ("card", "objects", objects)]
    if seconds := scores["seconds"].get("predict"):
        cards.append(("card", "images/s", f"{scores['images'] / seconds:.1f}"))
    return "".join(
        f'<div class="{kind}"><b>{value}</b><span>{escape(name)}</span></div>'
        for kind, name, value in cards
    )


def _class_table(per_class: dict[str, dict[str, Any]]) -> str:
    head = "".join(f"<th>{name}</th>" for name in ("class", *COLUMNS.values()))
    rows = []
    for name, figures in per_class.items():
        cells = [f"<th>{escape(name)}</th>"]
        for key in COLUMNS:
            value = figures[key]
            bar = f' class="bar" style="--share:{value:.3f}"' if key == "ap" and value else ""
            number = -1 if value is None else value
            cells.append(f'<td data-value="{number}"{bar}>{_text(value)}</td>')
        rows.append(f"<tr>{''.join(cells)}</tr>")
    return f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody>"


def _confusion_table(matrix: np.ndarray, names: Sequence[str]) -> str:
    head = "".join(f"<th><span>{escape(name)}</span></th>" for name in names)
    rows = []
    for name, counts in zip(names, matrix, strict=True):
        cells = [
            f'<td class="shade" style="--share:{count / counts.sum():.3f}">{count}</td>'
            if count
            else "<td></td>"
            for count in counts
        ]
        rows.append(f"<tr><th>{escape(name)}</th>{''.join(cells)}</tr>")
    return f"<thead><tr><th></th>{head}</tr></thead><tbody>{''.join(rows)}</tbody>"


def _svg(curve: Curve) -> str:
    """A precision-recall curve as a small drawing, by the envelope at every hundredth of recall."""
    recall = np.arange(101) / 100
    envelope = np.append(curve.envelope, 0)[np.searchsorted(curve.recall, recall)]
    points = " ".join(f"{x:g},{100 - 100 * y:.1f}" for x, y in enumerate(envelope))
    return (
        '<svg viewBox="0 0 100 100"><rect class="frame" width="100" height="100"/>'
        f'<polygon class="area" points="0,100 {points} 100,100"/>'
        f'<polyline class="curve" points="{points}"/></svg>'
    )


def _section(title: str, about: str, figures: list[str], otherwise: str) -> str:
    body = f'<div class="row cuts">{"".join(figures)}</div>' if figures else f"<p>{otherwise}</p>"
    return f"<h2>{title}</h2><p>{about}</p>{body}"


def _figure(picture: np.ndarray, what: str, note: str, sample: Sample) -> str:
    encoded = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])[1]
    source = f"data:image/jpeg;base64,{base64.b64encode(encoded).decode()}"
    return (
        f'<figure><img src="{source}" alt=""><figcaption><b>{escape(what)}</b><br>{note}'
        f"<br>{escape(sample.image.name)}</figcaption></figure>"
    )


def _cut_out(
    sample: Sample,
    box: np.ndarray,
    colour: tuple[int, int, int],
    others: np.ndarray,
    other_colour: tuple[int, int, int],
) -> np.ndarray:
    """The surroundings of a box, with it and `others` drawn in."""
    image = read_image(sample.image)
    height, width = image.shape[:2]
    middle, half = (box[:2] + box[2:]) / 2, np.maximum((box[2:] - box[:2]) * 0.8, 40)
    left, top = np.clip(middle - half, 0, (width - 1, height - 1)).astype(int)
    right, bottom = np.clip(middle + half, (left + 1, top + 1), (width, height)).astype(int)
    cut = image[top:bottom, left:right]
    scale = min(CUT_OUT_SIZE[0] / cut.shape[0], CUT_OUT_SIZE[1] / cut.shape[1])
    kind = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    cut = cv2.resize(cut, None, fx=scale, fy=scale, interpolation=kind)
    for corners, ink in [*((other, other_colour) for other in others), (box, colour)]:
        low, high = np.rint((corners.reshape(2, 2) - (left, top)) * scale).astype(int).tolist()
        cv2.rectangle(cut, low, high, ink, 2, cv2.LINE_AA)
    return cut


def _text(value: float | int | None) -> str:
    return str(value) if isinstance(value, int) else percent(value)
