"""voc_annotation.py, kmeans_for_anchors.py and contact_sheet.py."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from vocset import add_image, add_list

import contact_sheet
import kmeans_for_anchors
import voc_annotation
from utils import cli
from utils.data.anchors import load_anchors
from utils.data.images import read_image


def run(script, *args):
    cli.run(script.main, script.build_parser(), [str(arg) for arg in args])


@pytest.fixture
def devkit(tmp_path, monkeypatch):
    """A folder `VOCdevkit` of 12 images without lists, in the working directory of a script."""
    for number in range(12):
        side = 10 + 3 * number
        objects = [("浣熊", (5, 5, 5 + side, 5.4 + side)), ("cat", (-0.6, 1, 20, 61))]
        add_image(tmp_path / "VOCdevkit" / "VOC2007", f"image{number}", objects)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # which `cli.run` replaces
    return tmp_path


def lists_in(folder):
    return sorted(path.name for path in folder.rglob("*.txt"))


def test_voc_annotation_writes_the_predecessors_lists_and_nothing_else(devkit, capsys):
    run(voc_annotation)
    assert lists_in(devkit) == ["2007_train.txt", "2007_val.txt"]
    train = (devkit / "2007_train.txt").read_text(encoding="utf-8").splitlines()
    assert len(train) == 11
    path, first, second = train[0].split()
    assert Path(path).is_absolute()
    assert read_image(Path(path)).shape == (60, 80, 3)
    side = 10 + 3 * int(Path(path).stem.removeprefix("image"))
    assert first == f"5,5,{5 + side},{5 + side},1"
    assert second == "0,1,20,60,0"  # inside the image, in whole pixels
    assert capsys.readouterr().out.splitlines()[0] == "2007_train.txt: 11 images, 22 objects"


def test_voc_annotation_writes_splits_where_asked_and_missing(devkit, capsys):
    voc = devkit / "VOCdevkit" / "VOC2007"
    add_list(voc, "trainval", [f"image{number}" for number in range(10)])
    run(voc_annotation, "--write-splits")
    assert "trainval.txt: left as it is" in capsys.readouterr().out
    ids = {
        name: (voc / "ImageSets" / "Main" / f"{name}.txt").read_text().split()
        for name in ("train", "val", "trainval")
    }
    assert (len(ids["train"]), len(ids["val"]), len(ids["trainval"])) == (9, 1, 10)
    assert sorted(ids["train"] + ids["val"]) == sorted(ids["trainval"])


def test_voc_annotation_writes_no_val_beside_a_train_that_holds_it(devkit, capsys):
    voc = devkit / "VOCdevkit" / "VOC2007"
    add_list(voc, "train", [f"image{number}" for number in range(10)])
    run(voc_annotation, "--write-splits")
    assert "val.txt: not written" in capsys.readouterr().out
    assert sorted(path.stem for path in (voc / "ImageSets" / "Main").iterdir()) == [
        "train",
        "trainval",
    ]


def test_kmeans_writes_anchors_and_compares_them(devkit, capsys):
    run(kmeans_for_anchors, "--out", "a.txt", "--input-size", "96x128")
    anchors = load_anchors(devkit / "a.txt")
    assert (np.diff(anchors.prod(axis=-1).ravel()) >= 0).all()
    assert (anchors <= (128, 96)).all()
    rows = {line.split()[0]: line.split() for line in capsys.readouterr().out.splitlines()}
    assert float(rows["these"][2]) > max(float(rows["v3"][2]), float(rows["v4"][2]))


def test_contact_sheet_has_as_many_images_as_asked_for(devkit, capsys):
    run(contact_sheet, "--count", 5, "--input-size", "64x96", "--out", "混合.png")
    assert capsys.readouterr().out == "混合.png\n"
    sheet = read_image(devkit / "混合.png")
    assert sheet.shape == (2 * 64 + 6, 3 * 96 + 2 * 6, 3)
    assert (sheet[70:, 204:] == 255).all()  # there is no sixth
    assert (sheet[70:, 102:198] != 255).any()


@pytest.mark.parametrize(
    ("script", "args", "told"),
    [
        (voc_annotation, ["--data", "nowhere"], "no folder nowhere"),
        (voc_annotation, ["--train-set", "trian"], "no image set 'trian'"),
        (kmeans_for_anchors, ["--input-size", "100"], "multiple of 32"),
        (kmeans_for_anchors, ["--out", "no/such/folder/a.txt"], "a.txt"),
        (kmeans_for_anchors, ["--classes", "none.txt"], "none.txt"),
        (contact_sheet, ["--out", "sheet.doc"], "sheet.doc"),
        (contact_sheet, ["--count", "0"], "--count 0"),
        (contact_sheet, ["--cuont", "4"], "--count"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(devkit, capsys, script, args, told):
    with pytest.raises(SystemExit) as stop:
        run(script, *args)
    out, err = capsys.readouterr()
    assert (stop.value.code, out) == (2, "")
    error = err.splitlines()[-1]
    assert error.startswith("error: ")
    assert told in error
    assert "Traceback" not in err


@pytest.mark.parametrize("script", [voc_annotation, kmeans_for_anchors, contact_sheet])
def test_help_needs_no_tensorflow(script):
    code = (
        f"import sys, {script.__name__} as s; s.build_parser(); print('tensorflow' in sys.modules)"
    )
    root = Path(script.__file__).parent
    command = [sys.executable, "-c", code]
    assert subprocess.run(command, cwd=root, capture_output=True, check=True).stdout == b"False\n"
