import pytest
from vocset import add_image, add_list

from utils.data.imagesets import (
    ImageRef,
    list_images,
    resolve_splits,
    set_lists,
    write_set_list,
)
from utils.errors import UserError


def ids(refs):
    return [ref.image_id for ref in refs]


@pytest.fixture
def devkit(tmp_path):
    """Two years with different lists; the annotations have no objects."""
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
        with pytest.raises(UserError, match="no image in set 'none'"):
            list_images(devkit, "none")

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


class TestSplits:
    def test_train_and_val_are_used_or_else_a_tenth_of_trainval_is_held_out(self, devkit):
        split = resolve_splits(devkit)
        assert len(split.train) == 2 + 18
        assert len(split.val) == 2 + 2
        assert {"a", "b"} < set(ids(split.train))
        assert {"c", "d"} < set(ids(split.val))
        assert set(split.train).isdisjoint(split.val)
        assert split.description == (
            "train and val of VOC2007; 2 of 20 images held out for validation from VOC2012"
        )

    def test_the_seed_determines_the_held_out_images(self, devkit):
        held_out = [resolve_splits(devkit, seed=seed).val for seed in (0, 0, 1, 2)]
        assert held_out[0] == held_out[1]
        assert not held_out[0] == held_out[2] == held_out[3]

    @pytest.mark.parametrize(("held_out", "count"), [(0.01, 1), (0.25, 5), (1.0, 19)])
    def test_the_held_out_fraction(self, devkit, held_out, count):
        # Of 20 images, at least one is held out and at least one is not.
        split = resolve_splits(devkit / "VOC2012", held_out=held_out)
        assert (len(split.train), len(split.val)) == (20 - count, count)
        named = resolve_splits(devkit, "2012:trainval", held_out=held_out)
        assert (named.train, named.val) == (split.train, split.val)

    def test_the_test_set_is_only_used_if_selected(self, devkit):
        split = resolve_splits(devkit)
        assert {"e", "f"}.isdisjoint(ids(split.train + split.val))
        for name in ("train", "val", "trainval"):
            (devkit / "VOC2007" / "ImageSets" / "Main" / f"{name}.txt").unlink()
        split = resolve_splits(devkit)
        assert {ref.voc_dir.name for ref in split.train + split.val} == {"VOC2012"}
        with pytest.raises(UserError, match=r"nothing to train on.* the sets test"):
            resolve_splits(devkit / "VOC2007")

    def test_images_that_are_also_in_test_are_left_out_unless_selected(self, devkit):
        add_list(devkit / "VOC2007", "test", "aef")
        add_list(devkit / "VOC2012", "test", "gh")
        split = resolve_splits(devkit)
        assert set("agh").isdisjoint(ids(split.train + split.val))
        assert (len(split.train), len(split.val)) == (1 + 16, 2 + 2)
        assert "3 images left out that are also in test" in split.description
        assert "a" in ids(resolve_splits(devkit, "2007:train").train)

    def test_without_lists_a_tenth_is_held_out_and_the_missing_test_set_is_reported(self, tmp_path):
        for number in range(12):
            add_image(tmp_path / "VOC2024", f"{number}", size=(4, 4))
        split = resolve_splits(tmp_path)
        assert (len(split.train), len(split.val)) == (11, 1)
        assert "no test list" in split.description

    def test_selected_sets(self, devkit):
        split = resolve_splits(devkit, "2007:trainval", "2007:test")
        assert ids(split.train) == list("abcd")
        assert ids(split.val) == list("ef")

    def test_with_train_set_only_val_is_used_if_they_share_no_image(self, devkit):
        split = resolve_splits(devkit, "2007:train")
        assert (ids(split.train), ids(split.val)) == (list("ab"), list("cd"))
        assert split.description == "train on 2007:train, validate on val"
        split = resolve_splits(devkit, "trainval")
        assert (len(split.train), len(split.val)) == (22, 2)
        assert "2 of its 24 images held out" in split.description
        assert set(split.train).isdisjoint(split.val)

    def test_with_val_set_only_all_other_images_are_trained_on(self, devkit):
        split = resolve_splits(devkit / "VOC2007", val_set="val")
        assert (ids(split.train), ids(split.val)) == (list("ab"), list("cd"))
        with pytest.raises(UserError, match="no image to train on"):
            resolve_splits(devkit / "VOC2007", val_set="trainval")

    def test_one_image_is_not_enough(self, tmp_path):
        add_image(tmp_path / "VOC2024", "only")
        with pytest.raises(UserError, match="add images"):
            resolve_splits(tmp_path)


def test_a_set_list_is_written_and_read_back(tmp_path):
    path = tmp_path / "ImageSets" / "Main" / "mine.txt"
    write_set_list(path, ["너구리", "b 2"])
    assert path.read_text(encoding="utf-8") == "너구리\nb 2\n"
    assert set_lists(tmp_path) == {"mine": path}
    for name in ("너구리", "b 2"):
        add_image(tmp_path, name, size=(4, 4))
    assert ids(list_images(tmp_path, "mine")) == ["너구리", "b 2"]
