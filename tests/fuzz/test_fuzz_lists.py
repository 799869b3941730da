"""Image sets, class files and anchors files."""

import numpy as np
import pytest
from hypothesis import strategies as st

from tests.fuzzing import changed_lines, check_line, damaged, judge
from tests.vocset import add_image, add_list
from utils.data.anchors import load_anchors
from utils.data.annotation import read_samples
from utils.data.classes import read_classes
from utils.data.imagesets import list_images
from utils.errors import UserError

LINES = "\n".join(
    ["a", "b.c", "data/VOC2007/JPEGImages/d e.png", r"x\y\a.jpg", "a 1", "b.c -1", "../../a", "/a"]
)
CLASSES = "cat\nred car\n红\nx\n"
ANCHORS = "10,13, 16,30, 33,23, 30,61, 62,45, 59,119, 116,90, 156,198, 373,326"


@pytest.fixture
def devkit(tmp_path):
    for name in ("a", "b.c", "d e"):
        add_image(tmp_path / "VOC2007", name, [("cat", (1, 2, 30, 40))])
    add_list(tmp_path / "VOC2007", "train", ["a"])
    return tmp_path


def test_image_sets(fuzz, devkit):
    folder = devkit / "VOC2007"
    path = folder / "ImageSets" / "Main" / "train.txt"

    def check(data):
        path.write_bytes(data)
        refs = judge(list_images, devkit, "train")
        if refs is None:
            return
        names = [ref.image_id for ref in refs]
        assert names and len(set(names)) == len(names)
        assert not any(len(name.splitlines()) != 1 for name in names)
        samples, faults = judge(read_samples, refs, ["cat"])
        assert len(samples) + len(faults) == len(refs)
        for fault in faults:
            check_line(str(fault))
        for sample in samples:
            assert sample.image.parent == folder / "JPEGImages"
            assert sample.boxes.tolist() == [[1, 2, 30, 40]]

    data = damaged([LINES.encode(), LINES.encode("utf-16")], [b"\n", b" 1", b"/", b"..", b"\0"])
    fuzz(check, data=data | changed_lines(LINES))


def test_names_of_image_sets(fuzz, devkit):
    text = st.text(max_size=20) | st.sampled_from(
        ["train", "2007:train", "all", "../train", "2007:"]
    )
    fuzz(lambda spec: judge(list_images, devkit, spec), spec=text)


def test_class_files(fuzz, tmp_path):
    path = tmp_path / "classes.txt"

    def check(data):
        path.write_bytes(data)
        names = judge(read_classes, path)
        if names is not None:
            assert names and len(set(names)) == len(names)
            assert all(len(name.splitlines()) == 1 and name == name.strip() for name in names)
            again = tmp_path / "again.txt"
            again.write_text("\n".join(names) + "\n", encoding="utf-8")
            assert read_classes(again) == names

    data = damaged([CLASSES.encode(), CLASSES.encode("gbk"), CLASSES.encode("utf-16")])
    fuzz(check, data=data | changed_lines(CLASSES))


def load_or_refuse(path):
    try:
        return load_anchors(path)
    except ValueError as error:  # documented; scripts turn it into a `UserError`
        raise UserError(str(error)) from error


def test_anchors_files(fuzz, tmp_path):
    path = tmp_path / "anchors.txt"

    def check(data):
        path.write_bytes(data)
        anchors = judge(load_or_refuse, path)
        if anchors is not None:
            assert anchors.dtype == np.float32 and anchors.shape in ((3, 3, 2), (2, 3, 2))
            with np.errstate(all="raise"):
                areas = anchors.prod(axis=-1)
                assert (areas > 0).all() and np.isfinite(areas).all()

    data = damaged([ANCHORS.encode(), b"1 2\n" * 6], [b",", b"\xef\xbb\xbf", b"e9", b"1_0", b"nan"])
    fuzz(check, data=data | changed_lines(ANCHORS.replace(", ", "\n")))
