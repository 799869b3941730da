"""Boxes of images with an EXIF orientation; Pillow says how each one turns an image."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from tests.vocset import add_image, annotation
from utils.data.annotation import read_samples
from utils.data.imagesets import ImageRef
from utils.data.orientation import ImageLayout, rotate_box

BOX = (20, 4, 50, 16)


def paint(size, box):
    """A black image (h, w) as stored, with a white rectangle."""
    pixels = np.zeros(size, np.uint8)
    pixels[box[1] : box[3], box[0] : box[2]] = 255
    return Image.fromarray(pixels)


def decode(stored, orientation):
    """Lets Pillow apply an orientation; returns the white rectangle, and height and width."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.info["exif"] = exif.tobytes()
    white = np.asarray(ImageOps.exif_transpose(stored)) > 128
    rows, columns = (np.nonzero(white.any(axis=axis))[0] for axis in (1, 0))
    return [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], white.shape


def intervals(side):
    return st.tuples(st.integers(0, side - 1), st.integers(0, side - 1)).map(
        lambda ends: (min(ends), max(ends) + 1)
    )


@given(
    orientation=st.integers(1, 8),
    scene=st.tuples(st.integers(1, 24), st.integers(1, 24)).flatmap(
        lambda size: st.tuples(st.just(size), intervals(size[1]), intervals(size[0]))
    ),
)
def test_boxes_are_rotated_like_the_image(orientation, scene):
    size, (left, right), (top, bottom) = scene
    box = (left, top, right, bottom)
    expected, (height, width) = decode(paint(size, box), orientation)
    layout = ImageLayout(height, width, orientation)
    assert rotate_box(box, layout) == expected
    assert layout.stored_size == size


@pytest.fixture
def add_photo(tmp_path):
    """Adds a photo with an orientation, and an annotation that states `size` and `box`."""

    def add(name, orientation, size, box, stored=(60, 80)):
        _, xml = add_image(tmp_path, name)
        xml.write_text(annotation([("cat", box)] if box else [], size))
        (tmp_path / "JPEGImages" / f"{name}.png").unlink()
        exif = Image.Exif()
        exif[0x0112] = orientation
        photo = paint(stored, BOX)
        photo.save(tmp_path / "JPEGImages" / f"{name}.jpg", exif=exif, quality=95)
        return decode(photo, orientation)[0]

    return add


def read(folder, name="a"):
    """Returns the boxes of a photo and the kinds of its faults."""
    (sample,), faults = read_samples([ImageRef(folder, name)], ["cat"])
    return sample.boxes.tolist(), [fault.kind for fault in faults], [f.detail for f in faults]


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
@pytest.mark.parametrize("size", [(60, 80), (0, 0)])
def test_boxes_on_the_stored_image_are_rotated(tmp_path, add_photo, orientation, size):
    box = BOX if size[0] else (*BOX[:2], 75, BOX[3])  # only fits the stored image, 80 wide
    expected = add_photo("a", orientation, size, box)
    boxes, kinds, _ = read(tmp_path)
    assert kinds == ["boxes rotated by EXIF"]
    if size[0]:
        assert boxes == [expected]


@pytest.mark.parametrize("size", [(80, 60), (0, 0)])
def test_boxes_on_the_decoded_image_are_kept(tmp_path, add_photo, size):
    add_photo("a", 6, size, (44, 20, 56, 75))
    assert read(tmp_path)[:2] == ([[44, 20, 56, 75]], [])


def test_boxes_that_only_fit_the_decoded_image_are_kept_in_spite_of_the_size(tmp_path, add_photo):
    add_photo("a", 6, (60, 80), (44, 20, 56, 75))  # the image as stored is 60 high
    assert read(tmp_path)[:2] == ([[44, 20, 56, 75]], ["size differs"])


def test_boxes_slightly_beyond_the_stored_image_are_rotated(tmp_path, add_photo):
    add_photo("a", 6, (60, 80), (20, 4, 50, 63))  # would also fit the decoded image, 80 high
    boxes, kinds, _ = read(tmp_path)
    assert (boxes, kinds) == ([[-3, 20, 56, 50]], ["boxes rotated by EXIF", "box crosses border"])


@pytest.mark.parametrize("orientation", [2, 3, 4])
class TestWithoutATraceInTheAnnotation:
    """Mirrored and upside-down photos have the same size as stored and as decoded."""

    def test_boxes_are_rotated_if_the_folder_ignores_exif(self, tmp_path, add_photo, orientation):
        expected = add_photo("a", orientation, (60, 80), BOX)
        add_photo("b", 6, (60, 80), BOX)  # states the size as stored
        add_photo("c", 1, (60, 80), BOX)
        boxes, kinds, details = read(tmp_path)
        assert (boxes, kinds) == ([expected], ["boxes rotated by EXIF"])
        assert details[0].endswith(
            f"orientation {orientation} ignored, as in 1 other image of the folder"
        )

    def test_boxes_are_kept_if_the_folder_applies_exif(self, tmp_path, add_photo, orientation):
        add_photo("a", orientation, (60, 80), BOX)
        add_photo("b", 8, (80, 60), BOX)
        assert read(tmp_path)[:2] == ([list(BOX)], [])

    def test_they_may_be_misplaced_if_nothing_is_known(self, tmp_path, add_photo, orientation):
        add_photo("a", orientation, (60, 80), BOX)
        add_photo("b", 1, (60, 80), BOX)
        add_photo("c", 6, (0, 0), BOX)  # its box fits both ways
        boxes, kinds, details = read(tmp_path)
        assert (boxes, kinds) == ([list(BOX)], ["boxes may be misplaced"])
        assert "save the image without EXIF orientation" in details[0]

    def test_they_may_be_misplaced_if_the_folder_disagrees(self, tmp_path, add_photo, orientation):
        add_photo("a", orientation, (60, 80), BOX)
        add_photo("b", 6, (60, 80), BOX)
        add_photo("c", 6, (80, 60), BOX)
        boxes, kinds, details = read(tmp_path)
        assert (boxes, kinds) == ([list(BOX)], ["boxes may be misplaced"])
        assert "boxes of 1 other image of the folder ignore theirs, those of 1 do not" in details[0]

    def test_an_image_without_objects_has_no_fault(self, tmp_path, add_photo, orientation):
        add_photo("a", orientation, (60, 80), None)
        assert read(tmp_path)[:2] == ([], [])


def test_turned_square_photos_follow_the_folder(tmp_path, add_photo):
    expected = add_photo("a", 6, (80, 80), BOX, stored=(80, 80))
    assert read(tmp_path)[:2] == ([list(BOX)], ["boxes may be misplaced"])
    add_photo("b", 5, (60, 80), BOX)
    assert read(tmp_path)[:2] == ([expected], ["boxes rotated by EXIF"])


def test_a_turned_photo_without_objects_may_state_either_size(tmp_path, add_photo):
    for size in ((60, 80), (80, 60)):
        add_photo("a", 6, size, None)
        assert read(tmp_path)[:2] == ([], [])


def test_damaged_files_are_no_evidence(tmp_path, add_photo):
    add_photo("a", 3, (60, 80), BOX)
    add_photo("b", 6, (60, 80), BOX)
    (tmp_path / "Annotations" / "b.xml").write_text("no xml")
    add_image(tmp_path, "c")[0].write_bytes(b"no image")
    assert read(tmp_path)[1] == ["boxes may be misplaced"]
