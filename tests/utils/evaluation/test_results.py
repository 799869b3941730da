import base64
import json
import re
import warnings
from dataclasses import replace

import cv2
import numpy as np
from PIL import Image

from utils.evaluation.report import format_report
from utils.evaluation.results import write_results


def read_page(folder):
    return (folder / "report.html").read_text(encoding="utf-8")


def test_all_files_are_written(report, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_results(out, report)
    files = ["a_b", "_b_&", "$x$", "猫", "no truth"]
    plots = [f"{kind}/{file}" for kind in ("AP", "F1", "Recall", "Precision") for file in files]
    for plot in (*plots, "mAP", "lamr", "confusion_matrix"):
        with Image.open(out / "results" / f"{plot}.png") as image:
            assert np.ptp(np.asarray(image)) > 100, f"{plot} is blank"
    assert json.loads((out / "results.json").read_text(encoding="utf-8")) == report.metrics
    assert (out / "results" / "results.txt").read_text(encoding="utf-8") == format_report(report)
    assert {path.name for path in out.iterdir()} == {"results", "results.json", "report.html"}


def test_the_page_is_self_contained_and_shows_mistakes(report, tmp_path):
    write_results(tmp_path, report)
    page = read_page(tmp_path)
    assert "A &lt;title&gt;" in page
    assert "&lt;b&gt;&amp;" in page
    assert "<b>&" not in page
    assert "<th>best F1</th><th>at score</th>" in page
    assert '>100.00%</td><td data-value="0.8999999761581421">0.899</td>' in page
    sources = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert all(source.startswith("data:image/jpeg;base64,") for source in sources)
    # Each image has one false positive, of "no truth" where a cat is, and that cat is missed.
    assert len(sources) == 4
    assert page.count("<b>no truth 0.60</b><br>best IoU 0.00; 1.00 with 猫<br>") == 2
    assert page.count("<b>猫</b><br>best IoU 0.00<br>") == 2
    data = np.frombuffer(base64.b64decode(sources[0].partition(",")[2]), np.uint8)
    picture = cv2.imdecode(data, cv2.IMREAD_COLOR_RGB).astype(int)
    red = (picture[..., 0] - picture[..., 2:].max(axis=-1)) > 60
    assert 100 < red.sum() < red.size / 4


def test_class_names_in_notes_are_escaped(report, tmp_path):
    detections = [
        replace(each, labels=np.where(each.labels == 1, 4, each.labels))
        for each in report.detections
    ]
    write_results(tmp_path, replace(report, detections=detections))
    assert "<b>&" not in read_page(tmp_path)


def test_file_names_that_are_not_utf_8_are_shown(report, tmp_path):
    name = b"\xc3\xa8.\xb1".decode("utf-8", "surrogateescape")
    path = report.samples[0].image.rename(tmp_path / f"{name}.png")
    renamed = replace(report.samples[0], image_id=name, image=path)
    write_results(tmp_path, replace(report, samples=[renamed, *report.samples[1:]]))
    assert "è.\\udcb1" in read_page(tmp_path)
