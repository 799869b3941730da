import pytest

from tests.foreignset import add_labels, add_picture, kinds, objects_of
from utils.data.formats.yolo import read_yolo
from utils.errors import UserError

LINE = "0 0.5 0.5 0.25 0.5"
FOUND = [("cat", (30, 15, 50, 45))]


def add_pair(root, image):
    """Writes an image and its label file, in `labels/` for one in `images/`."""
    add_picture(root / image)
    label = image.replace("images/", "labels/").rpartition(".")[0]
    add_labels(root / f"{label}.txt", LINE)


def write_yaml(root, text):
    (root / "data.yaml").write_text(f"{text}\nnames: [cat]\n", encoding="utf-8")


def test_ultralytics_has_images_of_all_sets_in_one_folder(tmp_path):
    for name in ("images/train/a.jpg", "images/train/deep/b.jpg", "images/val/c.jpg"):
        add_pair(tmp_path, name)
    add_picture(tmp_path / "images/train/.ipynb_checkpoints/a.jpg")
    write_yaml(tmp_path, "path: .\ntrain: images/train\nval: images/val\ntest: # none")
    dataset = read_yolo(tmp_path)
    assert objects_of(dataset) == {"a": FOUND, "b": FOUND, "c": FOUND}
    assert dataset.sets == {"train": ["a", "b"], "val": ["c"]}
    assert (dataset.faults, dataset.notes) == ([], [])
    assert read_yolo(tmp_path / "data.yaml").sets == dataset.sets


def test_roboflow_names_folders_beside_the_one_of_the_yaml_file(tmp_path):
    for name in ("train/images/a.jpg", "valid/images/b.jpg", "valid/images/a.jpg"):
        add_pair(tmp_path, name)
    write_yaml(tmp_path, "train: ../train/images\nval: ../valid/images\ntest: ../test/images")
    dataset = read_yolo(tmp_path)
    assert dataset.sets == {"train": ["train_images_a"], "val": ["valid_images_a", "b"]}
    assert set(map(len, objects_of(dataset).values())) == {1}
    assert kinds(dataset.faults) == ["image renamed"] * 2
    assert dataset.notes == [
        f"{tmp_path / 'data.yaml'}: test is ../test/images, which does not exist"
    ]


@pytest.mark.parametrize(
    "yaml",
    [
        "path: /content/drive/ds\ntrain: images/train\nval: images/val",
        "train: /content/drive/ds/images/train\nval: /content/drive/ds/images/val",
        "path: ../datasets/ds\ntrain: images/train\nval: [images/val]",
        "train: 'C:\\data\\ds\\images\\train'\nval: 'C:\\data\\ds\\images\\val'",
        "path: /content/ds/images\ntrain: train\nval: val",
    ],
)
def test_paths_of_another_machine_are_found_by_their_end(tmp_path, yaml):
    for name in ("images/train/a.jpg", "images/val/b.jpg"):
        add_pair(tmp_path, name)
    write_yaml(tmp_path, yaml)
    dataset = read_yolo(tmp_path)
    assert dataset.sets == {"train": ["a"], "val": ["b"]}
    assert objects_of(dataset) == {"a": FOUND, "b": FOUND}


def test_a_folder_of_all_images_is_not_taken_for_a_missing_set(tmp_path):
    for name in ("images/a.jpg", "images/val/b.jpg"):
        add_pair(tmp_path, name)
    write_yaml(tmp_path, "train: /data/images/train\nval: /data/images/val")
    dataset = read_yolo(tmp_path)
    assert dataset.sets == {"val": ["b"]}
    assert "train is /data/images/train, which does not exist" in dataset.notes[0]


def test_a_set_can_be_a_list_of_images_or_several_folders(tmp_path):
    for name in ("images/one/a.jpg", "images/two/b.jpg", "images/c.jpg", "images/d.jpg"):
        add_pair(tmp_path, name)
    lines = ["./images/c.jpg", "images/d.jpg", "", "/data/ds/images/one/a.jpg", "images/gone.jpg"]
    (tmp_path / "lists").mkdir()
    (tmp_path / "val.txt").write_text("\n".join(lines), encoding="utf-8")
    (tmp_path / "lists" / "mini.txt").write_text("images/c.jpg\n", encoding="utf-8")
    text = "train: [images/one, images/two]\nval: val.txt\n../minival: lists/mini.txt\nnote: x.y"
    write_yaml(tmp_path, text)
    dataset = read_yolo(tmp_path)
    assert dataset.sets == {"train": ["a", "b"], "val": ["c", "d", "a"], "minival": ["c"]}
    assert kinds(dataset.faults) == ["no such image"]
    assert "no image images/gone.jpg" in str(dataset.faults[0])


def test_labelimg_writes_files_beside_the_images(tmp_path):
    for name in ("a.jpg", "b.png", "nested/c.jpg"):
        add_pair(tmp_path, name)
    add_picture(tmp_path / "empty.jpg")
    (tmp_path / "classes.txt").write_text("cat\n\n", encoding="utf-8")
    dataset = read_yolo(tmp_path)
    assert objects_of(dataset) == {"a": FOUND, "b": FOUND, "c": FOUND, "empty": []}
    assert (dataset.sets, dataset.faults, dataset.classes) == ({}, [], ["cat"])


def test_yaml_files_of_other_tools_do_not_describe_a_list_of_classes(tmp_path):
    add_pair(tmp_path, "images/a.jpg")
    (tmp_path / "classes.txt").write_text("cat\n")
    for name in ("hyp.yaml", "compose.yml"):
        (tmp_path / name).write_text("lr0: 0.01\n")
    assert objects_of(read_yolo(tmp_path)) == {"a": FOUND}


def test_an_image_of_another_set_is_not_mistaken_for_a_missing_one(tmp_path):
    for name in ("images/train/2.jpg", "images/val/1.jpg"):
        add_pair(tmp_path, name)
    (tmp_path / "train.txt").write_text("images/train/1.jpg\nimages/train/2.jpg\n")
    write_yaml(tmp_path, "train: train.txt\nval: images/val")
    dataset = read_yolo(tmp_path)
    assert dataset.sets == {"train": ["2"], "val": ["1"]}
    assert kinds(dataset.faults) == ["no such image"]


def test_label_studio_has_classes_beside_images_and_labels(tmp_path):
    for name in ("images/train/a.jpg", "images/valid/b.jpg"):
        add_pair(tmp_path, name)
    (tmp_path / "classes.txt").write_text("cat\n", encoding="utf-8")
    (tmp_path / "notes.json").write_text("{}")
    dataset = read_yolo(tmp_path)
    assert objects_of(dataset) == {"a": FOUND, "b": FOUND}
    assert dataset.sets == {"train": ["a"], "val": ["b"]}


def test_cvat_and_darknet_describe_a_dataset_in_obj_data(tmp_path):
    for name in ("obj_train_data/a.jpg", "obj_train_data/deep/b.jpg", "JPEGImages/c.jpg"):
        add_pair(tmp_path, name)
    (tmp_path / "JPEGImages" / "c.txt").rename(add_labels(tmp_path / "labels" / "c.txt"))
    (tmp_path / "obj.names").write_text("cat\ndog\n")
    (tmp_path / "train.txt").write_text("data/obj_train_data/a.jpg\ndata/obj_train_data/deep/b.jpg")
    (tmp_path / "valid.txt").write_text("JPEGImages/c.jpg\n")
    text = "classes = 2\ntrain = data/train.txt\nvalid=valid.txt\nbackup = backup/\n"
    (tmp_path / "obj.data").write_text(f"{text}names = data/obj.names\n")
    dataset = read_yolo(tmp_path)
    assert objects_of(dataset) == {"a": FOUND, "b": FOUND, "c": FOUND}
    assert dataset.sets == {"train": ["a", "b"], "val": ["c"]}
    assert (dataset.classes, dataset.faults, dataset.notes) == (["cat", "dog"], [], [])
    (tmp_path / "obj.names").unlink()
    with pytest.raises(UserError, match=r"no file data/obj\.names with the class names"):
        read_yolo(tmp_path)


def test_roboflow_has_a_list_of_classes_in_each_folder_for_darknet(tmp_path):
    for folder, name in {"train": "a", "valid": "b"}.items():
        add_pair(tmp_path, f"{folder}/{name}.jpg")
        (tmp_path / folder / "_darknet.labels").write_text("cat\n")
    dataset = read_yolo(tmp_path)
    assert objects_of(dataset) == {"a": FOUND, "b": FOUND}
    assert dataset.sets == {"train": ["a"], "val": ["b"]}
    (tmp_path / "valid" / "_darknet.labels").write_text("dog\n")
    with pytest.raises(UserError, match=r"have different classes: .*or write the classes of both"):
        read_yolo(tmp_path)
    (tmp_path / "classes.txt").write_text("cat\n")
    assert read_yolo(tmp_path).sets == dataset.sets


def test_classes_are_numbered_by_line(tmp_path):
    add_pair(tmp_path, "a.jpg")
    (tmp_path / "classes.txt").write_text("cat\n\ndog\n")
    add_labels(tmp_path / "a.txt", LINE, f"2{LINE[1:]}")
    assert objects_of(read_yolo(tmp_path)) == {"a": [*FOUND, ("dog", FOUND[0][1])]}


@pytest.mark.parametrize(
    ("yaml", "message"),
    [
        ("train: images/train", "train is images/train, which does not exist"),
        ("train: empty", "train is empty, in which there is no image"),
        ("train: list.txt", "list.txt: no image gone.jpg"),
        ("colour: red", "no key train"),
    ],
)
def test_a_yaml_file_without_images_is_an_error(tmp_path, yaml, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "list.txt").write_text("gone.jpg")
    write_yaml(tmp_path, yaml)
    with pytest.raises(UserError, match=message):
        read_yolo(tmp_path)


def test_sources_that_are_not_yolo_are_errors(tmp_path):
    with pytest.raises(UserError, match=r"no data\.yaml and no classes\.txt in"):
        read_yolo(tmp_path)
    (tmp_path / "classes.txt").write_text("cat\n")
    with pytest.raises(UserError, match="no image in"):
        read_yolo(tmp_path)
    with pytest.raises(UserError, match="is not a YAML file"):
        read_yolo(tmp_path / "classes.txt")
    with pytest.raises(UserError, match="no file or folder"):
        read_yolo(tmp_path / "nowhere")
    (tmp_path / "classes.txt").unlink()
    for name in ("one.yaml", "two.yml"):
        (tmp_path / name).write_text("names: [cat]")
    with pytest.raises(UserError, match=r"several files describe .*one\.yaml, two\.yml"):
        read_yolo(tmp_path)
    (tmp_path / "data.yaml").write_text("- a list")
    with pytest.raises(UserError, match=r"data\.yaml has no class names"):
        read_yolo(tmp_path)
