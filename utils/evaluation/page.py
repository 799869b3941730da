"""The report as a self-contained HTML page."""

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any

import cv2
import numpy as np

from utils.evaluation.curves import Curve
from utils.evaluation.mistakes import Mistake, largest_misses, worst_false_positives
from utils.evaluation.report import Report
from utils.evaluation.settings import SCORE_THRESHOLD, Metric
from utils.evaluation.wording import (
    CLASS_METRICS,
    COCO_METRICS,
    HEADLINES,
    class_value,
    headline,
    percent,
)

TEMPLATE = Path(__file__).with_name("page.html")
JPEG_QUALITY = 85
FALSE_POSITIVES_TEXT = (
    'The <i class="detection">detections</i> with the highest scores that match no object of their '
    "class, or only an object that a better detection already matches. The "
    '<i class="object">ground truth</i> of all classes is drawn.'
)
MISSES_TEXT = (
    'The largest <i class="object">objects</i> that no detection of their class matches, at any '
    'score. The <i class="detection">detections</i> of all classes with a score of at least '
    f"{SCORE_THRESHOLD} are drawn."
)


def html_page(report: Report, confusion: np.ndarray) -> str:
    """Fills in the template.

    Args:
        report: The report to show.
        confusion: (C + 1, C + 1) counts, from `confusion_matrix`.
    """
    metrics = report.metrics
    mistakes = ""
    if report.has_images:
        false_positives, misses = worst_false_positives(report), largest_misses(report)
        mistakes = _mistakes_section(
            "Worst false positives", FALSE_POSITIVES_TEXT, false_positives, "No false positives."
        ) + _mistakes_section("Largest misses", MISSES_TEXT, misses, "No missed objects.")
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        title=escape(report.title),
        subtitle=escape(report.subtitle),
        score_threshold=SCORE_THRESHOLD,
        iou=f"{metrics['voc']['iou']:g}",
        cards=_cards(metrics, report.metric),
        classes=_class_table(metrics["per_class"]),
        curves="".join(
            _curve_card(name, curve)
            for name, curve in report.evaluation.curves.items()
            if curve.ground_truths
        ),
        confusion=_confusion_table(confusion, [*report.classes, "background"]),
        mistakes=mistakes,
    )


def _cards(metrics: dict[str, Any], metric: Metric) -> str:
    name, value = headline(metrics, metric)
    others = [headline(metrics, other) for other in HEADLINES if other != metric]
    shown = {name} | {name for name, _ in others}
    others += [
        (name, metrics["coco"][key]) for key, name in COCO_METRICS.items() if name not in shown
    ]
    cards = [("card headline", name, percent(value))]
    cards += [("card", name, percent(value)) for name, value in others]
    objects = sum(class_metrics["ground_truths"] for class_metrics in metrics["per_class"].values())
    cards += [("card", "images", metrics["images"]), ("card", "objects", objects)]
    if seconds := metrics["seconds"]["predict"]:
        cards.append(("card", "images/s", f"{metrics['images'] / seconds:.1f}"))
    return "".join(
        f'<div class="{kind}"><b>{value}</b><span>{escape(name)}</span></div>'
        for kind, name, value in cards
    )


def _class_table(per_class: dict[str, dict[str, Any]]) -> str:
    head = "".join(f"<th>{name}</th>" for name in ("class", *CLASS_METRICS.values()))
    rows = []
    for name, metrics in per_class.items():
        cells = [f"<th>{escape(name)}</th>"]
        for key in CLASS_METRICS:
            value = metrics[key]
            bar = f' class="bar" style="--share:{value:.3f}"' if key == "ap" and value else ""
            number = -1 if value is None else value
            cells.append(f'<td data-value="{number}"{bar}>{class_value(key, value)}</td>')
        rows.append(f"<tr>{''.join(cells)}</tr>")
    return f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody>"


def _curve_card(name: str, curve: Curve) -> str:
    """Draws the envelope of a precision-recall curve at every hundredth of recall."""
    recall = np.arange(101) / 100
    envelope = np.append(curve.envelope, 0)[np.searchsorted(curve.recall, recall)]
    points = " ".join(f"{x:g},{100 - 100 * y:.1f}" for x, y in enumerate(envelope))
    return (
        '<div class="card">'
        '<svg viewBox="0 0 100 100"><rect class="frame" width="100" height="100"/>'
        f'<polygon class="area" points="0,100 {points} 100,100"/>'
        f'<polyline class="curve" points="{points}"/></svg>'
        f"<i>{escape(name)}</i><span>AP {percent(curve.average_precision)}</span></div>"
    )


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


def _mistakes_section(title: str, text: str, mistakes: Sequence[Mistake], if_none: str) -> str:
    body = f"<p>{if_none}</p>"
    if mistakes:
        body = f'<div class="row cuts">{"".join(map(_mistake_figure, mistakes))}</div>'
    return f"<h2>{title}</h2><p>{text}</p>{body}"


def _mistake_figure(mistake: Mistake) -> str:
    bgr, options = mistake.cut_out[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    encoded = base64.b64encode(cv2.imencode(".jpg", bgr, options)[1]).decode()
    return (
        f'<figure><img src="data:image/jpeg;base64,{encoded}" alt=""><figcaption>'
        f"<b>{escape(mistake.caption)}</b><br>{escape(mistake.note)}"
        f"<br>{escape(mistake.image.name)}</figcaption></figure>"
    )
