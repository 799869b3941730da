"""Pipes, devices, loops of links, unreadable files and names that lead elsewhere."""

import os
import tempfile
from importlib import import_module
from pathlib import Path

import pytest

from tests.foreignset import add_coco, add_labels, add_picture
from tests.fuzzing import judge
from tests.vocset import add_image, add_list
from utils.data.anchors import load_anchors
from utils.data.annotation import read_samples
from utils.data.classes import find_classes, read_classes
from utils.data.formats.coco import read_coco
from utils.data.formats.convert import convert_to_voc
from utils.data.formats.detect import detect_format
from utils.data.formats.yolo import read_yolo
from utils.data.images import read_image
from utils.data.imagesets import ImageRef, list_images, write_set_list
from utils.errors import UserError
from utils.evaluation.boxfiles import read_box_files
from utils.inference.engines.session import RuntimeSettings
from utils.inference.model import load_model
from utils.json_records import read_json
from utils.run import RunDirectory
from utils.weights.darknet.cfg import read_cfg
from utils.weights.darknet.weights_file import WeightsFile
from utils.weights.loading import open_file

# Opening a pipe that nobody writes to would wait forever.
pytestmark = pytest.mark.timeout(30)


def open_model(path):
    return load_model(path, RuntimeSettings())


READERS = {
    "a.jpg": read_image,
    "classes.txt": read_classes,
    "anchors.txt": load_anchors,
    "config.json": lambda path: read_json(path, "restore it"),
    "a.cfg": read_cfg,
    "a.weights": WeightsFile,
    "coco.json": read_coco,
    "data.yaml": read_yolo,
    "a.onnx": open_model,
    "a.tflite": open_model,
    "a.xml": open_model,
    "best.weights.h5": lambda path: open_file(path, "mobilenetv1"),
    "a.pth": lambda path: open_file(path, "mobilenetv1"),
    "a.safetensors": lambda path: open_file(path, "mobilenetv1"),
}


def make_pipe(path):
    os.mkfifo(path)


def make_loop(path):
    path.symlink_to(path.name)


def link_to_device(path):
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("make", [make_pipe, make_loop, link_to_device, os.mkdir])
@pytest.mark.parametrize("name", READERS)
def test_what_is_no_file_is_refused(tmp_path, name, make):
    path = tmp_path / name
    make(path)
    with pytest.raises((UserError, OSError)) as error:
        READERS[name](path)
    assert isinstance(error.value, UserError) or error.value.errno


@pytest.fixture
def private(request):
    """A folder with files that the effective user may not read, even if the tests run as root."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        for name in READERS:
            (Path(folder) / name).touch(0o000)
        import_module("torch")  # that user may not be able to read the packages
        user = os.geteuid()
        if user == 0:
            os.seteuid(NOBODY)
        yield Path(folder)
        os.seteuid(user)


@pytest.mark.parametrize("name", READERS)
def test_files_without_permission_are_refused(private, name):
    with pytest.raises((UserError, PermissionError)) as error:
        READERS[name](private / name)
    assert "permission" in str(error.value).lower()


@pytest.mark.parametrize("make", [make_pipe, make_loop, link_to_device, os.mkdir])
@pytest.mark.parametrize("place", ["JPEGImages/b.png", "Annotations/b.xml"])
def test_datasets_with_files_that_are_none(tmp_path, place, make):
    voc_dir = tmp_path / "VOC2007"
    for name in ("a", "b"):
        add_image(voc_dir, name, [("cat", (1, 2, 30, 40))])
    (voc_dir / place).unlink()
    make(voc_dir / place)
    refs = list_images(tmp_path, "all")
    assert find_classes(refs) == ["cat"]
    samples, faults = read_samples(refs, ["cat"])
    assert [sample.image_id for sample in samples] == ["a"]
    assert len(faults) == 1


def test_image_set_that_is_a_pipe(tmp_path):
    add_image(tmp_path / "VOC2007", "a")
    add_list(tmp_path / "VOC2007", "train", [])
    path = tmp_path / "VOC2007" / "ImageSets" / "Main" / "train.txt"
    path.unlink()
    make_pipe(path)
    with pytest.raises(UserError, match="named pipe"):
        list_images(tmp_path, "train")


def test_detections_that_are_a_pipe(tmp_path):
    for name in ("gt", "dets"):
        (tmp_path / name).mkdir()
    (tmp_path / "gt" / "a.txt").write_text("cat 1 2 3 4\n")
    make_pipe(tmp_path / "dets" / "a.txt")
    with pytest.raises(UserError, match="named pipe"):
        read_box_files(tmp_path / "gt", tmp_path / "dets")


def test_other_datasets_with_pipes(tmp_path):
    for number in ("1", "2"):
        add_picture(tmp_path / "images" / f"{number}.png")
        add_labels(tmp_path / "labels" / f"{number}.txt", "0 0.5 0.5 0.5 0.5")
    (tmp_path / "labels" / "2.txt").unlink()
    (tmp_path / "labels" / "2.txt").symlink_to("/dev/zero")
    (tmp_path / "data.yaml").write_text("train: images\nnames: [cat]\n")
    make_pipe(tmp_path / "images" / "3.png")
    dataset = judge(read_yolo, tmp_path)
    assert [image.name for image in dataset.images] == ["1", "2"]
    images = [f"{number}.png" for number in (1, 2, 3)]
    add_coco(tmp_path / "a.json", images, [{"bbox": [1, 2, 3, 4]}])
    assert len(judge(read_coco, tmp_path).images) == 2
    make_pipe(tmp_path / "b.yaml")
    assert detect_format(tmp_path) == "coco" or detect_format(tmp_path) == "yolo"


@pytest.mark.parametrize(
    "line", ["../../secret", "{}/secret.png", "..\\..\\secret.png", "../a/../b"]
)
def test_image_sets_do_not_leave_their_folder(tmp_path, line):
    add_image(tmp_path / "VOC2007", "a")
    for place in (tmp_path, tmp_path / "JPEGImages"):
        add_picture(place / "secret.png")
    add_list(tmp_path / "VOC2007", "train", ["a", line.format(tmp_path)])
    samples, faults = read_samples(list_images(tmp_path, "train"), [])
    assert [sample.image_id for sample in samples] == ["a"]
    assert [fault.kind for fault in faults] == ["no such image"]


NOBODY = 65534  # a user without rights
NOT_UTF8 = os.fsdecode(b"a\xb1\xffb")


def add_named(voc_dir, name):
    """Adds an image whose name may be anything."""
    _, xml = add_image(voc_dir, "x", [("cat", (1, 2, 30, 40))])
    (voc_dir / "JPEGImages" / "x.png").rename(voc_dir / "JPEGImages" / f"{name}.png")
    xml.rename(xml.with_name(f"{name}.xml"))


@pytest.mark.parametrize("name", ["a\x1b[2Jb", NOT_UTF8, "-x", "a\tb", "%s", "*", "a;b"])
def test_strange_names_of_images(tmp_path, name):
    voc_dir = tmp_path / "VOC2007"
    add_named(voc_dir, name)
    refs = list_images(tmp_path, "all")
    [sample], faults = read_samples(refs, ["cat"])
    assert (sample.image_id, faults) == (refs[0].image_id, [])
    assert read_image(sample.image).shape == (60, 80, 3)
    run = RunDirectory(tmp_path / "run")
    run.path.mkdir()
    run.write_images({"train": [sample.image_id]})
    assert run.read_images() == {"train": [sample.image_id]}


@pytest.mark.parametrize("name", ["a\nb", "a\rb", "a\u2028b", " a", "a "])
def test_names_that_no_list_can_hold_are_a_fault(tmp_path, name):
    add_named(tmp_path, name)
    samples, [fault] = read_samples([ImageRef(tmp_path, name)], ["cat"])
    assert not samples and "a line of a list cannot hold its name" in str(fault)
    assert len(str(fault).splitlines()) == 1


def test_lists_of_names_that_are_not_utf_8(tmp_path):
    path = tmp_path / "train.txt"
    with pytest.raises(
        UserError, match=r"the name 'a\\udcb1\\udcffb' is not UTF-8, rename the image"
    ):
        write_set_list(path, ["a", NOT_UTF8])
    assert not path.exists()


def test_lines_of_an_image_set_that_are_only_a_folder(tmp_path):
    add_image(tmp_path / "VOC2007", "a")
    add_list(tmp_path / "VOC2007", "train", ["a", "data/", "x/.png"])
    names = [ref.image_id for ref in list_images(tmp_path, "train")]
    assert names == ["a", "data/", ".png"]


def test_notes_are_one_line(tmp_path):
    add_picture(tmp_path / "yolo" / "images" / "a.png")
    add_labels(tmp_path / "yolo" / "labels" / "a.txt", "0 0.5 0.5 0.5 0.5")
    (tmp_path / "yolo" / "data.yaml").write_text('nc: 1\ntrain: images\nval: "a\\u2028b"\n')
    done = convert_to_voc(tmp_path / "yolo", "yolo", tmp_path / "out", copy=False)
    assert any(note.endswith("val is a b, which does not exist") for note in done.notes)
    assert all(len(note.splitlines()) == 1 for note in done.notes)


def test_second_net_of_a_cfg(tmp_path):
    (tmp_path / "a.cfg").write_text("[net]\n[net]\n")
    with pytest.raises(UserError, match=r"line 2: a second \[net\], remove it"):
        read_cfg(tmp_path / "a.cfg")


def test_faults_are_one_line(tmp_path):
    add_image(tmp_path, "a\x1b", [("red\ncat", (1, 2, 30, 40))])
    refs = [ImageRef(tmp_path, "a\x1b")]
    _, [fault] = read_samples(refs, [])
    assert str(fault).endswith(r"Annotations/a\x1b.xml: red cat")
    assert find_classes(refs) == ["red cat"]
