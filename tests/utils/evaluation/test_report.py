import base64
import json
import re
import warnings
from dataclasses import replace

import cv2
import numpy as np
import pytest
from PIL import Image

from utils.data.annotation import Sample
from utils.evaluation.metrics import evaluate
from utils.evaluation.report import Evaluation, replacing, table, write_results
from utils.inference.detections import Detections

# A path separator, mark-up, what TeX would take for a formula, letters no plain font has.
CLASSES = ["a/b", "<b>&", "$x$", "猫", "no truth"]


@pytest.fixture
def evaluation(tmp_path):
    """Two photos; class by class an object and, but for the last object, a detection of it."""
    samples, detections = [], []
    for name in ("one", "two"):
        path = tmp_path / f"{name}.png"
        cv2.imwrite(str(path), np.full((60, 100, 3), 90, np.uint8))
        # The first object touches two borders, the second is larger than the photo.
        boxes = np.array([[0, 0, 12, 9], [-5, -5, 140, 90], [90, 50, 99, 59], [40, 20, 60, 40]])
        samples.append(
            Sample(name, path, boxes.astype(np.float32), np.arange(4), np.zeros(4, bool), 100, 60)
        )
        labels = np.array([0, 1, 2, 4])
        scores = np.array([0.9, 0.8, 0.7, 0.6], np.float32)
        detections.append(Detections(boxes.astype(np.float32), scores, labels))
    scores = evaluate(samples, detections, CLASSES)
    scores["seconds"]["predict"] = 2.0
    return Evaluation("A <title>", "a subtitle", samples, detections, scores, "voc", True)


def test_all_pictures_and_the_page_are_written(evaluation, tmp_path):
    out = tmp_path / "out"
    with warnings.catch_warnings(), replacing(out) as folder:
        warnings.simplefilter("error")
        write_results(folder, evaluation)
    files = ["a_b", "_b_&", "$x$", "猫", "no truth"]
    pictures = [f"{kind}/{file}" for kind in ("AP", "F1", "Recall", "Precision") for file in files]
    for picture in (*pictures, "mAP", "lamr", "confusion_matrix"):
        with Image.open(out / "results" / f"{picture}.png") as image:
            assert np.ptp(np.asarray(image)) > 100, f"{picture} is blank"
    assert json.loads((out / "results.json").read_text(encoding="utf-8")) == evaluation.scores
    assert (out / "results" / "results.txt").read_text(encoding="utf-8") == table(evaluation)
    assert {path.name for path in out.iterdir()} == {"results", "results.json", "report.html"}


def test_the_page_needs_nothing_else_and_shows_the_mistakes(evaluation, tmp_path):
    with replacing(tmp_path / "out") as folder:
        write_results(folder, evaluation)
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "A &lt;title&gt;" in page
    assert "&lt;b&gt;&amp;" in page
    assert "<b>&" not in page
    sources = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert all(source.startswith("data:image/jpeg;base64,") for source in sources)
    # In each photo one false detection, of "no truth" on a cat, and that cat missed.
    assert len(sources) == 4
    assert page.count("<b>no truth 0.60</b><br>best IoU 0.00; 1.00 with 猫<br>") == 2
    assert page.count("<b>猫</b><br>best IoU 0.00<br>") == 2
    data = np.frombuffer(base64.b64decode(sources[0].partition(",")[2]), np.uint8)
    picture = cv2.imdecode(data, cv2.IMREAD_COLOR_RGB).astype(int)
    red = (picture[..., 0] - picture[..., 2:].max(axis=-1)) > 60
    assert 100 < red.sum() < red.size / 4


def test_a_photo_whose_name_is_not_utf_8_is_shown(evaluation, tmp_path):
    name = b"\xc3\xa8.\xb1".decode("utf-8", "surrogateescape")
    photo = evaluation.samples[0].image.rename(tmp_path / f"{name}.png")
    renamed = replace(evaluation.samples[0], image_id=name, image=photo)
    with replacing(tmp_path / "out") as folder:
        write_results(folder, replace(evaluation, samples=[renamed, *evaluation.samples[1:]]))
    assert "è.\\udcb1" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_the_table_names_what_is_undefined(evaluation):
    lines = table(evaluation).splitlines()
    assert lines[0] == "A <title>: a subtitle, 2 images"
    row = next(line for line in lines if line.startswith("no truth"))
    assert row.split() == ["no", "truth", "-", "-", "-", "0.00%", "-", "-", "-", "0", "2"]


# Of four classes with ground truth three are found, exactly.
@pytest.mark.parametrize(
    ("metric", "large"),
    [
        ("voc", "VOC mAP at IoU 0.5   75.00%"),
        ("voc11", "VOC mAP, 11 points at IoU 0.5   75.00%"),
        ("coco", "COCO AP   75.00%"),
    ],
)
def test_the_chosen_figure_is_printed_large(evaluation, metric, large):
    above, line, below = table(replace(evaluation, metric=metric)).splitlines()[-3:]
    assert line == f"|   {large}   |"
    assert above == below == "+" + "=" * (len(line) - 2) + "+"


def test_an_earlier_result_stays_whole_until_the_new_one_is(tmp_path):
    out = tmp_path / "out"
    with replacing(out) as folder:
        (folder / "detection-results").mkdir()
        for name in ("old", "both"):
            (folder / "detection-results" / f"{name}.txt").write_text("first")
        (folder / "results.json").write_text("first")
    (out / "mine.txt").write_text("a user's own")
    before = {path: path.read_bytes() for path in out.rglob("*.*")}
    with pytest.raises(OSError, match="full"), replacing(out) as folder:
        (folder / "results.json").write_text("second")
        raise OSError("disk full")
    assert {path: path.read_bytes() for path in out.rglob("*.*")} == before
    with replacing(out) as folder:
        (folder / "detection-results").mkdir()
        (folder / "detection-results" / "both.txt").write_text("second")
    now = {
        str(path.relative_to(out)): path.read_text(encoding="utf-8") for path in out.rglob("*.*")
    }
    assert now == {
        "detection-results/both.txt": "second",
        "results.json": "first",
        "mine.txt": "a user's own",
    }
