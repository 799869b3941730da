import pytest
from PIL import Image

from tests.foreignset import add_coco, add_picture, kinds, objects_of
from utils.data.formats.coco import read_coco
from utils.errors import UserError

BOX = {"bbox": [10, 20, 30.5, 25.25]}
XYXY = (10, 20, 40.5, 45.25)


def one_image(folder, *annotations, **kwargs):
    add_picture(folder / "a.png")
    return read_coco(add_coco(folder / "all.json", ["a.png"], annotations, **kwargs))


def test_a_box_has_the_same_corners_in_pixels(tmp_path):
    dataset = one_image(tmp_path, BOX, {"bbox": [0.1, 0.2, 79.9, 59.8], "category_id": 2})
    assert objects_of(dataset) == {"a": [("cat", XYXY), ("dog", (0.1, 0.2, 80, 60))]}
    assert (dataset.sets, dataset.faults, dataset.notes) == ({}, [], [])


def test_category_ids_can_have_holes_and_any_order(tmp_path):
    categories = [{"id": 90, "name": " tooth  brush"}, {"id": 3, "name": "car"}]
    annotations = [BOX | {"category_id": 90}, BOX | {"category_id": 4}]
    dataset = one_image(tmp_path, *annotations, categories=categories)
    assert dataset.classes == ["car", "tooth brush"]
    assert objects_of(dataset) == {"a": [("tooth brush", XYXY)]}
    [fault] = dataset.faults
    assert fault.kind == "unknown class"
    assert "annotation 2 of a.png: no category has the id 4" in fault.detail


def test_crowds_and_ignored_objects_are_difficult(tmp_path):
    dataset = one_image(tmp_path, BOX | {"iscrowd": 1}, BOX | {"ignore": 1}, BOX | {"iscrowd": 0})
    found = [(each.difficult, each.crowd) for each in dataset.images[0].objects]
    assert found == [(True, True), (True, False), (False, False)]


@pytest.mark.parametrize(
    ("annotation", "box", "fault"),
    [
        ({"bbox": [70, 50, 20, 30]}, (70, 50, 80, 60), "box clipped"),
        ({"bbox": [-5, -6, 20, 30]}, (0, 0, 15, 24), "box clipped"),
        ({"bbox": [70, 50, 10.7, 10]}, (70, 50, 80.7, 60), None),  # at most a pixel is rounding
        ({"bbox": [90, 10, 20, 30]}, None, "box outside"),
        ({"bbox": [10, 10, 0, 30]}, None, "empty box"),
        ({"bbox": [10, 10, -20, 30]}, None, "empty box"),
        ({"bbox": [10, 10, float("nan"), 30]}, None, "no box"),
        ({"bbox": ["x", 10, 20, 30]}, None, "no box"),
        ({"bbox": [10, 10, 20]}, None, "no box"),
        ({"bbox": None}, None, "no box"),
        ({"bbox": [], "segmentation": []}, None, "no box"),
        ({"segmentation": [[5, 7, 25, 9, 15, 37.5]]}, (5, 7, 25, 37.5), "outline without box"),
        (
            {"bbox": [3, 3, 0, 0], "segmentation": [[5, 7, 25, 9, 15, 37], [40, 8, 50, 9, 44, 10]]},
            (5, 7, 50, 37),
            "outline without box",
        ),
        ({"segmentation": [[5, 7, 25]]}, None, "no box"),
        ({"segmentation": {"size": [60, 80], "counts": "4P"}}, None, "no box"),
    ],
)
def test_odd_boxes_are_mended_or_reported(tmp_path, annotation, box, fault):
    dataset = one_image(tmp_path, annotation)
    assert objects_of(dataset) == {"a": [("cat", box)] if box else []}
    assert kinds(dataset.faults) == ([fault] if fault else [])


def test_outlines_beside_boxes_are_counted(tmp_path):
    outline = {"segmentation": [[1, 2, 3, 4, 5, 6]]}
    dataset = one_image(tmp_path, BOX | outline, BOX | outline, BOX)
    assert dataset.notes == ["only boxes are kept: 2 outlines left out"]


def test_images_without_annotations_are_background(tmp_path):
    for name in "ab":
        add_picture(tmp_path / f"{name}.png")
    dataset = read_coco(add_coco(tmp_path / "x.json", ["a.png", "b.png"], [BOX]))
    assert objects_of(dataset) == {"a": [("cat", XYXY)], "b": []}


def test_missing_images_and_lone_annotations_are_reported(tmp_path):
    add_picture(tmp_path / "a.png")
    (tmp_path / "damaged.jpg").write_bytes(b"not an image")
    images = ["a.png", "gone.png", "damaged.jpg", {"id": 9}, {"id": 1, "file_name": "again.png"}]
    annotations = [BOX, BOX | {"image_id": 2}, BOX | {"image_id": 77}]
    dataset = read_coco(add_coco(tmp_path / "x.json", images, annotations))
    assert list(objects_of(dataset)) == ["a"]
    assert kinds(dataset.faults) == [
        *["annotation without image"] * 2,
        *["unreadable annotation"] * 2,
        "unreadable image",
    ]
    details = " ".join(fault.detail for fault in dataset.faults)
    assert "no image gone.png for 1 annotation" in details
    assert "annotation 3: no image has the id 77" in details


def test_an_image_that_is_listed_twice_has_the_objects_of_both(tmp_path):
    add_picture(tmp_path / "images" / "a.png")
    folder = tmp_path / "annotations"
    add_coco(folder / "instances_test.json", ["a.png"], [BOX])
    add_coco(folder / "instances_train.json", ["a.png"], [BOX, {"bbox": [1, 2, 3, 4]}])
    dataset = read_coco(tmp_path)
    assert objects_of(dataset) == {"a": [("cat", XYXY), ("cat", (1, 2, 4, 6))]}
    assert dataset.sets == {"train": ["a"], "test": ["a"]}
    assert kinds(dataset.faults) == ["image listed twice"]


def test_boxes_drawn_before_the_exif_orientation_are_rotated(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # shown rotated by 90 degrees clockwise
    Image.new("RGB", (80, 60)).save(tmp_path / "a.jpg", exif=exif)
    found = {}
    for key, (width, height) in {"stored": (80, 60), "shown": (60, 80), "other": (40, 30)}.items():
        record = {"id": 1, "file_name": "a.jpg", "width": width, "height": height}
        path = add_coco(tmp_path / f"{key}.json", [record], [{"bbox": [0, 0, 20, 10]}])
        dataset = read_coco(path)
        found[key] = (dataset.images[0].objects[0].box, kinds(dataset.faults))
    # The top left corner of the stored image is the top right one of the shown image.
    assert found["stored"] == ((50, 0, 60, 20), ["boxes rotated by EXIF"])
    assert found["shown"] == ((0, 0, 20, 10), [])
    assert found["other"] == ((0, 0, 20, 10), ["size differs"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "damaged or not JSON"),
        ('{"images": [', "damaged or not JSON"),
        ("[]", "no list 'images'"),
        ('{"images": [], "annotations": {}}', "no list 'annotations'"),
        ('{"images": [], "annotations": []}', "no list 'categories'"),
        ('{"images": [1], "annotations": [], "categories": []}', "an entry of 'images'"),
        ('{"images": [], "annotations": [], "categories": []}', "no image of .* can be used"),
    ],
)
def test_a_foreign_or_damaged_file_is_an_error(tmp_path, text, message):
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        read_coco(path)


def test_a_class_without_a_name_is_an_error(tmp_path):
    with pytest.raises(UserError, match="a class named ''"):
        one_image(tmp_path, categories=[{"id": 1}])
