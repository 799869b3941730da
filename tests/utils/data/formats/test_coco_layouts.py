from pathlib import Path

import pytest

from tests.foreignset import add_coco, add_picture, kinds, objects_of
from utils.data.formats.coco import read_coco
from utils.data.formats.names import unique_names
from utils.errors import UserError

BOX = {"bbox": [10, 20, 30, 25]}
FOUND = [("cat", (10, 20, 40, 45))]


@pytest.mark.parametrize("images", ["train2017", "images/train2017", "images", "", "images/train"])
def test_images_are_found_in_the_usual_folders(tmp_path, images):
    add_picture(tmp_path / images / "000001.jpg")
    add_picture(tmp_path / "val2017" / "000002.jpg")
    folder = tmp_path / "annotations"
    add_coco(folder / "instances_train2017.json", ["000001.jpg"], [BOX])
    add_coco(folder / "instances_val2017.json", ["000002.jpg"], [BOX])
    (folder / "captions_val2017.json").write_text("{}")
    dataset = read_coco(tmp_path)
    assert objects_of(dataset) == {"000001": FOUND, "000002": FOUND}
    assert dataset.sets == {"train": ["000001"], "val": ["000002"]}
    assert dataset.notes == ["not used: captions_val2017.json, only files instances_*.json"]
    assert dataset.faults == []


def test_roboflow_keeps_each_file_beside_its_images(tmp_path):
    for folder, name in {"train": "a", "valid": "b", "test": "a"}.items():
        add_picture(tmp_path / folder / f"{name}.jpg", (30, 40) if folder == "test" else (60, 80))
        add_coco(tmp_path / folder / "_annotations.coco.json", [f"{name}.jpg"], [BOX])
    dataset = read_coco(tmp_path)
    assert dataset.sets == {"test": ["test_a"], "train": ["train_a"], "val": ["b"]}
    sizes = {image.name: (image.height, image.width) for image in dataset.images}
    assert sizes == {"test_a": (30, 40), "train_a": (60, 80), "b": (60, 80)}
    assert kinds(dataset.faults) == [
        *["box clipped", "image renamed", "image renamed", "size differs"]
    ]


def test_sub_folders_can_have_images_of_the_same_name(tmp_path):
    names = ["a/1.jpg", "b/1.jpg", "b/1.png", "2.jpg", "b/2 .png"]
    for name in names:
        add_picture(tmp_path / name)
    dataset = read_coco(add_coco(tmp_path / "all.json", names, [BOX | {"image_id": 2}]))
    assert objects_of(dataset) == {"a_1": [], "b_1": FOUND, "b_1_2": [], "2": [], "2_2": []}
    assert kinds(dataset.faults) == ["image renamed"] * 4


def test_names_are_valid_in_xml_and_in_lists():
    paths = [Path("caf\udce9.jpg"), Path("two\nlines.jpg"), Path(".hidden.jpg")]
    names, faults = unique_names(paths, Path())
    assert names == ["caf_udce9", "two_nlines", "hidden"]
    assert kinds(faults) == ["image renamed"] * 3


def test_paths_of_another_machine_are_found_by_their_end(tmp_path):
    for name in ("images/a.jpg", "images/b.jpg", "deep/down/c.jpg"):
        add_picture(tmp_path / name)
    names = [r"C:\data\images\a.jpg", "/home/me/images/b.jpg", "c.jpg"]
    dataset = read_coco(add_coco(tmp_path / "train.json", names, [BOX | {"image_id": 3}]))
    assert objects_of(dataset) == {"a": [], "b": [], "c": FOUND}
    assert dataset.sets == {"train": ["a", "b", "c"]}


def test_an_image_of_the_same_name_is_not_mistaken_for_a_missing_one(tmp_path):
    for name in ("b/1.jpg", "c/2.jpg", "d/2.jpg"):
        add_picture(tmp_path / name)
    names = ["a/1.jpg", "b/1.jpg", "x/2.jpg"]
    dataset = read_coco(add_coco(tmp_path / "all.json", names, [BOX, BOX | {"image_id": 2}]))
    assert objects_of(dataset) == {"1": FOUND}
    assert kinds(dataset.faults) == ["annotation without image"] * 2


@pytest.mark.parametrize(
    ("names", "found"),
    [
        ({"train.json": ["1.jpg", "2.jpg"]}, ["train/2.jpg"]),  # not the first image of val
        ({"val.json": ["train/1.jpg"]}, None),
        ({"trainval.json": ["1.jpg"]}, ["val/1.jpg"]),
        ({"a.json": ["x/3.jpg"], "b.json": ["b/3.jpg"]}, ["b/3.jpg"]),  # is that of b
        ({"a.json": ["x/3.jpg", "y/3.jpg"], "b.json": ["2.jpg"]}, ["train/2.jpg"]),  # of x or y
        ({"a.json": ["x/3.jpg"], "b.json": ["y/3.jpg", "2.jpg"]}, ["train/2.jpg"]),
    ],
)
def test_an_image_of_another_set_is_not_mistaken_for_a_missing_one(tmp_path, names, found):
    for name in ("val/1.jpg", "train/2.jpg", "b/3.jpg"):
        add_picture(tmp_path / name)
    for file, images in names.items():
        add_coco(tmp_path / "annotations" / file, images, [BOX])
    if found is None:
        with pytest.raises(UserError, match=r"no image train/1\.jpg for 1 annotation"):
            read_coco(tmp_path)
        return
    dataset = read_coco(tmp_path)
    assert [str(image.path.relative_to(tmp_path)) for image in dataset.images] == found
    missing = sum(map(len, names.values())) - len(found)
    assert kinds(dataset.faults) == ["annotation without image"] * missing


@pytest.mark.parametrize("other", ["trainval", "mini2014"])
def test_an_image_can_be_in_several_sets(tmp_path, other):
    for name in ("train2014/1.jpg", "val2014/2.jpg"):
        add_picture(tmp_path / name)
    add_coco(tmp_path / "annotations" / "instances_val2014.json", ["2.jpg"], [BOX])
    add_coco(tmp_path / "annotations" / f"instances_{other}.json", ["2.jpg"], [BOX])
    dataset = read_coco(tmp_path)
    assert dataset.faults == [] and objects_of(dataset) == {"2": FOUND}
    assert len(dataset.sets) == 2 and set(map(tuple, dataset.sets.values())) == {("2",)}


@pytest.mark.parametrize(
    ("name", "sets"),
    [
        ("instances_val2017", ["val"]),
        ("instances_minival2014", ["minival2014"]),
        ("instances_default", []),
        ("annotations", []),
        ("bccd_train_v2", ["train"]),
        ("instances_unlisted", []),
    ],
)
def test_the_name_of_a_file_says_which_set_it_has(tmp_path, name, sets):
    add_picture(tmp_path / "images" / "a.jpg")
    path = add_coco(tmp_path / "annotations" / f"{name}.json", ["a.jpg"], [BOX])
    for source in (tmp_path, path):
        assert list(read_coco(source).sets) == sets


def test_several_files_in_one_folder_are_sets(tmp_path):
    for name in ("training", "extra set", "validation"):
        add_picture(tmp_path / f"{name}.jpg")
        add_coco(tmp_path / f"{name}.json", [f"{name}.jpg"], [BOX])
    assert sorted(read_coco(tmp_path).sets) == ["extra_set", "train", "val"]


def test_files_can_have_different_categories(tmp_path):
    for name, categories in {"train": ["cat", "dog"], "val": ["dog", "bird"]}.items():
        add_picture(tmp_path / f"{name}1.jpg")
        add_coco(tmp_path / f"{name}.json", [f"{name}1.jpg"], [BOX], categories)
    dataset = read_coco(tmp_path)
    assert dataset.classes == ["cat", "dog", "bird"]
    assert [name for found in objects_of(dataset).values() for name, _ in found] == ["cat", "dog"]


def test_categories_of_the_same_name_become_one(tmp_path):
    add_picture(tmp_path / "a.jpg")
    annotations = [BOX, BOX | {"category_id": 2}]
    dataset = read_coco(add_coco(tmp_path / "x.json", ["a.jpg"], annotations, ["cat", "cat"]))
    assert objects_of(dataset) == {"a": [*FOUND, *FOUND]}
    assert "several categories cat" in dataset.notes[0]


def test_folders_without_json_are_errors(tmp_path):
    with pytest.raises(UserError, match="no COCO JSON file in"):
        read_coco(tmp_path)
    with pytest.raises(UserError, match="no file or folder"):
        read_coco(tmp_path / "nowhere")
