import errno
import sys
from pathlib import Path

import numpy as np
import pytest

import contact_sheet
import kmeans_for_anchors
import make_demo_data
import voc_annotation
from tests.vocset import add_image, add_list
from utils import cli
from utils.data.anchors import load_anchors
from utils.data.images import read_image
from utils.errors import UserError


def run(script, *args):
    cli.run(script.main, script.build_parser(), [str(arg) for arg in args])


@pytest.fixture
def devkit(tmp_path, monkeypatch):
    """A working directory with a `VOCdevkit` of 12 images without lists."""
    for number in range(12):
        side = 10 + 3 * number
        objects = [("浣熊", (5, 5, 5 + side, 5.4 + side)), ("cat", (-0.6, 1, 20, 61))]
        add_image(tmp_path / "VOCdevkit" / "VOC2007", f"image{number}", objects)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # `cli.run` replaces it
    return tmp_path


def lists_in(folder):
    return sorted(path.name for path in folder.rglob("*.txt"))


def test_voc_annotation_writes_the_lists_of_the_predecessors_and_nothing_else(devkit, capsys):
    run(voc_annotation)
    assert lists_in(devkit) == ["2007_train.txt", "2007_val.txt"]
    train = (devkit / "2007_train.txt").read_text(encoding="utf-8").splitlines()
    assert len(train) == 11
    path, first, second = train[0].split()
    assert Path(path).is_absolute()
    assert read_image(Path(path)).shape == (60, 80, 3)
    side = 10 + 3 * int(Path(path).stem.removeprefix("image"))
    assert first == f"5,5,{5 + side},{5 + side},1"
    assert second == "0,1,20,60,0"  # clipped and rounded
    assert capsys.readouterr().out.splitlines()[0] == "2007_train.txt: 11 images, 22 objects"


def test_voc_annotation_keeps_earlier_lists_if_no_image_can_be_used(devkit, capsys):
    run(voc_annotation)
    before = (devkit / "2007_val.txt").read_bytes()
    for path in (devkit / "VOCdevkit" / "VOC2007" / "JPEGImages").iterdir():
        path.write_bytes(b"damaged")
    with pytest.raises(SystemExit, match="2"):
        run(voc_annotation)
    assert "error: no usable image among the 11 of train" in capsys.readouterr().err
    assert (devkit / "2007_val.txt").read_bytes() == before


@pytest.mark.parametrize(("place", "data"), [(".", "."), ("JPEGImages", "..")])
def test_voc_annotation_knows_the_year_from_inside_the_folder(devkit, monkeypatch, place, data):
    monkeypatch.chdir(devkit / "VOCdevkit" / "VOC2007" / place)
    run(voc_annotation, "--data", data)
    assert lists_in(Path()) == ["2007_train.txt", "2007_val.txt"]


def test_write_splits_writes_the_missing_lists(devkit, capsys):
    voc = devkit / "VOCdevkit" / "VOC2007"
    add_list(voc, "trainval", [f"image{number}" for number in range(10)])
    run(voc_annotation, "--write-splits")
    assert "trainval.txt: exists, not changed" in capsys.readouterr().out
    ids = {
        name: (voc / "ImageSets" / "Main" / f"{name}.txt").read_text().split()
        for name in ("train", "val", "trainval")
    }
    assert (len(ids["train"]), len(ids["val"]), len(ids["trainval"])) == (9, 1, 10)
    assert sorted(ids["train"] + ids["val"]) == sorted(ids["trainval"])


def test_write_splits_writes_no_val_if_train_exists(devkit, capsys):
    voc = devkit / "VOCdevkit" / "VOC2007"
    add_list(voc, "train", [f"image{number}" for number in range(10)])
    run(voc_annotation, "--write-splits")
    assert "val.txt: not written" in capsys.readouterr().out
    assert sorted(path.stem for path in (voc / "ImageSets" / "Main").iterdir()) == [
        "train",
        "trainval",
    ]


@pytest.mark.parametrize("missing", [("train",), ("val", "train"), ("trainval", "val", "train")])
def test_lists_that_a_kill_left_out_are_written_by_the_same_command(devkit, missing):
    folder = devkit / "VOCdevkit" / "VOC2007" / "ImageSets" / "Main"
    run(voc_annotation, "--write-splits", "--seed", 3)
    whole = {path.name: path.read_text() for path in folder.iterdir()}
    for name in missing:  # in the order in which they are written, train is the last one
        (folder / f"{name}.txt").unlink()
    run(voc_annotation, "--write-splits", "--seed", 3)
    assert {path.name: path.read_text() for path in folder.iterdir()} == whole


def test_kmeans_writes_anchors_that_fit_better_than_the_defaults(devkit, capsys):
    run(kmeans_for_anchors, "--out", "a.txt", "--input-size", "96x128")
    anchors = load_anchors(devkit / "a.txt")
    assert (np.diff(anchors.prod(axis=-1).ravel()) >= 0).all()
    assert (anchors <= (128, 96)).all()
    rows = {line.split()[0]: line.split() for line in capsys.readouterr().out.splitlines()}
    assert float(rows["these"][2]) > max(float(rows["v3"][2]), float(rows["v4"][2]))


def test_contact_sheet_has_count_images(devkit, capsys):
    run(contact_sheet, "--count", 5, "--input-size", "64x96", "--out", "混合.png")
    assert capsys.readouterr().out == "混合.png\n"
    sheet = read_image(devkit / "混合.png")
    assert sheet.shape == (2 * 64 + 6, 3 * 96 + 2 * 6, 3)
    assert (sheet[70:, 204:] == 255).all()  # there is no sixth image
    assert (sheet[70:, 102:198] != 255).any()


@pytest.mark.parametrize(
    ("script", "args", "message"),
    [
        (voc_annotation, ["--data", "nowhere"], "no folder nowhere"),
        (voc_annotation, ["--train-set", "trian"], "no image set 'trian'"),
        (kmeans_for_anchors, ["--input-size", "100"], "not a multiple of 32, use 96 or 128"),
        (kmeans_for_anchors, ["--out", "no/such/folder/a.txt"], "a.txt"),
        (kmeans_for_anchors, ["--classes", "none.txt"], "none.txt"),
        (contact_sheet, ["--out", "sheet.doc"], "sheet.doc"),
        (contact_sheet, ["--count", "0"], "argument --count: '0' is not an integer"),
        (contact_sheet, ["--count", "1000"], "use at most 552 or a smaller --input-size"),
        (contact_sheet, ["--count", f"{10**400}"], "is not an integer"),
        (contact_sheet, ["--faults", "no/such/folder/faults.csv"], "no folder no/such/folder"),
        (kmeans_for_anchors, ["--faults", "no/such/folder/faults.csv"], "no folder no/such/folder"),
        (voc_annotation, ["--faults", "no/such/folder/faults.csv"], "no folder no/such/folder"),
        (contact_sheet, ["--cuont", "4"], "--count"),
    ],
)
def test_a_bad_input_prints_one_line_and_exits_with_2(devkit, capsys, script, args, message):
    with pytest.raises(SystemExit) as stop:
        run(script, *args)
    out, err = capsys.readouterr()
    assert (stop.value.code, out) == (2, "")
    error = err.splitlines()[-1]
    assert error.startswith("error: ")
    assert message in error
    assert "Traceback" not in err


def test_a_full_disk_keeps_the_earlier_lists(devkit, capsys, monkeypatch):
    run(voc_annotation)
    before = {path.name: path.read_text(encoding="utf-8") for path in devkit.glob("*.txt")}
    lines = iter(["line"] * 11)  # as many as the training list has

    def fail_at_the_end(sample):
        try:
            return next(lines)
        except StopIteration:
            raise OSError(errno.ENOSPC, "No space left on device") from None

    monkeypatch.setattr(voc_annotation, "format_line", fail_at_the_end)
    with pytest.raises(SystemExit, match="1"):
        run(voc_annotation)
    assert "no space left on device" in capsys.readouterr().err.splitlines()[-1]
    after = {
        path.name: path.read_text(encoding="utf-8") for path in devkit.iterdir() if path.is_file()
    }
    assert after == before


@pytest.mark.parametrize(
    ("script", "args"),
    [
        (voc_annotation, ()),
        (kmeans_for_anchors, ("--input-size", 96)),
        (contact_sheet, ("--input-size", 64, "--count", 12)),
    ],
)
def test_damaged_images_are_left_out_and_listed(devkit, capsys, script, args):
    voc = devkit / "VOCdevkit" / "VOC2007"
    for number in range(11):
        path = voc / "JPEGImages" / f"image{number}.png"
        path.write_bytes(path.read_bytes()[: 300 if number % 2 else 10])  # 300: an intact header
    add_image(voc, "intact", [("cat", (5, 5, 20, 20))])
    add_list(voc, "train", [f"image{number}" for number in range(12)])
    add_list(voc, "val", ["intact"])
    add_list(voc, "test", [])
    run(script, "--faults", "faults.csv", *args)
    err = capsys.readouterr().err
    rows = (devkit / "faults.csv").read_text(encoding="utf-8").splitlines()
    assert f"unreadable image: {len(rows) - 1} (image left out)\n" in err
    assert len(rows) == 12
    assert all(row.split(",")[1:3] == ["unreadable image", "image left out"] for row in rows[1:])


@pytest.mark.parametrize(
    ("script", "writer", "output"),
    [
        (kmeans_for_anchors, "save_anchors", "yolo_anchors.txt"),
        (contact_sheet, None, "contact_sheet.png"),
    ],
)
def test_a_full_disk_leaves_no_file(devkit, capsys, monkeypatch, script, writer, output):
    def fill_disk(path, *_):
        path.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    if writer:
        monkeypatch.setattr(script, writer, fill_disk)
    else:
        monkeypatch.setattr(Path, "write_bytes", fill_disk)
    with pytest.raises(SystemExit):
        run(script, "--input-size", 64)
    assert f"{output}: no space left on device" in capsys.readouterr().err.splitlines()[-1]
    assert [path.name for path in devkit.iterdir()] == ["VOCdevkit"]


def test_the_size_of_a_contact_sheet_is_limited():
    contact_sheet.check_count(552, (416, 416))
    contact_sheet.check_count(1, (9984, 9984))
    with pytest.raises(UserError, match=r"megapixels.*use a smaller --input-size"):
        contact_sheet.check_count(1, (10016, 10016))
    with pytest.raises(UserError, match="use at most 4 or a smaller"):
        contact_sheet.check_count(5, (32, 8000))  # three columns are 24,018 pixels wide


def test_make_demo_data_writes_once(tmp_path, capsys):
    flags = ("--data", tmp_path / "demo", "--train", 2, "--val", 1, "--test", 1)
    run(make_demo_data, *flags)
    assert capsys.readouterr().out == f"{tmp_path / 'demo'} now has 4 images\n"
    run(make_demo_data, *flags)
    assert "already has images" in capsys.readouterr().out
    assert lists_in(tmp_path) == ["test.txt", "train.txt", "trainval.txt", "val.txt"]
