import pytest

from tests.vocset import add_image, add_list, ids
from utils.data.imagesets import ImageRef, list_images, set_lists, write_set_list
from utils.errors import UserError


class TestSets:
    def test_a_name_selects_all_years_that_have_it(self, devkit):
        assert ids(list_images(devkit, "trainval")) == list("abcdghijklmnopqrstuvwxyz")
        assert ids(list_images(devkit, "val")) == list("cd")

    @pytest.mark.parametrize("spec", ["2007:trainval,2012:trainval", " VOC2007:trainval, trainval"])
    def test_several_sets_with_years(self, devkit, spec):
        assert ids(list_images(devkit, spec)) == list("abcdghijklmnopqrstuvwxyz")

    def test_data_can_be_a_voc_folder_itself(self, devkit):
        assert ids(list_images(devkit / "VOC2007", "test")) == list("ef")

    @pytest.mark.parametrize(
        ("spec", "message"),
        [
            ("tset", "no image set 'tset'.* test, train"),
            ("2012:test", "no image set 'test'.* it has trainval"),
            ("2010:test", "no year '2010'.* VOC2007, VOC2012"),
        ],
    )
    def test_an_unknown_set_is_an_error_that_lists_known_ones(self, devkit, spec, message):
        with pytest.raises(UserError, match=message):
            list_images(devkit, spec)

    def test_an_empty_list_is_an_error(self, devkit):
        add_list(devkit / "VOC2007", "none", [" ", ""])
        for spec in ("none", "train,2007:none"):
            with pytest.raises(UserError, match=r"no image in set '.*none'.*none\.txt is empty"):
                list_images(devkit, spec)

    def test_missing_and_empty_folders_are_errors(self, tmp_path):
        with pytest.raises(UserError, match="no folder"):
            list_images(tmp_path / "nowhere", "train")
        with pytest.raises(UserError, match="no VOC folder"):
            list_images(tmp_path, "train")

    def test_lists_of_one_class_have_a_second_column(self, devkit):
        year = devkit / "VOC2007"
        add_image(year, "the cat 1")
        lines = ["a -1", "b  1", "the cat 1", "the cat 1  1", "c 0", "a -1"]
        add_list(year, "cat_train", lines)
        assert ids(list_images(devkit, "cat_train")) == ["a", "b", "the cat 1", "c"]

    def test_numbers_on_lines_of_their_own_are_names(self, devkit):
        add_list(devkit / "VOC2007", "numbers", ["a", "0", "b 1", "-1", "1"])
        assert ids(list_images(devkit, "numbers")) == ["a", "0", "b", "-1", "1"]

    @pytest.mark.parametrize(
        "lines",
        [
            ["a.jpg", "b.JPG", "the cat 1.png"],
            ["data/voc/JPEGImages/a.jpg", "data/voc/JPEGImages/b.jpg", "data/the cat 1.png"],
            ["/a/b/a.xml", "./b.jpeg", "../the cat 1"],
            [r"C:\data\a.jpg", r"C:\data\b.jpg", r"C:\data\the cat 1.png"],
            ["a.jpg  1", "b.jpg -1", "x/the cat 1.png 0"],
            ["a", "b.png", "JPEGImages/a.png", "b -1", "the cat 1"],
        ],
    )
    @pytest.mark.parametrize("end", ["\n", "\r\n"])
    def test_a_line_can_have_a_folder_and_a_suffix(self, devkit, lines, end):
        year = devkit / "VOC2007"
        add_image(year, "the cat 1")
        path = year / "ImageSets" / "Main" / "paths.txt"
        path.write_bytes("".join(line + end for line in lines).encode())
        assert ids(list_images(devkit, "paths")) == ["a", "b", "the cat 1"]

    def test_names_with_dots_are_no_suffixes(self, devkit):
        year = devkit / "VOC2007"
        names = ["v1.jpg", "v1.2", "a.b", "c.png"]
        for name in names:
            add_image(year, name)
        add_list(year, "dots", ["v1.jpg", "v1.2", "data/a.b.png", "c.png.jpg", "missing.jpg"])
        assert ids(list_images(devkit, "dots")) == [*names, "missing"]

    def test_equal_names_in_different_folders_are_an_error(self, devkit):
        add_list(devkit / "VOC2007", "days", ["monday/a.jpg", "a", "tuesday/a.jpg"])
        with pytest.raises(UserError, match=r"days\.txt lists a in monday and in tuesday"):
            list_images(devkit, "days")

    def test_a_list_can_start_with_a_byte_order_mark(self, devkit):
        path = devkit / "VOC2007" / "ImageSets" / "Main" / "test.txt"
        path.write_bytes(b"\xef\xbb\xbfe\r\nf\r\n")
        assert ids(list_images(devkit, "test")) == ["e", "f"]

    def test_a_list_in_another_encoding_is_an_error(self, devkit):
        path = devkit / "VOC2007" / "ImageSets" / "Main" / "test.txt"
        path.write_bytes("浣熊".encode("gb18030"))
        with pytest.raises(UserError, match=r"test\.txt is not UTF-8"):
            list_images(devkit, "test")

    def test_without_lists_all_annotated_images_are_used(self, tmp_path):
        for name in "cab":
            add_image(tmp_path / "VOC2024", name)
        (tmp_path / "VOC2024" / "Annotations" / "b.xml").unlink()
        assert ids(list_images(tmp_path, "all")) == ["a", "c"]

    def test_all_selects_every_annotated_image_once_in_spite_of_lists(self, devkit):
        year = devkit / "VOC2007"
        add_list(year, "test", ["e", "f", "gone"])
        add_image(year, "in no list")
        annotated = [
            ImageRef(path.parents[1], path.stem) for path in devkit.glob("*/Annotations/*.xml")
        ]
        assert list_images(devkit, "all") == sorted(annotated)
        assert list_images(devkit, "all,test")[:-1] == sorted(annotated)
        assert ids(list_images(devkit, "2007:all")) == sorted(
            ref.image_id for ref in annotated if ref.voc_dir == year
        )
        add_list(year, "all", ["e"])
        assert ids(list_images(devkit, "2007:all")) == ["e"]

    def test_all_without_an_annotation_is_an_error(self, tmp_path):
        (tmp_path / "Annotations").mkdir()
        with pytest.raises(UserError, match="there is no annotation"):
            list_images(tmp_path, "all")


def test_a_set_list_is_written_and_read_back(tmp_path):
    path = tmp_path / "ImageSets" / "Main" / "mine.txt"
    write_set_list(path, ["너구리", "b 2"])
    assert path.read_text(encoding="utf-8") == "너구리\nb 2\n"
    assert set_lists(tmp_path) == {"mine": path}
    for name in ("너구리", "b 2"):
        add_image(tmp_path, name, size=(4, 4))
    assert ids(list_images(tmp_path, "mine")) == ["너구리", "b 2"]
