import cv2
import numpy as np
import pytest
from defusedxml import ElementTree

from utils.data import synthetic
from utils.data.synthetic import CLASSES, SIDES, TINY, draw_scene, write_voc
from utils.errors import UserError


@pytest.fixture(scope="module")
def voc(tmp_path_factory):
    root = tmp_path_factory.mktemp("VOCdevkit")
    write_voc(root, train=6, val=3, test=3)
    return root / "VOC2007"


@pytest.fixture(scope="module")
def scenes():
    return [draw_scene(np.random.default_rng([1, k])) for k in range(60)]


def read_list(voc, name):
    return (voc / f"ImageSets/Main/{name}.txt").read_text().split()


def test_the_splits_are_disjoint_and_complete(voc):
    train, val, test = (read_list(voc, name) for name in ("train", "val", "test"))
    assert (len(train), len(val), len(test)) == (6, 3, 3)
    assert read_list(voc, "trainval") == train + val
    everything = {*train, *val, *test}
    assert len(everything) == 12
    assert everything == {path.stem for path in voc.glob("JPEGImages/*.jpg")}
    assert everything == {path.stem for path in voc.glob("Annotations/*.xml")}


def test_annotations_match_the_drawn_objects(voc):
    _, objects = draw_scene(np.random.default_rng([0, 0]))
    root = ElementTree.parse(voc / "Annotations/000001.xml").getroot()
    image = cv2.imread(str(voc / "JPEGImages/000001.jpg"))
    assert (int(root.find("size/height").text), int(root.find("size/width").text)) == (
        image.shape[:2]
    )
    assert [
        (
            entry.find("name").text,
            tuple(int(corner.text) for corner in entry.find("bndbox")),
            entry.find("truncated").text == "1",
            entry.find("difficult").text == "1",
        )
        for entry in root.iter("object")
    ] == [(o.name, o.box, o.truncated, o.difficult) for o in objects]


def test_images_depend_on_seed_and_index_only(voc, tmp_path):
    write_voc(tmp_path / "same", train=1, val=1, test=0)
    write_voc(tmp_path / "other", train=1, val=0, test=0, seed=1)
    first = (voc / "JPEGImages/000001.jpg").read_bytes()
    assert (tmp_path / "same/VOC2007/JPEGImages/000001.jpg").read_bytes() == first
    assert (tmp_path / "other/VOC2007/JPEGImages/000001.jpg").read_bytes() != first


@pytest.mark.parametrize("folder", ["JPEGImages", "Annotations", "ImageSets/Main"])
def test_existing_files_are_not_changed(tmp_path, folder):
    path = tmp_path / "VOC2007" / folder / "mine"
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    with pytest.raises(UserError, match=f"{folder} already contains files"):
        write_voc(tmp_path, train=1, val=1, test=1)
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == [path]
    assert path.read_text() == "mine"


def test_an_interrupted_job_leaves_no_files(tmp_path, monkeypatch):
    def interrupted(rng):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(synthetic, "draw_scene", interrupted)
        write_voc(tmp_path, train=1, val=1, test=1)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    write_voc(tmp_path, train=1, val=1, test=1)
    assert len(list(tmp_path.glob("VOC2007/JPEGImages/*.jpg"))) == 3


def test_there_are_all_classes_all_scales_and_difficult_objects(scenes):
    objects = [drawn for _, found in scenes for drawn in found]
    assert {drawn.name for drawn in objects} == set(CLASSES)
    areas = np.array(
        [(x2 - x1 + 1) * (y2 - y1 + 1) for x1, y1, x2, y2 in (drawn.box for drawn in objects)]
    )
    small, large = np.mean(areas < 32**2), np.mean(areas >= 96**2)
    assert small > 0.1
    assert large > 0.1
    assert 1 - small - large > 0.3
    assert 0.03 < np.mean([drawn.difficult for drawn in objects]) < 0.25


def test_boxes_are_inside_textured_images(scenes):
    for image, objects in scenes:
        height, width = image.shape[:2]
        assert SIDES[0] <= min(height, width) <= max(height, width) <= SIDES[1]
        corners = image[:40, :40], image[-40:, -40:]
        assert max(corner.std() for corner in corners) > 2
        for drawn in objects:
            xmin, ymin, xmax, ymax = drawn.box
            assert 1 <= xmin < xmax <= width
            assert 1 <= ymin < ymax <= height
            touches = xmin == 1 or ymin == 1 or xmax == width or ymax == height
            assert drawn.truncated == touches
            if min(xmax - xmin, ymax - ymin) + 1 < TINY:
                assert drawn.difficult


def test_a_box_fits_its_object(monkeypatch):
    black = lambda rng, height, width: np.zeros((height, width, 3), np.float32)  # noqa: E731
    monkeypatch.setattr(synthetic, "_background", black)
    monkeypatch.setattr(synthetic, "_add_clutter", lambda rng, canvas: None)
    monkeypatch.setattr(synthetic, "_photograph", lambda rng, canvas: canvas)
    single = 0
    for k in range(40):
        image, objects = draw_scene(np.random.default_rng([2, k]))
        if len(objects) == 1:
            single += 1
            ys, xs = np.nonzero(image.any(axis=2))
            painted = xs.min() + 1, ys.min() + 1, xs.max() + 1, ys.max() + 1
            # The box contains pixels that are at least half covered; `painted`, all covered ones.
            np.testing.assert_allclose(objects[0].box, painted, atol=2)
    assert single > 3
