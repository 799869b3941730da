"""Trains a detector on a VOC folder: `python train.py --backbone ghostnet`."""

import argparse
import time
from dataclasses import replace
from pathlib import Path
from typing import get_args

from nets.versions import VERSIONS, Conv, with_conv
from utils.cli import (
    MAX_BATCH,
    MAX_EPOCHS,
    Parser,
    above_zero,
    at_most,
    import_tensorflow,
    integer,
    parse_size,
    run,
    seed,
)
from utils.config import Optimizer, Strategy
from utils.errors import UserError
from utils.precision import PRECISIONS
from utils.training.recipes import RECIPES, Overrides, override
from utils.training.settings import ResumeSettings, TrainingSettings
from utils.weights.sources import check_source

STARTED = time.monotonic()
DEVKIT = Path("VOCdevkit")
FLAGS_OF_RESUME = ("resume", "data", "strict", "faults", "epochs", "max_minutes", "debug")


def build_parser() -> Parser:
    """Builds the parser of the flags."""
    parser = Parser(__doc__)
    add = parser.add_argument
    add("--backbone", default="mobilenetv2", metavar="NAME", help="default %(default)s")
    add("--list-backbones", action="store_true", help="print names and widths, and exit")
    add(
        "--width",
        type=above_zero,
        metavar="F",
        help="width multiplier, for backbones that have one",
    )
    add("--yolo", choices=tuple(VERSIONS), default="v4", help="version, default %(default)s")
    add("--conv", choices=get_args(Conv), help="spatial convolutions, default by version")
    add(
        "--neck-width",
        type=above_zero,
        default=1.0,
        metavar="F",
        help="multiplier of the channels of neck and head, default %(default)g",
    )
    add(
        "--data",
        type=Path,
        metavar="DIR",
        help="default VOCdevkit, or the folder of a resumed run",
    )
    add("--train-set", metavar="SETS", help="for example 2007:trainval,2012:trainval")
    add("--val-set", metavar="SETS", help="default val, or a seeded 10%% of the training images")
    add("--classes", type=Path, metavar="FILE", help="default: those of the training annotations")
    add("--strict", action="store_true", help="treat any fault in the data as an error")
    add("--faults", type=Path, metavar="FILE", help="write all faults in the data as CSV")
    add("--input-size", default="416", metavar="N|HxW", help="multiple of 32, default %(default)s")
    add(
        "--recipe",
        choices=tuple(RECIPES),
        default="default",
        help="fast: 30 epochs, most on smaller images; classic: like mobilenet-yolov4-keras",
    )
    add(
        "--epochs",
        type=at_most(MAX_EPOCHS),
        metavar="N",
        help="default 100 (fast 30, classic 300), no limit with --max-minutes",
    )
    add(
        "--freeze-epochs",
        type=integer(0, MAX_EPOCHS),
        metavar="N",
        help="epochs with a frozen backbone, default 10%% of the run, or 0 with random weights",
    )
    add("--batch-size", type=at_most(MAX_BATCH), metavar="N", help="default 8")
    add(
        "--lr",
        type=above_zero,
        metavar="F",
        help="peak learning rate, default 1e-3 for adamw (4e-3 with v4-lite), 0.1 for sgd, "
        "1.25e-3 in classic",
    )
    add("--optimizer", choices=get_args(Optimizer), help="default adamw (classic sgd)")
    add("--max-minutes", type=above_zero, metavar="M", help="finish cleanly after about M minutes")
    add(
        "--patience",
        type=at_most(MAX_EPOCHS),
        metavar="N",
        help="epochs without a better mAP before stopping, default 50, no limit with --max-minutes",
    )
    add(
        "--weights",
        default="auto",
        metavar="auto|imagenet|none|FILE",
        help="initial weights; auto: ImageNet's if they can be downloaded, otherwise random",
    )
    add("--run", type=Path, metavar="DIR", help="default logs/<time>-<backbone>-<yolo>")
    add(
        "--resume",
        type=Path,
        metavar="DIR",
        help="continue the run in DIR; --epochs or --max-minutes extends it",
    )
    add(
        "--save-every",
        type=at_most(MAX_EPOCHS),
        metavar="N",
        help="also save the weights of every Nth epoch, as epoch-NNN.weights.h5",
    )
    add(
        "--save-minutes",
        type=above_zero,
        metavar="F",
        help="save the state for --resume after every F minutes, default 1",
    )
    add("--seed", type=seed, default=0, metavar="N", help="default %(default)s")
    add(
        "--precision",
        choices=PRECISIONS,
        help="default auto: mixed_bfloat16 on CPUs with bfloat16 units, otherwise float32",
    )
    add("--jit", action="store_true", help="compile the training step with XLA, for GPUs")
    add("--strategy", choices=get_args(Strategy), default="single", help="default %(default)s")
    return parser


def main(flags: argparse.Namespace) -> None:
    """Trains a new or a resumed run."""
    if flags.list_backbones:
        print_backbones()
        return
    if flags.resume:
        reject_other_flags(flags)
    settings = resume_settings_from(flags) if flags.resume else settings_from(flags)
    check_source(flags.weights)
    import_tensorflow()
    from utils.terminal import survive_closed_terminal
    from utils.training.job import train
    from utils.training.resuming import resume
    from utils.training.session import prepare

    survive_closed_terminal()
    with resume(settings) if flags.resume else prepare(settings) as session:
        if session is not None:  # the run is not finished
            train(session, STARTED)


def settings_from(flags: argparse.Namespace) -> TrainingSettings:
    """Returns the settings of a new run.

    Raises:
        UserError: Flags contradict each other.
    """
    preset = RECIPES[flags.recipe]
    version = replace(preset.adapt(VERSIONS[flags.yolo]), neck_width=flags.neck_width)
    if flags.conv:
        version = with_conv(version, flags.conv)
    overrides = Overrides(
        epochs=flags.epochs,
        max_minutes=flags.max_minutes,
        freeze_epochs=flags.freeze_epochs,
        batch_size=flags.batch_size,
        optimizer=flags.optimizer,
        learning_rate=flags.lr,
        patience=flags.patience,
        save_every=flags.save_every,
        save_minutes=flags.save_minutes,
        precision=flags.precision,
        seed=flags.seed,
        jit=flags.jit,
        strategy=flags.strategy,
    )
    return TrainingSettings(
        backbone=flags.backbone,
        width=flags.width,
        version=version,
        input_size=parse_size(flags.input_size),
        recipe=override(preset.recipe, overrides, version),
        cluster_anchors=preset.cluster_anchors,
        data=flags.data or DEVKIT,
        train_set=flags.train_set,
        val_set=flags.val_set,
        classes_file=flags.classes,
        strict=flags.strict,
        faults_file=flags.faults,
        weights=flags.weights,
        freeze_random_backbone=flags.freeze_epochs is not None,
        run=flags.run,
    )


def resume_settings_from(flags: argparse.Namespace) -> ResumeSettings:
    """Returns how a run is continued."""
    return ResumeSettings(
        run=flags.resume,
        data=flags.data,
        strict=flags.strict,
        faults_file=flags.faults,
        epochs=flags.epochs,
        max_minutes=flags.max_minutes,
    )


def reject_other_flags(flags: argparse.Namespace) -> None:
    """Rejects flags that would change the settings of a resumed run.

    Raises:
        UserError: Such a flag is set.
    """
    for name in flags.given:
        if name not in FLAGS_OF_RESUME:
            flag = "--" + name.replace("_", "-")
            raise UserError(
                f"{flag} cannot be used with --resume: a run keeps its settings, remove {flag}"
            )


def print_backbones() -> None:
    """Prints all backbones with their widths."""
    import_tensorflow()
    from nets.backbones import list_backbones, resolve

    for name in list_backbones():
        widths = ", ".join(map(str, resolve(name).widths))
        print(f"{name:20} widths {widths}")


if __name__ == "__main__":
    run(main, build_parser())
