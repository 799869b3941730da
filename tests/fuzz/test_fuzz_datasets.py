"""COCO and YOLO datasets: what is converted must be read back as it is."""

import json
import shutil

import pytest

from tests.foreignset import add_coco, add_labels, add_picture
from tests.fuzzing import changed, changed_lines, check_line, damaged, judge
from utils.data.annotation import read_samples
from utils.data.formats.convert import READERS, convert_to_voc
from utils.data.formats.detect import detect_format
from utils.data.imagesets import list_images

MASK = {"size": [60, 80], "counts": "0:2m1"}
ANNOTATIONS = [
    {"bbox": [1, 2, 30, 40.5], "iscrowd": 0},
    {"bbox": [-5, 2, 30, 40], "category_id": 2, "ignore": 1},
    {"segmentation": [[1, 1, 9, 1, 9, 9]], "image_id": 2},
    {"segmentation": MASK, "iscrowd": 1},
    {"segmentation": {"size": [60, 80], "counts": [61, 5, 4734]}, "image_id": 2},
]
YAML = """path: ../data
train: images/train
val: [images/val, lists/val.txt]
nc: 2
names:
  0: cat
  1: red car
"""
LABELS = "0 0.5 0.5 0.25 0.5\n1 0.1 0.1 0.3 0.1\n1 0.1 0.1 0.3 0.1 0.4 0.6 0.2 0.2\n"


@pytest.fixture
def coco(tmp_path):
    for name in ("a.png", "b c.png"):
        add_picture(tmp_path / "coco" / "images" / name)
    file = tmp_path / "coco" / "annotations" / "instances_train.json"
    return add_coco(file, ["a.png", "b c.png"], ANNOTATIONS)


@pytest.fixture
def yolo(tmp_path):
    root = tmp_path / "yolo"
    for name in ("train/a", "val/b"):
        add_picture(root / "images" / f"{name}.png")
        add_labels(root / "labels" / f"{name}.txt", *LABELS.splitlines())
    add_labels(root / "lists" / "val.txt", "../images/val/b.png")
    (root / "data.yaml").write_text(YAML)
    return root


def check_conversion(source, origin):
    """Converts a dataset and reads the result."""
    out = source.parent / "out"
    shutil.rmtree(out, ignore_errors=True)  # a dataset may be the whole folder
    judge(detect_format, source)
    dataset = judge(READERS[origin], source)
    done = judge(convert_to_voc, source, origin, out, copy=False)
    assert (dataset is None) == (done is None)
    if dataset is None:
        assert not out.exists()
        return
    for line in [*map(str, done.faults), *done.notes, done.summary]:
        check_line(line)
    assert len({image.name for image in dataset.images}) == len(dataset.images)
    assert all(image.path.resolve().is_relative_to(source.parent) for image in dataset.images)
    for image in dataset.images:
        for each in image.objects:
            xmin, ymin, xmax, ymax = each.box
            assert -1.001 <= xmin < xmax <= image.width + 1.001
            assert -1.001 <= ymin < ymax <= image.height + 1.001
            assert 0 <= each.label < len(dataset.classes)
    samples, _ = read_samples(list_images(out, "all"), dataset.classes)
    found = {
        sample.image_id: sorted(zip(sample.labels.tolist(), sample.difficult.tolist(), strict=True))
        for sample in samples
    }
    assert found == {
        image.name: sorted((each.label, each.difficult) for each in image.objects)
        for image in dataset.images
    }
    for name, members in dataset.sets.items():
        assert sorted(ref.image_id for ref in list_images(out, name)) == sorted(set(members))


def test_changed_coco_files(fuzz, coco):
    document = json.loads(coco.read_text())

    def check(document):
        coco.write_text(json.dumps(document))
        check_conversion(coco.parents[1], "coco")

    fuzz(check, document=changed(document))


def test_damaged_coco_files(fuzz, coco):
    words = [b"[" * 2000, b"NaN", b"1e999", b"null", b"\\ud800", b"\xff", b"9" * 400, b'"']

    def check(data):
        coco.write_bytes(data)
        check_conversion(coco.parents[1], "coco")

    fuzz(check, data=damaged([coco.read_bytes()], words))


def test_descriptions_of_yolo(fuzz, yolo):
    words = [b"&a ", b"*a", b"<<: *a", b"!!python/name:x ", b"!x ", b"? ", b"- ", b"|", b"{", b"]"]
    words += [b"nc: 9999999999", b"\\0", b'"\\ud800"', b"[" * 3000, b"train: ", b"kpt_shape: [1]"]

    def check(data):
        (yolo / "data.yaml").write_bytes(data)
        check_conversion(yolo, "yolo")

    fuzz(check, data=damaged([YAML.encode()], words) | changed_lines(YAML))


def test_descriptions_of_darknet(fuzz, yolo):
    (yolo / "data.yaml").unlink()
    text = "classes = 2\ntrain = lists/val.txt\nnames = obj.names\n"
    lines = "../images/val/b.png\n../images/train/a.png\n/data/images/train/a.png"

    def check(data, names, listed):
        (yolo / "obj.data").write_bytes(data)
        (yolo / "obj.names").write_bytes(names)
        (yolo / "lists" / "val.txt").write_bytes(listed)
        check_conversion(yolo, "yolo")

    fuzz(
        check,
        data=damaged([text.encode()]) | changed_lines(text),
        names=changed_lines("cat\nred car\n"),
        listed=changed_lines(lines),
    )


def test_labels_of_yolo(fuzz, yolo):
    path = yolo / "labels" / "train" / "a.txt"

    def check(data):
        path.write_bytes(data)
        check_conversion(yolo, "yolo")

    words = [b"\n", b" ", b"nan", b"1e39", b"-1 ", b"\x85", b"\xc2\x85", b"1_0"]
    fuzz(check, data=damaged([LABELS.encode()], words) | changed_lines(LABELS))
