import csv
import errno
import subprocess
import sys
from pathlib import Path

import pytest

import convert_dataset
import voc_annotation
from tests.foreignset import add_coco, add_labels, add_picture, xml_sets
from tests.vocset import add_image, add_list
from utils import cli


def run(script, *args):
    cli.run(script.main, script.build_parser(), [str(arg) for arg in args])


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory with a COCO dataset, a YOLO dataset and a VOCdevkit."""
    for name in ("a", "b"):
        add_picture(tmp_path / "coco" / "images" / f"{name}.jpg")
        add_picture(tmp_path / "yolo" / "images" / f"{name}.jpg")
        add_labels(tmp_path / "yolo" / "labels" / f"{name}.txt", "0 0.5 0.5 0.25 0.5", "oops")
        add_image(tmp_path / "VOCdevkit" / "VOC2007", name, [("cat", (5, 5, 99, 30), 1)])
    boxes = [{"bbox": [1, 2, 30, 40]}, {"bbox": [60, 2, 30, 40]}]
    add_coco(tmp_path / "coco" / "annotations" / "instances_train2017.json", ["a.jpg"], boxes)
    (tmp_path / "yolo" / "data.yaml").write_text("train: images\nnames: [cat]\n")
    add_list(tmp_path / "VOCdevkit" / "VOC2007", "train", ["a", "b"])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # `cli.run` replaces it
    return tmp_path


def files_in(path):
    return sorted(str(each.relative_to(path)) for each in path.rglob("*") if not each.is_dir())


def test_a_coco_dataset_becomes_a_voc_folder_of_links(folder, capsys):
    run(convert_dataset, "coco", "--from", "coco", "--out", "new/voc", "--faults", "faults.csv")
    out, err = capsys.readouterr()
    assert out == (
        "new/voc: 1 image, 0 without objects, 2 objects, classes: 2 (cat, dog); sets: train 1\n"
    )
    assert "box clipped: 1 (part inside the image kept)\n" in err
    assert "note: classes without an object: dog\n" in err
    [_, row] = csv.reader((folder / "faults.csv").open(encoding="utf-8"))
    assert row[1:3] == ["box clipped", "part inside the image kept"]
    assert files_in(folder / "new" / "voc") == [
        "VOC2007/Annotations/a.xml",
        "VOC2007/ImageSets/Main/train.txt",
        "VOC2007/JPEGImages/a.jpg",
        "classes.txt",
    ]
    link = folder / "new" / "voc" / "VOC2007" / "JPEGImages" / "a.jpg"
    assert link.is_symlink()
    assert link.resolve() == folder / "coco" / "images" / "a.jpg"
    run(voc_annotation, "--data", "new/voc", "--train-set", "train", "--val-set", "train")
    line = (folder / "2007_train.txt").read_text().split(" ", 1)[1]
    assert line == "1,2,31,42,0 60,2,80,42,0\n"


def test_copies_do_not_need_the_source(folder):
    run(convert_dataset, "yolo/data.yaml", "--from", "yolo", "--out", "voc", "--copy")
    images = sorted((folder / "voc" / "VOC2007" / "JPEGImages").iterdir())
    assert [path.name for path in images] == ["a.jpg", "b.jpg"]
    assert not any(path.is_symlink() for path in images)
    assert xml_sets(folder / "voc" / "VOC2007") == {"train": ["a", "b"]}


def test_images_are_copied_where_links_are_impossible(folder, capsys, monkeypatch):
    def refuse(self, target):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    run(convert_dataset, "yolo", "--from", "yolo", "--out", "voc")
    assert "images cannot be linked (operation not permitted), copying them" in (
        capsys.readouterr().err
    )
    assert (folder / "voc" / "VOC2007" / "JPEGImages" / "a.jpg").stat().st_size > 100


def test_yolo_gets_clipped_boxes_and_a_report_of_lost_marks(folder, capsys):
    run(convert_dataset, "VOCdevkit", "--to", "yolo", "--out", "new")
    err = capsys.readouterr().err
    assert "box clipped: 2 (part inside the image kept)\n" in err
    assert "mark not written: 2 (object kept without its mark)\n" in err
    assert "there is no set val" in err
    assert (folder / "new" / "labels" / "a.txt").read_text() == (
        "0 0.53125 0.29166667 0.9375 0.41666667\n"
    )
    assert (folder / "new" / "train.txt").read_text() == "./images/a.png\n./images/b.png\n"
    assert (folder / "new" / "data.yaml").read_text() == (
        "train: train.txt\nnc: 1\nnames:\n  0: cat\n"
    )


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["coco", "--out", "new"], "one of the arguments --from --to is required"),
        (["coco", "--from", "coco", "--to", "yolo", "--out", "new"], "not allowed with"),
        (["coco", "--from", "voc", "--out", "new"], "unknown value 'voc'"),
        (["coco", "--from", "coco", "--out", "yolo"], "yolo already contains files"),
        (["coco", "--from", "coco", "--out", "yolo/data.yaml"], "already contains files"),
        (["coco", "--from", "yolo", "--out", "new"], "like a COCO dataset: --from coco?"),
        (["yolo", "--from", "coco", "--out", "new"], "like a YOLO dataset: --from yolo?"),
        (["yolo/data.yaml", "--from", "coco", "--out", "new"], "like a YOLO dataset: --from yolo?"),
        (["nowhere", "--to", "coco", "--out", "new"], "no folder nowhere"),
        (["yolo", "--to", "coco", "--out", "new"], "convert_dataset.py yolo --from yolo"),
        (["coco", "--from", "coco", "--out", "new", "--faults", "x/y.csv"], "no folder x"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(folder, capsys, args, message):
    before = files_in(folder)
    with pytest.raises(SystemExit) as stop:
        run(convert_dataset, *args)
    out, err = capsys.readouterr()
    assert (stop.value.code, out) == (2, "")
    assert err.splitlines()[-1].startswith("error: ")
    assert message in err.splitlines()[-1]
    assert files_in(folder) == before


def test_a_full_disk_leaves_nothing(folder, capsys, monkeypatch):
    def fill_disk(path, *_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("utils.data.formats.voc.write_set_list", fill_disk)
    before = files_in(folder)
    with pytest.raises(SystemExit) as stop:
        run(convert_dataset, "coco", "--from", "coco", "--out", "new")
    assert stop.value.code == 1
    assert "no space left on device" in capsys.readouterr().err
    assert files_in(folder) == before
    assert not (folder / "new").exists()


@pytest.mark.parametrize("name", ["coco", "yolo"])
def test_other_scripts_name_the_command_that_converts(folder, capsys, name):
    with pytest.raises(SystemExit):
        run(voc_annotation, "--data", name)
    error = capsys.readouterr().err.splitlines()[-1]
    command = error.split("`")[1].split()
    assert command[:2] == ["python", "convert_dataset.py"]
    run(convert_dataset, *command[2:])
    run(voc_annotation, "--data", command[-1], "--train-set", "train", "--val-set", "train")


def test_a_conversion_imports_no_tensorflow(folder):
    code = (
        "import sys, convert_dataset as s; s.run(s.main, s.build_parser());"
        "print('tensorflow' in sys.modules or 'keras' in sys.modules)"
    )
    command = [sys.executable, "-c", code, "coco", "--from", "coco", "--out", str(folder / "new")]
    root = Path(convert_dataset.__file__).parent
    command[3] = str(folder / "coco")
    result = subprocess.run(command, cwd=root, capture_output=True, check=True, text=True)
    assert result.stdout.endswith("False\n")
