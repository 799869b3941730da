"""Tests the settings that train.py makes from its flags."""

from pathlib import Path

import pytest

import train
from utils.errors import UserError


def settings_of(*flags):
    return train.settings_from(train.build_parser().parse_args([*flags]))


@pytest.mark.parametrize(
    ("flags", "epochs"),
    [((), 30), (("--max-minutes", "5"), None), (("--epochs", "7", "--max-minutes", "5"), 7)],
)
def test_fast_recipe_has_few_epochs_by_default(flags, epochs):
    assert settings_of("--recipe", "fast", *flags).recipe.epochs == epochs


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ((), ("adamw", 1e-3, 0.05)),
        (("--optimizer", "sgd"), ("sgd", 0.1, 5e-4)),
        (("--optimizer", "sgd", "--lr", "0.03"), ("sgd", 0.03, 5e-4)),
        (("--recipe", "classic", "--optimizer", "adamw"), ("adamw", 1e-3, 0.05)),
        (("--yolo", "v4-lite"), ("adamw", 4e-3, 0.05)),
        (("--yolo", "v4-lite", "--lr", "0.002"), ("adamw", 0.002, 0.05)),
        (("--yolo", "v4-lite", "--optimizer", "sgd"), ("sgd", 0.1, 5e-4)),
    ],
)
def test_optimizer_brings_its_learning_rate_and_decay(flags, expected):
    recipe = settings_of(*flags).recipe
    assert (recipe.optimizer, recipe.learning_rate, recipe.weight_decay) == expected


@pytest.mark.parametrize(
    ("flags", "patience"),
    [((), 50), (("--max-minutes", "5"), None), (("--max-minutes", "5", "--patience", "9"), 9)],
)
def test_time_limit_disables_patience_by_default(flags, patience):
    assert settings_of(*flags).recipe.patience == patience


def test_flags_of_the_data_and_the_detector_are_in_the_settings():
    settings = settings_of(
        *("--yolo", "v3", "--conv", "separable", "--input-size", "64x96", "--width", "0.5"),
        *("--data", "D", "--train-set", "a", "--val-set", "b", "--classes", "c.txt", "--strict"),
        *(
            "--faults",
            "faults.csv",
            "--weights",
            "w.h5",
            "--run",
            "r",
            "--recipe",
            "classic",
            "--seed",
            "7",
        ),
    )
    assert (settings.version.name, settings.version.conv) == ("v3", "separable")
    assert (settings.input_size, settings.width) == ((64, 96), 0.5)
    assert (settings.data, settings.classes_file) == (Path("D"), Path("c.txt"))
    assert (settings.train_set, settings.val_set, settings.strict) == ("a", "b", True)
    assert settings.faults_file == Path("faults.csv")
    assert (settings.weights, settings.run) == ("w.h5", Path("r"))
    assert (settings.cluster_anchors, settings.recipe.seed) == (False, 7)
    assert settings_of().data == Path("VOCdevkit")


def test_random_backbones_are_frozen_only_on_request():
    assert not settings_of().freeze_random_backbone
    settings = settings_of("--freeze-epochs", "25")
    assert settings.freeze_random_backbone and settings.recipe.freeze_share == 0.25


def test_a_run_with_a_time_limit_can_do_without_frozen_epochs():
    assert settings_of("--max-minutes", "5").recipe.freeze_share == 0.1
    assert settings_of("--max-minutes", "5", "--freeze-epochs", "0").recipe.freeze_share == 0.0


@pytest.mark.parametrize(
    "flag", [("--backbone", "mobilenetv2"), ("--seed", "0"), ("--seed", "1"), ("--jit",)]
)
def test_a_resumed_run_takes_no_other_settings_not_even_the_defaults(flag):
    flags = train.build_parser().parse_args(["--resume", "r", *flag])
    with pytest.raises(UserError, match=f"{flag[0]} cannot be used with --resume"):
        train.reject_other_flags(flags)


def test_a_list_of_faults_can_be_written_when_a_run_is_resumed():
    train.reject_other_flags(
        train.build_parser().parse_args(["--resume", "r", "--faults", "faults.csv", "--strict"])
    )
