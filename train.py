"""Trains a detector on a VOC folder: `python train.py --backbone ghostnet`."""

import argparse
import time
from pathlib import Path

from nets.versions import VERSIONS
from utils.cli import Parser, above_zero, import_tensorflow, positive, run, seed
from utils.errors import UserError
from utils.precision import AUTO, PRECISIONS

STARTED = time.monotonic()


def build_parser() -> Parser:
    """The flags of the contract."""
    parser = Parser(__doc__)
    add = parser.add_argument
    add("--backbone", default="mobilenetv2", metavar="NAME", help="default %(default)s")
    add("--list-backbones", action="store_true", help="print the names and widths, and leave")
    add("--width", type=float, metavar="F", help="width factor of backbones that scale")
    add("--yolo", choices=tuple(VERSIONS), default="v4", help="head version, default %(default)s")
    add("--conv", choices=("plain", "separable"), help="3x3 convolutions, default by version")
    add("--data", type=Path, metavar="DIR", help="default VOCdevkit, or where the run had it")
    add("--train-set", metavar="SETS", help="such as 2007:trainval,2012:trainval")
    add("--val-set", metavar="SETS", help="default val, or a seeded 10%% of the training images")
    add("--classes", type=Path, metavar="FILE", help="default: those of the training annotations")
    add("--strict", action="store_true", help="any fault in the data is an error")
    add("--input-size", default="416", metavar="N|HxW", help="multiple of 32, default %(default)s")
    add(
        "--recipe",
        choices=("default", "fast", "classic"),
        default="default",
        help="fast: 30 epochs, most of them on smaller images; classic: the predecessors'",
    )
    add(
        "--epochs",
        type=positive,
        metavar="N",
        help="default 100 (fast 30, classic 300), or --max-minutes alone",
    )
    add(
        "--freeze-epochs",
        type=int,
        metavar="N",
        help="default 10%% of the run, 0 from random weights",
    )
    add("--batch-size", type=positive, metavar="N", help="default 8")
    add(
        "--lr",
        type=above_zero,
        metavar="F",
        help="peak, default 1e-3 for adamw, 0.1 for sgd; 1.25e-3 in classic",
    )
    add("--optimizer", choices=("adamw", "sgd"), help="default adamw")
    add("--max-minutes", type=above_zero, metavar="M", help="end cleanly at M minutes")
    add(
        "--patience",
        type=positive,
        metavar="N",
        help="epochs without better mAP, default 50; none with --max-minutes",
    )
    add("--weights", default="auto", metavar="auto|imagenet|none|FILE", help="where to start from")
    add("--run", type=Path, metavar="DIR", help="default logs/<time>-<backbone>-<yolo>")
    add("--resume", type=Path, metavar="DIR", help="go on with a run as though never stopped")
    add("--seed", type=seed, default=0, metavar="N", help="default %(default)s")
    add(
        "--precision",
        choices=(AUTO, *PRECISIONS),
        help="default auto: mixed_bfloat16 on CPUs that compute in it, else float32",
    )
    add("--jit", action="store_true", help="compile the step with XLA, for GPUs")
    add("--strategy", choices=("single", "mirrored", "multiworker"), default="single")
    return parser


def main(flags: argparse.Namespace) -> None:
    """Reads the data, builds or takes up the run, trains it."""
    if flags.list_backbones:
        list_backbones()
        return
    if flags.resume:
        refuse_other_flags(flags)
    import_tensorflow()
    from utils.training.session import prepare, resume, train

    session = resume(flags.resume, flags.data, flags.strict) if flags.resume else prepare(flags)
    train(session, STARTED)


def refuse_other_flags(flags: argparse.Namespace) -> None:
    """A run goes on with its own settings; a flag that would change them is not passed over."""
    parser = build_parser()
    for name, value in vars(flags).items():
        if name not in ("resume", "data", "strict", "debug") and value != parser.get_default(name):
            flag = "--" + name.replace("_", "-")
            raise UserError(f"{flag} with --resume: a run keeps its settings, drop {flag}")


def list_backbones() -> None:
    """Prints what there is."""
    import_tensorflow()
    from nets.backbones import list_backbones, resolve

    for name in list_backbones():
        widths = ", ".join(map(str, resolve(name).widths))
        print(f"{name:20} widths {widths}")


if __name__ == "__main__":
    run(main, build_parser())
