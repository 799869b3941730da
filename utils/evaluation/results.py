"""Writes the results of an evaluation: metrics, text table, plots and HTML page."""

import json
from pathlib import Path

from utils.evaluation.boxfiles import DETECTION_FOLDER, GROUND_TRUTH_FOLDER
from utils.evaluation.confusion import confusion_matrix
from utils.evaluation.page import html_page
from utils.evaluation.plots import (
    CURVE_PLOTS,
    draw_bars,
    draw_class_curves,
    draw_confusion_matrix,
)
from utils.evaluation.report import Report, format_report
from utils.evaluation.wording import headline, percent

# Folders with one file per image or class, and the suffix of these files. Files of an earlier
# evaluation must not remain in them.
OWNED_FOLDERS = {GROUND_TRUTH_FOLDER: ".txt", DETECTION_FOLDER: ".txt"}
OWNED_FOLDERS |= {f"results/{kind}": ".png" for kind in CURVE_PLOTS}


def write_results(folder: Path, report: Report) -> None:
    """Writes `results.json`, `report.html` and the folder `results` with text table and plots.

    Args:
        folder: An existing folder.
        report: The report to write.
    """
    metrics, iou = report.metrics, report.metrics["voc"]["iou"]
    confusion = confusion_matrix(report.samples, report.detections, len(report.classes), iou)
    plots = folder / "results"
    plots.mkdir()
    draw_class_curves(plots, report.evaluation.curves)
    name, mean = headline(metrics, "voc")
    for file, key, title in (
        ("mAP.png", "ap", f"{name}   {percent(mean)}"),
        ("lamr.png", "lamr", "Log-average miss rate (lower is better)"),
    ):
        values = {name: class_metrics[key] for name, class_metrics in metrics["per_class"].items()}
        draw_bars(plots / file, values, title)
    draw_confusion_matrix(plots / "confusion_matrix.png", confusion, report.classes)
    (plots / "results.txt").write_text(format_report(report), encoding="utf-8")
    document = json.dumps(metrics, ensure_ascii=False, allow_nan=False, indent=2)
    (folder / "results.json").write_text(document + "\n", encoding="utf-8")
    page = html_page(report, confusion)
    # File names that are not UTF-8 hold lone surrogates.
    (folder / "report.html").write_text(page, encoding="utf-8", errors="backslashreplace")
