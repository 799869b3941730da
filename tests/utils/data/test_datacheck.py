import threading

import numpy as np
import pytest

from nets.versions import VERSIONS
from tests.vocset import add_image
from utils import lookahead
from utils.data import file_contents
from utils.data.annotation import read_samples
from utils.data.datacheck import CheckSettings, check_dataset, decode_all
from utils.data.imagesets import ImageRef
from utils.data.vocfolder import VocFolders
from utils.errors import JobError, UserError

BOX = (10, 10, 50, 40)


def check(voc_dir, train="ab", val="cd", classes=("cat", "dog"), **options):
    splits = {"train": train, "val": val}
    refs = {split: [ImageRef(voc_dir, i) for i in names] for split, names in splits.items()}
    settings = CheckSettings(VERSIONS["v4"].anchor_array, (416, 416), **options)
    return check_dataset(refs, list(classes), settings)


@pytest.fixture
def voc(tmp_path):
    """Four images without faults."""
    for number, name in enumerate("abcd"):
        add_image(tmp_path, name, [("cat", BOX), ("dog", BOX, number % 2)], (60, 80))
    return tmp_path


def kinds(report):
    return [fault.kind for fault in report.faults]


def test_a_dataset_without_faults(voc):
    report = check(voc, strict=True)
    assert not report.faults
    assert [sample.image_id for sample in report.samples["train"]] == ["a", "b"]
    assert "faults: none" in report.table


def test_the_table_has_the_statistics(voc):
    add_image(voc, "e", [], (100, 200))
    lines = [line.split() for line in check(voc, train="abe").table.splitlines()]
    assert ["train", "val"] in lines
    assert ["images", "3", "2"] in lines
    assert ["without", "objects", "1", "0"] in lines
    assert ["objects", "(difficult)", "4", "(1)", "4", "(1)"] in lines
    assert ["cat", "2", "2"] in lines
    assert ["dog", "2", "(1)", "2", "(1)"] in lines
    assert ["largest", "width", "x", "height", "200x100", "80x60"] in lines
    # A box of 40 x 30 in an image 80 wide is 5.2 times as large at 416: 208 x 156.
    assert ["smallest", "width", "x", "height", "208x156", "208x156"] in lines
    # The best anchor is 192 x 243, with IoU 192 x 156 / (208 x 156 + 192 x 243 - 192 x 156) =
    # 0.6094. The next one, 142 x 110, is inside: 142 x 110 / (208 x 156) = 0.4814.
    assert ["mean", "IoU", "with", "the", "best", "anchor", "0.6094", "0.6094"] in lines
    assert ["best", "possible", "recall", "1.0000", "1.0000"] in lines


def test_damaged_images_are_left_out_and_reported(voc):
    data = (voc / "JPEGImages" / "a.png").read_bytes()
    (voc / "JPEGImages" / "a.png").write_bytes(data[: len(data) // 2])  # the header is intact
    report = check(voc)
    assert kinds(report) == ["unreadable image"]
    assert [sample.image_id for sample in report.samples["train"]] == ["b"]
    assert f"cannot read image {voc / 'JPEGImages' / 'a.png'}: damaged" in report.table


def test_too_many_objects_are_reported(voc):
    add_image(voc, "e", [("cat", BOX)] * 801)
    report = check(voc, train="abe", val="ce")
    assert ("too many objects", "e.png") in [(f.kind, f.path.name) for f in report.faults]
    assert "801, only the largest 800 are used" in report.table
    assert "too many objects: 1" in report.table  # only of the training images


def test_lone_files_of_any_split_are_reported_once(voc):
    for name in "ef":
        image, _ = add_image(voc, name)
        image.unlink()
    for name in "gh":
        _, xml = add_image(voc, name)
        xml.unlink()
    report = check(voc, train="abeg")  # no split contains f and h
    assert sorted((fault.kind, fault.path.name) for fault in report.faults) == [
        ("annotation without image", "e.xml"),
        ("annotation without image", "f.xml"),
        ("image without annotation", "g.png"),
        ("image without annotation", "h.png"),
    ]


def test_images_of_the_same_name_are_reported(voc):
    for suffix in (".WEBP", ".bmp"):
        (voc / "JPEGImages" / f"a{suffix}").write_bytes(b"not read")
    report = check(voc)
    assert [(fault.kind, fault.path.name, fault.detail) for fault in report.faults] == [
        ("image of the same name", "a.bmp", "a.png is used instead"),
        ("image of the same name", "a.WEBP", "a.png is used instead"),
    ]


def test_the_same_id_in_two_splits(voc):
    report = check(voc, train="abc", val="cd")
    assert [(fault.kind, fault.path.name) for fault in report.faults] == [
        ("same id in two splits", "c.png")
    ]


@pytest.mark.parametrize("suffix", [".png", ".bmp"])
def test_the_same_pixels_in_two_splits(voc, suffix):
    image = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    add_image(voc, "a", [("cat", BOX)], image=image)
    (voc / "JPEGImages" / "d.png").unlink()
    add_image(voc, "d", [("cat", BOX)], image=image, suffix=suffix)
    report = check(voc)
    assert kinds(report) == ["same pixels in two splits"]
    assert report.faults[0].path.name == "a.png"
    assert f"d{suffix}" in report.faults[0].detail
    assert len(report.samples["val"]) == 2


def test_images_that_are_equal_only_at_an_eighth_are_not_reported(voc):
    board = np.indices((64, 64)).sum(0) % 2 * 200  # grey at an eighth, and so is its inverse
    for name, image in (("a", board), ("d", 200 - board)):
        add_image(voc, name, image=np.stack([image] * 3, -1).astype(np.uint8))
    assert not check(voc).faults


def test_faults_are_counted_and_the_first_are_listed(voc):
    for name in "abcd":
        add_image(voc, name, [("bird", BOX), ("cat", BOX)])
    table = check(voc).table
    assert "unknown class: 4" in table
    assert table.count(": bird") == 3
    assert "and 1 more" in table


def test_a_fault_is_an_error_if_strict(voc):
    add_image(voc, "b", [("bird", BOX)])
    with pytest.raises(UserError, match=r"1 fault .* --strict .*b\.xml: bird"):
        check(voc, strict=True)


def test_classes_without_an_object_draw_a_warning(voc):
    for name in "cd":
        add_image(voc, name, [("cat", BOX, 1)])  # difficult: trained on, and in COCO's mAP
    for name in "ab":
        add_image(voc, name, [("cat", BOX), ("dog", BOX)])
    report = check(voc, classes=("cat", "dog", "eel"))
    assert not report.faults
    assert report.table.splitlines()[-2:] == [
        "warning: 1 of 3 classes have no object in train, so they cannot be learned: eel",
        "warning: 2 of 3 classes have no object in val, so they do not count in the mAP that "
        "selects the best weights: dog, eel",
    ]


def test_all_faults_are_written_even_if_they_are_errors(voc, tmp_path):
    for name in "abcd":
        add_image(voc, name, [("bird", BOX), ("cat", BOX)])
    path = tmp_path / "faults.csv"
    with pytest.raises(UserError, match="4 faults"):
        check(voc, strict=True, faults_file=path)
    rows = path.read_text().splitlines()[1:]
    assert [row.split(",")[0][-5:] for row in rows] == ["a.xml", "b.xml", "c.xml", "d.xml"]
    for name in "cd":
        (voc / "JPEGImages" / f"{name}.png").write_bytes(b"")
    with pytest.raises(UserError, match="no usable image"):
        check(voc, faults_file=path)
    assert len(path.read_text().splitlines()) == 1 + 2 + 2
    with pytest.raises(UserError, match="no folder"):
        check(voc, faults_file=tmp_path / "nowhere" / "faults.csv")


def test_a_split_without_a_usable_image_is_an_error(voc):
    for name in "cd":
        (voc / "JPEGImages" / f"{name}.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"no usable image among the 2 of val.*c\.png"):
        check(voc)


def test_decoding_returns_samples_digests_and_faults(voc):
    copy = voc / "JPEGImages" / "b.png"
    copy.write_bytes((voc / "JPEGImages" / "a.png").read_bytes())
    samples, _ = read_samples([ImageRef(voc, name) for name in "abcd"], ["cat", "dog"])
    damaged = voc / "JPEGImages" / "c.png"
    damaged.write_bytes(damaged.read_bytes()[:100])
    decoded = decode_all(samples, "train")
    assert [sample.image_id for sample in decoded.samples] == ["a", "b", "d"]
    assert list(decoded.by_digest.values()) == [0, 2]
    assert [(fault.kind, fault.path) for fault in decoded.faults] == [("unreadable image", damaged)]


def test_storage_that_does_not_respond_is_an_error(voc, monkeypatch):
    release = threading.Event()
    folders = VocFolders()
    samples, _ = read_samples([ImageRef(voc, "a")], ["cat", "dog"], folders)
    monkeypatch.setattr(lookahead, "READ_TIMEOUT", 0.05)  # from here on, nothing has to succeed
    for function in ("read_image_header", "read_image"):
        monkeypatch.setattr(file_contents, function, lambda *arguments: release.wait(20))
    with pytest.raises(JobError, match=r"a\.png gave no data for 0\.05 s"):
        read_samples([ImageRef(voc, "a")], ["cat", "dog"])
    with pytest.raises(JobError, match=r"a\.png gave no data for 0\.05 s"):
        decode_all(samples, "train", folders)
    release.set()
