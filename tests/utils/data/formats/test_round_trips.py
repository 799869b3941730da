import contextlib
import io
import json
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO

from tests.foreignset import add_picture, xml_objects, xml_sets
from tests.vocset import add_list, annotation
from utils.data.formats.convert import convert_from_voc, convert_to_voc

SIZES = {"a": (60, 80), "b": (17, 333), "c": (480, 641)}
CLASSES = ("cat", "dog", "no")


@st.composite
def boxes(draw, size):
    """Boxes xyxy of at least a pixel, with up to six decimals, inside an image of (h, w)."""
    corners = []
    for side in (size[1], size[0]):
        decimals = draw(st.sampled_from([0, 1, 4, 6]))
        first = draw(st.integers(0, (side - 1) * 10**decimals))
        last = draw(st.integers(first + 10**decimals, side * 10**decimals))
        corners.append((first / 10**decimals, last / 10**decimals))
    return tuple(value for pair in zip(*corners, strict=True) for value in pair)


def objects(size):
    return st.lists(st.tuples(st.sampled_from(CLASSES), boxes(size), st.integers(0, 1)), max_size=4)


datasets = st.fixed_dictionaries({name: objects(size) for name, size in SIZES.items()})
image_sets = st.dictionaries(
    st.sampled_from(["train", "val", "trainval", "test", "mini"]),
    st.lists(st.sampled_from(sorted(SIZES)), min_size=1, unique=True),
)


def write_devkit(root, content, lists):
    voc = root / "VOC2007"
    (voc / "Annotations").mkdir(parents=True)
    for name, size in SIZES.items():
        add_picture(voc / "JPEGImages" / f"{name}.png", size)
        xml = annotation(content[name], size)
        (voc / "Annotations" / f"{name}.xml").write_text(xml, encoding="utf-8")
    for name, members in lists.items():
        add_list(voc, name, members)
    (root / "classes.txt").write_text("no\ndog\ncat\n", encoding="utf-8")
    return voc


def normal(sets):
    """Returns sets with the `trainval` that follows from `train` and `val`."""
    sets = {name: sorted(members) for name, members in sets.items()}
    if "train" in sets and "val" in sets:
        sets.setdefault("trainval", sorted({*sets["train"], *sets["val"]}))
    return sets


@pytest.mark.parametrize("target", ["coco", "yolo"])
@settings(max_examples=12)
@given(content=datasets, lists=image_sets)
def test_boxes_classes_and_sets_survive_the_way_there_and_back(target, content, lists):
    content["a"] = content["a"] or [("cat", (1, 2, 3, 4), 0)]
    with TemporaryDirectory() as folder:
        root = Path(folder)
        voc = write_devkit(root / "devkit", content, lists)
        there = convert_from_voc(root / "devkit", target, root / target, False)
        back = convert_to_voc(root / target, target, root / "back", False)
        marks = [each for members in content.values() for each in members if each[2]]
        lost = marks if target == "yolo" else []
        assert [fault.kind for fault in there.faults] == ["mark not written"] * len(lost)
        assert back.faults == []
        before, after = xml_objects(voc), xml_objects(root / "back" / "VOC2007")
        if target == "yolo":
            before = {
                image: [(name, False, box) for name, _, box in members]
                for image, members in before.items()
            }
        assert after == before
        assert xml_sets(root / "back" / "VOC2007") == normal(lists)
        assert (root / "back" / "classes.txt").read_text() == "no\ndog\ncat\n"


@settings(max_examples=10)
@given(content=datasets)
def test_pycocotools_reads_what_is_written(content):
    content["a"] = content["a"] or [("cat", (1, 2, 3, 4), 0)]
    with TemporaryDirectory() as folder:
        root = Path(folder)
        write_devkit(root / "devkit", content, {"train": ["b", "a"]})
        convert_from_voc(root / "devkit", "coco", root / "coco", True)
        found = {}
        for name in ("train", "unlisted"):
            with contextlib.redirect_stdout(io.StringIO()):
                coco = COCO(root / "coco" / "annotations" / f"instances_{name}.json")
            assert [each["name"] for each in coco.loadCats([1, 2, 3])] == ["no", "dog", "cat"]
            for image in coco.loadImgs(coco.getImgIds()):
                records = coco.loadAnns(coco.getAnnIds(image["id"]))
                key = image["file_name"].removesuffix(".png")
                found[key] = [
                    (coco.cats[each["category_id"]]["name"], each["bbox"], each["ignore"])
                    for each in records
                ]
                assert (image["height"], image["width"]) == SIZES[key]
                assert (root / "coco" / "images" / image["file_name"]).is_file()
            assert len({each["id"] for each in coco.loadAnns(coco.getAnnIds())}) == len(coco.anns)
        for name, members in content.items():
            for (label, box, mark), other in zip(members, found[name], strict=True):
                x, y, width, height = other[1]
                assert (label, mark) == (other[0], other[2])
                assert (x, y) == (box[0], box[1])
                assert (x + width, y + height) == pytest.approx(box[2:], abs=1e-9)


def test_crowds_survive_a_voc_folder(tmp_path):
    add_picture(tmp_path / "coco" / "a.jpg")
    content = {
        "images": [{"id": 5, "file_name": "a.jpg", "width": 80, "height": 60}],
        "annotations": [
            {"id": 1, "image_id": 5, "category_id": 9, "bbox": [1, 2, 30, 40], "iscrowd": 1},
            {"id": 2, "image_id": 5, "category_id": 9, "bbox": [1.25, 2, 30.5, 40], "iscrowd": 0},
        ],
        "categories": [{"id": 9, "name": "cat"}],
    }
    (tmp_path / "coco" / "train.json").write_text(json.dumps(content))
    done = convert_to_voc(tmp_path / "coco", "coco", tmp_path / "voc", False)
    assert "1 crowd marked as difficult" in done.notes[0]
    found = xml_objects(tmp_path / "voc" / "VOC2007")["a"]
    assert [difficult for _, difficult, _ in found] == [True, False]
    convert_from_voc(tmp_path / "voc", "coco", tmp_path / "back", False)
    written = json.loads((tmp_path / "back" / "annotations" / "instances_train.json").read_text())
    for before, after in zip(content["annotations"], written["annotations"], strict=True):
        assert (after["iscrowd"], after["bbox"]) == (before["iscrowd"], before["bbox"])


@pytest.mark.parametrize("target", ["coco", "yolo"])
def test_real_photos_survive(shared_data, tmp_path, target):
    source = shared_data / "raccoon"
    there = convert_from_voc(source, target, tmp_path / "there", False)
    back = convert_to_voc(tmp_path / "there", target, tmp_path / "back", False)
    assert (there.faults, back.faults) == ([], [])
    after = tmp_path / "back" / "VOC2007"
    assert xml_objects(after) == xml_objects(source / "VOC2007")
    assert xml_sets(after) == xml_sets(source / "VOC2007")


def test_images_in_no_list_are_added_to_a_list_named_unlisted(tmp_path):
    write_devkit(tmp_path / "devkit", {"a": [("cat", (1, 2, 3, 4), 0)], "b": [], "c": []}, {})
    add_list(tmp_path / "devkit" / "VOC2007", "unlisted", ["b"])
    done = convert_from_voc(tmp_path / "devkit", "yolo", tmp_path / "yolo", False)
    assert done.summary.endswith("sets: unlisted 3")
    assert (tmp_path / "yolo" / "unlisted.txt").read_text().count(".png") == 3


def test_a_box_of_a_pixel_is_not_empty_because_of_rounding(tmp_path):
    content = {"a": [("cat", (0, 0.0248, 1, 1.0248), 0)], "b": [], "c": []}
    voc = write_devkit(tmp_path / "devkit", content, {})
    convert_from_voc(tmp_path / "devkit", "yolo", tmp_path / "yolo", False)
    convert_to_voc(tmp_path / "yolo", "yolo", tmp_path / "back", False)
    assert xml_objects(tmp_path / "back" / "VOC2007") == xml_objects(voc)
