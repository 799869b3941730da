import unicodedata

import numpy as np
import pytest

from tests.vocset import add_image, add_list, annotation
from utils.data.annotation import read_samples
from utils.data.classes import find_classes
from utils.data.faults import Fault
from utils.data.imagesets import ImageRef, list_images
from utils.data.splits import resolve_splits


def read(voc_dir, image_id="x", classes=("a", "b")):
    return read_samples([ImageRef(voc_dir, image_id)], list(classes))


class TestSamples:
    def test_boxes_are_as_annotated(self, tmp_path):
        objects = [("b", (1, 2, 80, 60)), ("a", (10.5, 20.25, 30.75, 40), 1)]
        image, _ = add_image(tmp_path, "x", objects)
        [sample], faults = read(tmp_path)
        assert not faults
        assert (sample.image_id, sample.image, sample.width, sample.height) == ("x", image, 80, 60)
        np.testing.assert_array_equal(sample.boxes, [[1, 2, 80, 60], [10.5, 20.25, 30.75, 40]])
        assert (sample.boxes.dtype, sample.labels.dtype) == (np.float32, np.int32)
        assert sample.labels.tolist() == [1, 0]
        assert sample.difficult.tolist() == [False, True]

    @pytest.mark.parametrize("box", [(5, 5, 20, 20), (-3, 10, 40, 50)])  # plain, and with a fault
    def test_crowds_are_marked(self, tmp_path, box):
        _, xml = add_image(tmp_path, "x", [("a", box, 1), ("a", (5, 5, 30, 30), 1)])
        mark = "</difficult><iscrowd>1</iscrowd>"
        xml.write_text(xml.read_text().replace("</difficult>", mark, 1))
        [sample], _ = read(tmp_path)
        assert sample.crowd.tolist() == [True, False]
        assert sample.crowd.dtype == bool
        assert sample.difficult.all()

    def test_an_image_without_objects_is_a_sample(self, tmp_path):
        add_image(tmp_path, "x")
        [sample], faults = read(tmp_path)
        assert not faults
        assert sample.boxes.shape == (0, 4)
        assert sample.labels.dtype == np.int32
        assert len(sample.crowd) == 0

    @pytest.mark.parametrize("suffix", [".jpg", ".JPEG", ".PNG", ".bmp", ".WebP"])
    def test_images_have_any_suffix(self, tmp_path, suffix):
        add_image(tmp_path, "x", suffix=suffix)
        assert len(read(tmp_path)[0]) == 1

    def test_ids_in_any_script_and_unicode_form(self, tmp_path):
        """macOS decomposes Korean and accented letters in file names; lists do not."""
        for name in ("너구리", "café 2", "浣熊", "a.b"):
            add_image(tmp_path / "VOC1", unicodedata.normalize("NFD", name))
        add_list(tmp_path / "VOC1", "train", ["너구리", "café 2", "浣熊", "a.b"])
        samples, faults = read_samples(list_images(tmp_path, "train"), [])
        assert not faults
        assert [sample.image_id for sample in samples] == ["너구리", "café 2", "浣熊", "a.b"]

    def test_parts_of_an_object_are_not_objects(self, tmp_path):
        part = "<part><name>head</name><bndbox><xmin>1</xmin></bndbox></part></object>"
        xml = annotation([("a", (5, 5, 20, 20))], (60, 80)).replace("</object>", part)
        add_image(tmp_path, "x")[1].write_text(xml)
        [sample], faults = read(tmp_path)
        assert not faults
        np.testing.assert_array_equal(sample.boxes, [[5, 5, 20, 20]])

    @pytest.mark.parametrize(
        ("unusable", "kind"),
        [
            (("c", (1, 1, 9, 9)), "unknown class"),
            (("", (1, 1, 9, 9)), "unknown class"),
            (("a", (9, 1, 9, 30)), "empty box"),
            (("a", (30, 1, 9, 30)), "empty box"),
            (("a", (90, 1, 120, 30)), "box outside"),
            (("a", (-50, -50, 0.5, 0.5)), "box outside"),
            (("a", ("", 1, 9, 9)), "no box"),
            (("a", ("nan", 1, 9, 9)), "no box"),
            (("a", ("one", 1, 9, 9)), "no box"),
        ],
    )
    def test_an_unusable_object_is_left_out_and_reported(self, tmp_path, unusable, kind):
        _, xml = add_image(tmp_path, "x", [unusable, ("b", (5, 5, 20, 20))])
        [sample], [fault] = read(tmp_path)
        assert sample.labels.tolist() == [1]
        assert (fault.kind, fault.path) == (kind, xml)

    def test_a_box_that_crosses_the_border_is_kept_and_reported(self, tmp_path):
        add_image(tmp_path, "x", [("a", (0, 0, 81, 61)), ("a", (-3, 10, 40, 50))])
        [sample], [fault] = read(tmp_path)
        assert fault.kind == "box crosses border"
        np.testing.assert_array_equal(sample.boxes[1], [-3, 10, 40, 50])

    @pytest.mark.parametrize(
        ("box", "difficult", "kind"),
        [
            ((-30, 10, 20, 50), 0, "box mostly outside"),  # 21 of 51 columns are inside
            ((-30, 10, 20, 50), 1, "box crosses border"),  # not scored, so it does not matter
            ((-20, 10, 20, 50), 0, "box crosses border"),  # 21 of 41
            ((60, 40, 88, 68), 0, "box crosses border"),  # 21 x 21 of 29 x 29 pixels: 52%
            ((60, 40, 89, 69), 0, "box mostly outside"),  # 21 x 21 of 30 x 30: 49%
        ],
    )
    def test_a_box_that_no_detection_can_match_is_kept_and_reported(
        self, tmp_path, box, difficult, kind
    ):
        add_image(tmp_path, "x", [("a", box, difficult)])
        [sample], [fault] = read(tmp_path)
        assert fault.kind == kind
        np.testing.assert_array_equal(sample.boxes, [box])
        if box[2] == 89:
            assert "in an image of 80x60: 49.0% inside, so it cannot be found" in fault.detail

    def test_a_size_that_differs_is_reported(self, tmp_path):
        xml = annotation([], (60, 80)).replace("<width>80", "<width>60")
        path = add_image(tmp_path, "x")[1]
        path.write_text(xml)
        samples, [fault] = read(tmp_path)
        assert (len(samples), fault.kind) == (1, "size differs")
        path.write_text(annotation([], (0, 0)))  # some tools do not fill it in
        assert not read(tmp_path)[1]
        path.write_text(annotation([], (60, "")))
        assert not read(tmp_path)[1]

    def test_a_file_of_another_format_is_reported(self, tmp_path):
        path = add_image(tmp_path, "x")[1]
        path.write_text("<html><object><name>a</name></object></html>")
        samples, [fault] = read(tmp_path)
        assert (len(samples), fault.kind) == (0, "unreadable annotation")
        assert "root is <html>, not <annotation>" in fault.detail

    def test_missing_files_are_reported(self, tmp_path):
        image, xml = add_image(tmp_path, "x")
        xml.rename(tmp_path / "x.xml")
        samples, faults = read(tmp_path)
        assert (len(samples), faults) == (0, [Fault("image without annotation", image)])
        image.unlink()
        _, [fault] = read(tmp_path)
        assert (fault.kind, fault.path) == ("no such image", tmp_path / "JPEGImages" / "x")
        (tmp_path / "x.xml").rename(xml)
        samples, faults = read(tmp_path)
        assert (len(samples), faults) == (0, [Fault("annotation without image", xml)])

    def test_damaged_files_are_reported(self, tmp_path):
        image, xml = add_image(tmp_path, "x", [("a", (5, 5, 20, 20))])
        text = xml.read_text()
        xml.write_text(text[: len(text) // 2])
        samples, [fault] = read(tmp_path)
        assert (len(samples), fault.kind, fault.path) == (0, "unreadable annotation", xml)
        assert "x.xml" in fault.detail
        xml.write_text(text)
        image.write_text("not an image")
        samples, [fault] = read(tmp_path)
        assert (len(samples), fault.kind, fault.path) == (0, "unreadable image", image)


@pytest.mark.parametrize(
    ("name", "images", "objects", "faults"),
    [("raccoon", 160, 171, 0), ("bccd", 292, 3941, 2), ("foda-mini", 1860, 1887, 0)],
)
def test_real_datasets(shared_data, name, images, objects, faults):
    split = resolve_splits(shared_data / name)
    samples, found = read_samples(split.train + split.val, find_classes(split.train))
    assert len(samples) == images
    assert sum(len(sample.boxes) for sample in samples) == objects
    assert len(found) == faults
