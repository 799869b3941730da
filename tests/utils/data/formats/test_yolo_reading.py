import pytest
from PIL import Image

from tests.foreignset import add_labels, add_picture, kinds, objects_of
from utils.data.formats.yolo import read_yolo
from utils.errors import UserError

LINE = "0 0.5 0.5 0.25 0.5"
XYXY = (30, 15, 50, 45)  # in an image of 80x60
NAMES = "names: [cat, dog]\n"


def one_image(folder, *lines, yaml=NAMES):
    add_picture(folder / "images" / "a.png")
    add_labels(folder / "labels" / "a.txt", *lines)
    (folder / "data.yaml").write_text(f"train: images\n{yaml}", encoding="utf-8")
    return read_yolo(folder)


def test_fractions_become_corners_in_pixels(tmp_path):
    dataset = one_image(tmp_path, LINE, "1 0.1 0.2 0.125 0.25", "", "1.0 .5 5e-1 +1 1")
    assert objects_of(dataset) == {
        "a": [("cat", XYXY), ("dog", (3, 4.5, 13, 19.5)), ("dog", (0, 0, 80, 60))]
    }
    assert (dataset.sets, dataset.faults, dataset.notes) == ({"train": ["a"]}, [], [])


@pytest.mark.parametrize(
    ("line", "box", "fault"),
    [
        ("0 0.25 0.25 0.5 0.25 0.375 0.75", (20, 15, 40, 45), "outline without box"),
        ("0 0 0 .5 0 .5 .5 0 .5", (0, 0, 40, 30), "outline without box"),
        ("0 1 0.5 0.5 0.5", (60, 15, 80, 45), "box clipped"),
        ("0 0.5 0.5 1.01 1", (-0.4, 0, 80.4, 60), None),  # at most a pixel is rounding
        ("0 1.5 0.5 0.5 0.5", None, "box outside"),
        ("0 0.5 0.5 0 0.5", None, "empty box"),
        ("0 40 30 20 20", None, "box outside"),  # in pixels
        ("2 0.5 0.5 0.5 0.5", None, "unknown class"),
        ("cat 0.5 0.5 0.5 0.5", None, "unreadable object"),
        ("-1 0.5 0.5 0.5 0.5", None, "unreadable object"),
        ("0.5 0.5 0.5 0.5 0.5", None, "unreadable object"),
        ("nan 0.5 0.5 0.5 0.5", None, "unreadable object"),
        ("0 0.5 0.5 inf 0.5", None, "unreadable object"),
        ("0 0.5 0.5 0.5", None, "unreadable object"),
        ("0 0.5 0.5 0.5 0.5 0.9", None, "unreadable object"),  # with a score
        ("0 0.1 0.1 0.2 0.2 0.3 0.3 0.4", None, "unreadable object"),
        ("0", None, "unreadable object"),
        ("0,0.5,0.5,0.5,0.5", None, "unreadable object"),
    ],
)
def test_odd_lines_are_mended_or_reported(tmp_path, line, box, fault):
    dataset = one_image(tmp_path, LINE, "", line)
    expected = [("cat", XYXY)] + ([("cat", box)] if box else [])
    assert objects_of(dataset) == {"a": expected}
    assert kinds(dataset.faults) == ([fault] if fault else [])
    for each in dataset.faults:
        assert each.path == tmp_path / "labels" / "a.txt"
        assert each.detail.startswith("line 3: ")


def test_keypoints_after_a_box_are_left_out(tmp_path):
    keypoints = " ".join(["0.5 0.5 2"] * 3)
    dataset = one_image(tmp_path, f"{LINE} {keypoints}", yaml=NAMES + "kpt_shape: [3, 3]\n")
    assert objects_of(dataset) == {"a": [("cat", XYXY)]}
    assert dataset.faults == []


def test_images_without_lines_or_without_label_file_are_background(tmp_path):
    for name in "bc":
        add_picture(tmp_path / "images" / f"{name}.png")
    add_labels(tmp_path / "labels" / "b.txt")
    dataset = one_image(tmp_path, LINE)
    assert objects_of(dataset) == {"a": [("cat", XYXY)], "b": [], "c": []}
    assert dataset.sets == {"train": ["a", "b", "c"]}
    assert dataset.notes == ["1 image without label file kept as background"]


def test_labels_without_image_and_damaged_files_are_reported(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "damaged.jpg").write_bytes(b"GIF89")
    add_picture(tmp_path / "images" / "latin.png")
    add_labels(tmp_path / "labels" / "lone.txt", LINE)
    (tmp_path / "labels" / "latin.txt").write_bytes(b"0 0.5 \xe4")
    (tmp_path / "labels" / "classes.txt").write_text("cat\ndog\n")
    dataset = one_image(tmp_path, LINE)
    assert objects_of(dataset) == {"a": [("cat", XYXY)]}
    assert dataset.sets == {"train": ["a"]}
    assert kinds(dataset.faults) == [
        *["annotation without image", "unreadable annotation", "unreadable image"]
    ]


def test_fractions_are_of_the_image_as_shown(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "images").mkdir()
    Image.new("RGB", (80, 60)).save(tmp_path / "images" / "b.jpg", exif=exif)
    add_labels(tmp_path / "labels" / "b.txt", "0 0.5 0.25 1 0.5")
    dataset = one_image(tmp_path)
    image = dataset.images[1]
    assert (image.width, image.height, image.objects[0].box) == (60, 80, (0, 0, 60, 40))


@pytest.mark.parametrize(
    ("names", "classes"),
    [
        ("names: [cat, dog]", ["cat", "dog"]),
        ("names:\n  0: cat\n  1: dog", ["cat", "dog"]),
        ("names: {3: dog, 0: cat}", ["cat", "dog"]),
        ("names: {'0': no, '1': 7}", ["no", "7"]),
        ("nc: 2", ["class_0", "class_1"]),
        ("names: [cat, cat]", ["cat"]),
    ],
)
def test_names_are_a_list_or_a_dict(tmp_path, names, classes):
    dataset = one_image(tmp_path, LINE, yaml=names)
    assert dataset.classes == classes
    assert objects_of(dataset) == {"a": [(classes[0], XYXY)]}


@pytest.mark.parametrize(
    ("yaml", "message"),
    [
        ("names: [cat", "not YAML"),
        ("names: {a: cat}", "keys that are not numbers"),
        ("names: [[cat]]", "neither a list nor a dict"),
        ("names: cat", "neither a list nor a dict"),
        ("nc: many", "has no class names"),
        ("val: images", "has no class names"),
        ("names: ['']", "a class named ''"),
    ],
)
def test_damaged_names_are_errors(tmp_path, yaml, message):
    with pytest.raises(UserError, match=message):
        one_image(tmp_path, LINE, yaml=yaml)


def test_a_dataset_without_any_label_file_is_an_error(tmp_path):
    add_picture(tmp_path / "photos" / "a.png")
    (tmp_path / "data.yaml").write_text(f"train: photos\n{NAMES}")
    with pytest.raises(UserError, match="no label file for the images of"):
        read_yolo(tmp_path)


def test_a_dataset_without_a_usable_image_is_an_error(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.jpg").write_bytes(b"")
    add_labels(tmp_path / "labels" / "a.txt", LINE)
    (tmp_path / "data.yaml").write_text(f"train: images\n{NAMES}")
    with pytest.raises(UserError, match=r"no image of .* can be used, for example .*a\.jpg"):
        read_yolo(tmp_path)
