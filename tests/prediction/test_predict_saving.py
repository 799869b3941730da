import csv
import json
from pathlib import Path

import numpy as np
import pytest

import utils.run
from tests.media import read_video, save_image, save_video
from utils.data.objects import usable_objects
from utils.data.orientation import ImageLayout
from utils.data.vocxml import parse_xml, read_annotation
from utils.evaluation.boxfiles import read_box_files


@pytest.fixture
def classes(detector):
    """Gives the run two more classes."""
    names = utils.run.load_run("logs/newest").classes
    names += ["dog", "cat"]
    return names


def test_voc_files_give_back_the_boxes(run):
    save_image("a.png", (64, 96), (32, 16, 64, 48))
    save_image("b.png", (64, 96), (0, 8, 96, 64))  # at three borders; VOC counts from 1
    save_image("c.png", box=None)
    assert run("a.png", "b.png", "c.png", "--save", "voc")[0] == 0
    found = {}
    for path in sorted(Path("img_out/voc").iterdir()):
        layout = ImageLayout(64, 96, 1)
        objects, faults = usable_objects(read_annotation(path), path, {"红/red": 0}, layout)
        assert faults == []
        found[path.name] = [each.box for each in objects]
    assert found == {"a.xml": [[32, 16, 64, 48]], "b.xml": [[1, 8, 96, 64]], "c.xml": []}
    text = Path("img_out/voc/a.xml").read_text(encoding="utf-8")
    assert "<filename>a.png</filename>" in text
    assert "<depth>3</depth>" in text


def test_voc_files_are_valid_xml_whatever_the_name_of_the_image(run):
    save_image("odd\x01.png")
    assert run("odd\x01.png", "--save", "voc")[0] == 0
    (path,) = Path("img_out/voc").iterdir()
    assert parse_xml(path).findtext("filename") == r"odd\x01.png"


def test_text_files_are_read_by_get_map(run):
    save_image("a.png")
    save_image("b.png", box=None)
    assert run("a.png", "b.png", "--save", "txt")[0] == 0
    Path("truth").mkdir()
    Path("truth/a.txt").write_text("红/red 32 16 64 48\n", encoding="utf-8")
    Path("truth/b.txt").write_text("红/red 1 2 3 4\n", encoding="utf-8")
    files = read_box_files(Path("truth"), Path("img_out/txt"))
    assert files.notes == []
    np.testing.assert_array_equal(files.detections[0].boxes, [[32, 16, 64, 48]])
    np.testing.assert_array_equal(files.detections[0].scores, np.float32([0.9]))
    assert len(files.detections[1]) == 0


def test_csv_has_a_row_per_detection(run):
    save_image("a.png")
    save_image("b.png", box=None)
    save_video("v.mp4", count=2)
    assert run("a.png", "b.png", "v.mp4", "--save", "csv", "--save", "txt", "--json")[0] == 0
    with Path("img_out/detections.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["source"], row["frame"]) for row in rows] == [
        *(("a.png", ""), ("v.mp4", "0"), ("v.mp4", "1"))
    ]
    assert list(rows[0].values()) == ["a.png", "", "红/red", "0.9", "32", "16", "64", "48"]
    assert len(list(Path("img_out/txt").iterdir())) == 4


@pytest.mark.parametrize(("kind", "suffix"), [("voc", ".xml"), ("txt", ".txt")])
def test_saved_files_of_equal_names_are_all_kept(run, kind, suffix):
    save_image("a.jpg")
    save_image("two/a.png")
    save_video("a.mp4", count=2)
    for _ in range(2):
        assert run("a.jpg", "two", "a.mp4", "--save", kind)[0] == 0
    assert sorted(path.name for path in Path("img_out", kind).iterdir()) == [
        f"{name}{suffix}" for name in ("a-2", "a", "a_000000", "a_000001")
    ]


def test_unknown_format_names_the_nearest(run):
    code, _, err = run("a.png", "--save", "vox")
    assert code == 2
    assert "did you mean voc?" in err


@pytest.mark.parametrize("words", [["红/red", "cat"], ["cat, 红/red"], ["红/red,cat", "cat"]])
def test_classes_reach_the_network(run, detector, classes, words):
    save_image("a.png")
    assert run("a.png", "--classes", *words)[0] == 0
    assert detector.labels == [0, 2]


def test_unknown_class_names_the_nearest(run, classes):
    save_image("a.png")
    code, _, err = run("a.png", "--classes", "dgo")
    assert (code, err.count("\n")) == (2, 1)
    assert "no class 'dgo' in the run, did you mean dog?" in err
    code, _, err = run("--classes", "dog", "a.png")
    assert code == 2


@pytest.mark.parametrize(("every", "fps"), [(2, 6.25), (3, 5), (100, 5)])
def test_every_nth_frame_is_processed(run, every, fps):
    save_video("v.mp4", count=7)  # 12.5 frames per second
    code, out, err = run("v.mp4", "--every", every, "--json", "--batch-size", 2)
    assert (code, "warning" in err) == (0, False)
    numbers = list(range(0, 7, every))
    assert [entry["frame"] for entry in json.loads(out)] == numbers
    left = [entry["detections"][0]["box"][0] for entry in json.loads(out)]
    np.testing.assert_allclose(left, [8 * number for number in numbers], atol=2)
    rate, images = read_video("img_out/v.mp4")
    assert rate == pytest.approx(fps)
    assert len(images) == len(numbers)
    assert f", {len(numbers)} frame" in run("v.mp4", "--every", every)[1]


def test_nan_is_an_error_that_names_image_and_run(run, detector):
    save_image("a.png")
    save_image("b.png")
    detector.score.assign(float("nan"))
    code, out, err = run("a.png", "b.png", "--batch-size", 2)
    assert code == 1
    assert err == (
        "error: run logs/newest computes NaN for a.png: its weights are damaged or "
        "training has diverged, restore them or train again with a lower --lr\n"
    )
    assert out == ""
