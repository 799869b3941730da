import pytest

from tests.vocset import add_image, add_list, ids
from utils.data.imagesets import list_images
from utils.data.splits import resolve_splits
from utils.errors import UserError


def test_train_and_val_are_used_or_else_a_tenth_of_trainval_is_held_out(devkit):
    split = resolve_splits(devkit)
    assert len(split.train) == 2 + 18
    assert len(split.val) == 2 + 2
    assert {"a", "b"} < set(ids(split.train))
    assert {"c", "d"} < set(ids(split.val))
    assert set(split.train).isdisjoint(split.val)
    assert split.description == (
        "train and val of VOC2007; 2 of 20 images held out for validation from VOC2012"
    )


def test_the_seed_determines_the_held_out_images(devkit):
    held_out = [resolve_splits(devkit, seed=seed).val for seed in (0, 0, 1, 2)]
    assert held_out[0] == held_out[1]
    assert not held_out[0] == held_out[2] == held_out[3]


@pytest.mark.parametrize(("held_out", "count"), [(0.01, 1), (0.25, 5), (1.0, 19)])
def test_the_held_out_fraction(devkit, held_out, count):
    # Of 20 images, at least one is held out and at least one is not.
    split = resolve_splits(devkit / "VOC2012", held_out=held_out)
    assert (len(split.train), len(split.val)) == (20 - count, count)
    named = resolve_splits(devkit, "2012:trainval", held_out=held_out)
    assert (named.train, named.val) == (split.train, split.val)


def test_the_test_set_is_only_used_if_selected(devkit):
    split = resolve_splits(devkit)
    assert {"e", "f"}.isdisjoint(ids(split.train + split.val))
    for name in ("train", "val", "trainval"):
        (devkit / "VOC2007" / "ImageSets" / "Main" / f"{name}.txt").unlink()
    split = resolve_splits(devkit)
    assert {ref.voc_dir.name for ref in split.train + split.val} == {"VOC2012"}
    with pytest.raises(UserError, match=r"nothing to train on.* the sets test"):
        resolve_splits(devkit / "VOC2007")


def test_images_that_are_also_in_test_are_left_out_unless_selected(devkit):
    add_list(devkit / "VOC2007", "test", "aef")
    add_list(devkit / "VOC2012", "test", "gh")
    split = resolve_splits(devkit)
    assert set("agh").isdisjoint(ids(split.train + split.val))
    assert (len(split.train), len(split.val)) == (1 + 16, 2 + 2)
    assert "3 images left out that are also in test" in split.description
    assert "a" in ids(resolve_splits(devkit, "2007:train").train)


def test_without_lists_a_tenth_is_held_out_and_the_missing_test_set_is_reported(tmp_path):
    for number in range(12):
        add_image(tmp_path / "VOC2024", f"{number}", size=(4, 4))
    split = resolve_splits(tmp_path)
    assert (len(split.train), len(split.val)) == (11, 1)
    assert "no test list" in split.description


def test_selected_sets(devkit):
    split = resolve_splits(devkit, "2007:trainval", "2007:test")
    assert ids(split.train) == list("abcd")
    assert ids(split.val) == list("ef")


def test_with_train_set_only_val_is_used_if_they_share_no_image(devkit):
    split = resolve_splits(devkit, "2007:train")
    assert (ids(split.train), ids(split.val)) == (list("ab"), list("cd"))
    assert split.description == "train on 2007:train, validate on val"
    split = resolve_splits(devkit, "trainval")
    assert (len(split.train), len(split.val)) == (22, 2)
    assert "2 of its 24 images held out" in split.description
    assert set(split.train).isdisjoint(split.val)


def test_with_val_set_only_all_other_images_are_trained_on(devkit):
    split = resolve_splits(devkit / "VOC2007", val_set="val")
    assert (ids(split.train), ids(split.val)) == (list("ab"), list("cd"))
    with pytest.raises(UserError, match="no image to train on"):
        resolve_splits(devkit / "VOC2007", val_set="trainval")


def test_one_image_is_not_enough(tmp_path):
    add_image(tmp_path / "VOC2024", "only")
    with pytest.raises(UserError, match="add images"):
        resolve_splits(tmp_path)


class TestImagesThatAreAlsoInTest:
    """Images in `test` choose the best weights only if the user asks for it."""

    def test_an_implicit_val_does_not_contain_them(self, devkit):
        add_list(devkit / "VOC2007", "test", "def")
        split = resolve_splits(devkit, "2007:train")
        assert (ids(split.train), ids(split.val)) == (list("ab"), ["c"])
        assert split.description == (
            "train on 2007:train, validate on val; 1 image of val left out that is also in test"
        )
        assert not split.warnings

    @pytest.mark.parametrize(
        ("train_set", "start"),
        [
            ("2007:train", "train on 2007:train, 1 of its 2 images held out for validation; "),
            (None, ""),
        ],
    )
    def test_images_are_held_out_if_all_of_val_are_in_test(self, devkit, train_set, start):
        add_list(devkit / "VOC2007", "test", "cd")
        split = resolve_splits(devkit / "VOC2007", train_set)
        assert sorted(ids(split.train + split.val)) == list("ab")
        assert split.description.startswith(f"{start}all 2 images of val")

    def test_they_are_not_held_out_from_a_training_set(self, devkit):
        add_list(devkit / "VOC2012", "test", "ghijklmnopqrstuvwx")
        split = resolve_splits(devkit, "2012:trainval", held_out=0.5)
        assert sorted(ids(split.val)) == list("yz")
        assert len(split.train) == 18
        assert split.warnings[0].startswith("18 of the 20 images of --train-set 2012:trainval are")
        assert "\nwarning: 18 of the 20" in str(split)

    def test_they_are_held_out_if_test_is_named(self, devkit):
        add_list(devkit / "VOC2012", "test", "gh")
        split = resolve_splits(devkit, "2012:test")
        assert sorted(ids(split.train + split.val)) == list("gh")
        assert not split.warnings

    def test_naming_test_of_one_year_does_not_select_that_of_another(self, devkit):
        for name, members in {"train": "ghi", "val": "gj", "test": "gh"}.items():
            add_list(devkit / "VOC2012", name, members)
        split = resolve_splits(devkit, "2007:test,2012:train")
        assert (ids(split.train), ids(split.val)) == (list("efghi"), list("cdj"))
        assert split.warnings[0].startswith("2 of the 5 images of --train-set")

    def test_a_training_set_within_test_needs_validation_images(self, devkit):
        add_list(devkit / "VOC2012", "test", "ghijklmnopqrstuvwxyz")
        with pytest.raises(UserError, match=r"all 20 images of trainval are.* in test.*--val-set"):
            resolve_splits(devkit / "VOC2012", "trainval")

    @pytest.mark.parametrize(
        ("train_set", "val_set", "counts"),
        [
            (
                "train",
                "val",
                ["1 of the 2 images of --train-set", "1 of the 2 images of --val-set"],
            ),
            ("trainval", "test", ["2 of the 4 images of --train-set"]),
            ("train", "2007:test", ["1 of the 2 images of --train-set"]),
            ("trainval,test", "2007:val,2007:test", []),
        ],
    )
    def test_sets_stay_as_selected_with_a_warning(self, devkit, train_set, val_set, counts):
        add_list(devkit / "VOC2007", "test", "ace")
        split = resolve_splits(devkit / "VOC2007", train_set, val_set)
        assert [" ".join(line.split()[:7]) for line in split.warnings] == counts
        assert split.train == list_images(devkit / "VOC2007", train_set)
        assert split.val == list_images(devkit / "VOC2007", val_set)

    def test_training_images_left_out_beside_a_validation_set_are_counted(self, devkit):
        add_list(devkit / "VOC2007", "test", "aef")
        split = resolve_splits(devkit / "VOC2007", None, "val")
        assert ids(split.train) == ["b"]
        assert split.description.endswith("1 image left out that is also in test")
        add_list(devkit / "VOC2007", "test", "ab")
        with pytest.raises(UserError, match="those of 'val', and the 2 others are in test"):
            resolve_splits(devkit / "VOC2007", None, "val")


class TestEmptyLists:
    def test_an_empty_val_is_replaced_by_held_out_images(self, devkit):
        add_list(devkit / "VOC2007", "val", [])
        split = resolve_splits(devkit / "VOC2007")
        assert sorted(ids(split.train + split.val)) == list("abcd")
        assert "val of VOC2007 is empty" in split.description
        split = resolve_splits(devkit / "VOC2007", "train")
        assert sorted(ids(split.train + split.val)) == list("ab")
        assert "val.txt is empty" in split.description

    def test_a_folder_that_contributes_nothing_is_named(self, devkit):
        for name in ("train", "trainval"):
            (devkit / "VOC2007" / "ImageSets" / "Main" / f"{name}.txt").unlink()
        description = resolve_splits(devkit).description
        assert description.startswith("VOC2007 has no list train or trainval and is not used; ")

    def test_an_empty_trainval_counts_as_missing(self, devkit):
        for name in ("trainval", "val"):
            add_list(devkit / "VOC2007", name, [])
        split = resolve_splits(devkit / "VOC2007")
        assert sorted(ids(split.train + split.val)) == list("ab")

    def test_the_cause_is_named_if_no_image_is_left(self, devkit):
        add_list(devkit / "VOC2012", "trainval", [])
        with pytest.raises(UserError, match=r"nothing to train on.*: trainval of VOC2012 is empty"):
            resolve_splits(devkit / "VOC2012")
        for name in ("train", "val", "trainval"):
            add_list(devkit / "VOC2007", name, [])
        with pytest.raises(UserError, match="trainval of VOC2007 is empty; val of"):
            resolve_splits(devkit / "VOC2007")

    def test_trainval_equal_to_test_is_named_as_the_cause(self, devkit):
        add_list(devkit / "VOC2012", "test", "ghijklmnopqrstuvwxyz")
        with pytest.raises(UserError, match="all 20 images of trainval of VOC2012 are"):
            resolve_splits(devkit / "VOC2012")

    def test_a_folder_without_annotations_is_named_as_the_cause(self, tmp_path):
        (tmp_path / "VOC2024" / "Annotations").mkdir(parents=True)
        with pytest.raises(UserError, match=r"no XML file in .*Annotations"):
            resolve_splits(tmp_path)

    def test_an_empty_test_list_is_reported(self, devkit):
        add_list(devkit / "VOC2012", "test", [])
        description = resolve_splits(devkit / "VOC2012").description
        assert description.endswith("test is empty: no images are reserved for a final evaluation")
