import unicodedata

import numpy as np
import pytest
from PIL import Image, ImageOps
from vocset import add_image, add_list, annotation

from utils.data.annotation import Fault, find_classes, parse_xml, read_classes, read_samples
from utils.data.imagesets import ImageRef, list_images, resolve_splits
from utils.errors import UserError


def ids(refs):
    return [ref.image_id for ref in refs]


@pytest.fixture
def devkit(tmp_path):
    """Two years with lists of different names; the annotations are empty."""
    for year, lists in {
        "2007": {"train": "ab", "val": "cd", "trainval": "abcd", "test": "ef"},
        "2012": {"trainval": "ghijklmnopqrstuvwxyz"},
    }.items():
        for name, members in lists.items():
            add_list(tmp_path / f"VOC{year}", name, members)
            for member in members:
                add_image(tmp_path / f"VOC{year}", member, size=(4, 4))
    return tmp_path


class TestSets:
    def test_a_name_means_all_years_that_have_it(self, devkit):
        assert ids(list_images(devkit, "trainval")) == list("abcdghijklmnopqrstuvwxyz")
        assert ids(list_images(devkit, "val")) == list("cd")

    @pytest.mark.parametrize("spec", ["2007:trainval,2012:trainval", " VOC2007:trainval, trainval"])
    def test_years_and_several_sets(self, devkit, spec):
        assert ids(list_images(devkit, spec)) == list("abcdghijklmnopqrstuvwxyz")

    def test_a_voc_folder_may_be_given_itself(self, devkit):
        assert ids(list_images(devkit / "VOC2007", "test")) == list("ef")

    @pytest.mark.parametrize(
        ("spec", "told"),
        [
            ("tset", "no image set 'tset'.* test, train"),
            ("2012:test", "no image set 'test'.* it has trainval"),
            ("2010:test", "no year '2010'.* VOC2007, VOC2012"),
        ],
    )
    def test_what_is_not_there_is_an_error_that_says_what_is(self, devkit, spec, told):
        with pytest.raises(UserError, match=told):
            list_images(devkit, spec)

    def test_an_empty_list_is_an_error(self, devkit):
        add_list(devkit / "VOC2007", "none", [" ", ""])
        with pytest.raises(UserError, match="no image in set 'none'"):
            list_images(devkit, "none")

    def test_missing_and_empty_folders_are_errors(self, tmp_path):
        with pytest.raises(UserError, match="no folder"):
            list_images(tmp_path / "nowhere", "train")
        with pytest.raises(UserError, match="no VOC folder"):
            list_images(tmp_path, "train")

    def test_lists_of_one_class_have_a_column_more(self, devkit):
        year = devkit / "VOC2007"
        add_image(year, "the cat 1")
        lines = ["a -1", "b  1", "the cat 1", "the cat 1  1", "c 0", "a -1"]
        add_list(year, "cat_train", lines)
        assert ids(list_images(devkit, "cat_train")) == ["a", "b", "the cat 1", "c"]

    def test_a_list_may_begin_with_a_byte_order_mark(self, devkit):
        path = devkit / "VOC2007" / "ImageSets" / "Main" / "test.txt"
        path.write_bytes(b"\xef\xbb\xbfe\r\nf\r\n")
        assert ids(list_images(devkit, "test")) == ["e", "f"]

    def test_a_list_in_another_encoding_is_an_error(self, devkit):
        path = devkit / "VOC2007" / "ImageSets" / "Main" / "test.txt"
        path.write_bytes("浣熊".encode("gb18030"))
        with pytest.raises(UserError, match=r"test\.txt is not UTF-8"):
            list_images(devkit, "test")

    def test_without_lists_all_that_is_annotated_counts(self, tmp_path):
        for name in "cab":
            add_image(tmp_path / "VOC2024", name)
        (tmp_path / "VOC2024" / "Annotations" / "b.xml").unlink()
        assert ids(list_images(tmp_path, "all")) == ["a", "c"]


class TestSplits:
    def test_train_and_val_where_both_exist_else_a_tenth_of_trainval(self, devkit):
        train, val, told = resolve_splits(devkit)
        assert len(train) == 2 + 18
        assert len(val) == 2 + 2
        assert {"a", "b"} < set(ids(train))
        assert {"c", "d"} < set(ids(val))
        assert set(train).isdisjoint(val)
        assert told == (
            "train and val of VOC2007; 2 of 20 images held out for validation from VOC2012"
        )

    def test_what_is_held_out_follows_from_the_seed(self, devkit):
        splits = [resolve_splits(devkit, seed=seed)[1] for seed in (0, 0, 1, 2)]
        assert splits[0] == splits[1]
        assert not splits[0] == splits[2] == splits[3]

    def test_test_is_never_taken_unasked(self, devkit):
        train, val, _ = resolve_splits(devkit)
        assert {"e", "f"}.isdisjoint(ids(train + val))
        for name in ("train", "val", "trainval"):
            (devkit / "VOC2007" / "ImageSets" / "Main" / f"{name}.txt").unlink()
        train, val, _ = resolve_splits(devkit)
        assert {ref.voc_dir.name for ref in train + val} == {"VOC2012"}
        with pytest.raises(UserError, match=r"nothing to train on.* the sets test"):
            resolve_splits(devkit / "VOC2007")

    def test_what_stands_in_test_too_is_left_out_unless_named(self, devkit):
        add_list(devkit / "VOC2007", "test", "aef")
        add_list(devkit / "VOC2012", "test", "gh")
        train, val, told = resolve_splits(devkit)
        assert set("agh").isdisjoint(ids(train + val))
        assert (len(train), len(val)) == (1 + 16, 2 + 2)
        assert "3 images left out that stand in test too" in told
        assert "a" in ids(resolve_splits(devkit, "2007:train")[0])

    def test_without_lists_a_tenth_is_held_out_and_no_test_set_is_told(self, tmp_path):
        for number in range(12):
            add_image(tmp_path / "VOC2024", f"{number}", size=(4, 4))
        train, val, told = resolve_splits(tmp_path)
        assert (len(train), len(val)) == (11, 1)
        assert "no test list" in told

    def test_named_sets(self, devkit):
        train, val, _ = resolve_splits(devkit, "2007:trainval", "2007:test")
        assert ids(train) == list("abcd")
        assert ids(val) == list("ef")

    def test_train_set_alone_is_validated_on_val_where_that_shares_nothing(self, devkit):
        train, val, told = resolve_splits(devkit, "2007:train")
        assert (ids(train), ids(val)) == (list("ab"), list("cd"))
        assert told == "train on 2007:train, validate on val"
        train, val, told = resolve_splits(devkit, "trainval")
        assert (len(train), len(val)) == (22, 2)
        assert "2 of its 24 images held out" in told
        assert set(train).isdisjoint(val)

    def test_val_set_alone_leaves_the_rest_for_training(self, devkit):
        train, val, _ = resolve_splits(devkit / "VOC2007", val_spec="val")
        assert (ids(train), ids(val)) == (list("ab"), list("cd"))
        with pytest.raises(UserError, match="no image left"):
            resolve_splits(devkit / "VOC2007", val_spec="trainval")

    def test_one_image_is_not_enough(self, tmp_path):
        add_image(tmp_path / "VOC2024", "only")
        with pytest.raises(UserError, match="add images"):
            resolve_splits(tmp_path)


def read(voc_dir, image_id="x", classes=("a", "b")):
    return read_samples([ImageRef(voc_dir, image_id)], list(classes))


class TestSamples:
    def test_numbers_are_those_of_the_annotation(self, tmp_path):
        objects = [("b", (1, 2, 80, 60)), ("a", (10.5, 20.25, 30.75, 40), 1)]
        image, _ = add_image(tmp_path, "x", objects)
        [sample], faults = read(tmp_path)
        assert not faults
        assert (sample.image_id, sample.image, sample.width, sample.height) == ("x", image, 80, 60)
        np.testing.assert_array_equal(sample.boxes, [[1, 2, 80, 60], [10.5, 20.25, 30.75, 40]])
        assert (sample.boxes.dtype, sample.labels.dtype) == (np.float32, np.int32)
        assert sample.labels.tolist() == [1, 0]
        assert sample.difficult.tolist() == [False, True]

    def test_an_image_without_objects_is_a_sample(self, tmp_path):
        add_image(tmp_path, "x")
        [sample], faults = read(tmp_path)
        assert not faults
        assert sample.boxes.shape == (0, 4)
        assert sample.labels.dtype == np.int32

    @pytest.mark.parametrize("suffix", [".jpg", ".JPEG", ".PNG", ".bmp", ".WebP"])
    def test_images_of_any_suffix(self, tmp_path, suffix):
        add_image(tmp_path, "x", suffix=suffix)
        assert len(read(tmp_path)[0]) == 1

    def test_ids_in_any_script_however_composed(self, tmp_path):
        """Korean and accents come decomposed from macOS, and composed in lists."""
        for name in ("너구리", "café 2", "浣熊", "a.b"):
            add_image(tmp_path / "VOC1", unicodedata.normalize("NFD", name))
        add_list(tmp_path / "VOC1", "train", ["너구리", "café 2", "浣熊", "a.b"])
        samples, faults = read_samples(list_images(tmp_path, "train"), [])
        assert not faults
        assert [sample.image_id for sample in samples] == ["너구리", "café 2", "浣熊", "a.b"]

    def test_parts_of_a_person_are_no_objects(self, tmp_path):
        part = "<part><name>head</name><bndbox><xmin>1</xmin></bndbox></part></object>"
        xml = annotation([("a", (5, 5, 20, 20))], (60, 80)).replace("</object>", part)
        add_image(tmp_path, "x", xml=xml)
        [sample], faults = read(tmp_path)
        assert not faults
        np.testing.assert_array_equal(sample.boxes, [[5, 5, 20, 20]])

    @pytest.mark.parametrize(
        ("thing", "kind"),
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
    def test_a_useless_object_is_left_out_and_named(self, tmp_path, thing, kind):
        _, xml = add_image(tmp_path, "x", [thing, ("b", (5, 5, 20, 20))])
        [sample], [fault] = read(tmp_path)
        assert sample.labels.tolist() == [1]
        assert (fault.kind, fault.path) == (kind, xml)

    def test_a_box_passing_the_border_is_kept_and_named(self, tmp_path):
        add_image(tmp_path, "x", [("a", (0, 0, 81, 61)), ("a", (-3, 10, 40, 50))])
        [sample], [fault] = read(tmp_path)
        assert fault.kind == "box passes border"
        np.testing.assert_array_equal(sample.boxes[1], [-3, 10, 40, 50])

    def test_a_size_that_differs_is_named(self, tmp_path):
        xml = annotation([], (60, 80)).replace("<width>80", "<width>60")
        add_image(tmp_path, "x", xml=xml)
        samples, [fault] = read(tmp_path)
        assert (len(samples), fault.kind) == (1, "size differs")
        add_image(tmp_path, "x", xml=annotation([], (0, 0)))  # some tools leave it empty
        assert not read(tmp_path)[1]

    def test_missing_files_are_named(self, tmp_path):
        image, xml = add_image(tmp_path, "x")
        xml.rename(tmp_path / "x.xml")
        assert read(tmp_path) == ([], [Fault("image without annotation", image)])
        image.unlink()
        _, [fault] = read(tmp_path)
        assert (fault.kind, fault.path) == ("no such image", tmp_path / "JPEGImages" / "x")
        (tmp_path / "x.xml").rename(xml)
        assert read(tmp_path) == ([], [Fault("annotation without image", xml)])

    def test_damaged_files_are_named(self, tmp_path):
        image, xml = add_image(tmp_path, "x", [("a", (5, 5, 20, 20))])
        whole = xml.read_text()
        xml.write_text(whole[: len(whole) // 2])
        samples, [fault] = read(tmp_path)
        assert (samples, fault.kind, fault.path) == ([], "unreadable annotation", xml)
        assert "x.xml" in fault.detail
        xml.write_text(whole)
        image.write_text("no picture")
        samples, [fault] = read(tmp_path)
        assert (samples, fault.kind, fault.path) == ([], "unreadable image", image)


class TestXml:
    @pytest.mark.parametrize(
        ("encoding", "name"),
        [
            ("utf-8", "浣熊"),
            ("utf-8-sig", "浣熊"),
            ("utf-16", "浣熊"),
            ("gb2312", "浣熊"),
            ("gbk", "浣熊"),
            ("shift_jis", "狸"),
            ("euc-kr", "너구리"),
            ("windows-1252", "Waschbär"),
        ],
    )
    def test_encodings(self, tmp_path, encoding, name):
        declared = encoding.removesuffix("-sig")
        text = f"<?xml version='1.0' encoding='{declared}'?>\n<a><name>{name}</name></a>"
        path = tmp_path / "x.xml"
        path.write_bytes(text.encode(encoding))
        assert parse_xml(path).findtext("name") == name

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"no xml",
            b"<a><b></a>",
            b"<?xml version='1.0' encoding='klingon'?><a/>",
            b"<?xml version='1.0' encoding='gbk'?><a>\xff\xff</a>",
            b"<!DOCTYPE a [<!ENTITY b 'bbbb'>]><a>&b;</a>",
        ],
    )
    def test_what_is_no_sound_xml_is_an_error_that_names_it(self, tmp_path, data):
        path = tmp_path / "bad.xml"
        path.write_bytes(data)
        with pytest.raises(UserError, match=r"bad\.xml"):
            parse_xml(path)


class TestClasses:
    def test_found_in_vocs_order_else_sorted(self, tmp_path):
        add_image(tmp_path, "x", [(name, (1, 1, 9, 9)) for name in ("sofa", "cat", "aeroplane")])
        add_image(tmp_path, "y", [("zebra", (1, 1, 9, 9)), ("cat", (1, 1, 9, 9))])
        x, y, missing = (ImageRef(tmp_path, name) for name in "xyz")
        assert find_classes([x]) == ["aeroplane", "cat", "sofa"]
        assert find_classes([x, y, missing]) == ["aeroplane", "cat", "sofa", "zebra"]

    def test_files(self, tmp_path):
        path = tmp_path / "classes.txt"
        path.write_text("\ufeffcat\n\ntraffic light \r\n浣熊\n", encoding="utf-8")
        assert read_classes(path) == ["cat", "traffic light", "浣熊"]
        path.write_text("cat\ndog\ncat\n")
        with pytest.raises(UserError, match="'cat' stands twice"):
            read_classes(path)
        path.write_text("\n")
        with pytest.raises(UserError, match="no class"):
            read_classes(path)


@pytest.mark.parametrize(
    ("name", "images", "objects", "faults"),
    [("raccoon", 160, 171, 0), ("bccd", 292, 3941, 2), ("foda-mini", 1860, 1887, 0)],
)
def test_real_sets(shared_data, name, images, objects, faults):
    train, val, _ = resolve_splits(shared_data / name)
    samples, found = read_samples(train + val, find_classes(train))
    assert len(samples) == images
    assert sum(len(sample.boxes) for sample in samples) == objects
    assert len(found) == faults


class TestPhotosTurnedByExif:
    """A white box on black: wherever the photo shows it, there the sample must have it."""

    BOX = (20, 4, 50, 16)  # on the photo as it is stored, 80 x 60

    def sample_of(self, folder, orientation, drawn_on):
        add_image(folder, "a", xml=annotation([("cat", drawn_on[1])], drawn_on[0]))
        (folder / "JPEGImages" / "a.png").unlink()
        stored = np.zeros((60, 80, 3), np.uint8)
        stored[4:16, 20:50] = 255
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.fromarray(stored).save(folder / "JPEGImages" / "a.jpg", exif=exif, quality=95)
        (sample,), faults = read_samples([ImageRef(folder, "a")], ["cat"])
        shown = np.asarray(ImageOps.exif_transpose(Image.open(sample.image)))[..., 0] > 128
        rows, columns = np.nonzero(shown.any(axis=1))[0], np.nonzero(shown.any(axis=0))[0]
        seen = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
        assert (sample.height, sample.width) == shown.shape
        return sample, seen, [fault.kind for fault in faults]

    @pytest.mark.parametrize("orientation", [5, 6, 7, 8])
    def test_boxes_drawn_before_the_turn_are_turned(self, tmp_path, orientation):
        sample, seen, faults = self.sample_of(tmp_path, orientation, ((60, 80), self.BOX))
        np.testing.assert_array_equal(sample.boxes, [seen])
        assert faults == ["boxes turned by EXIF"]

    @pytest.mark.parametrize("orientation", [1, 6])
    def test_boxes_drawn_after_the_turn_are_left_alone(self, tmp_path, orientation):
        drawn = {1: ((60, 80), self.BOX), 6: ((80, 60), (44, 20, 56, 50))}[orientation]
        sample, seen, faults = self.sample_of(tmp_path, orientation, drawn)
        np.testing.assert_array_equal(sample.boxes, [seen])
        assert not faults
