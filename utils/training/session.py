"""A training session: from flags or a run directory to trained weights and a result."""

import argparse
import dataclasses
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import keras
import numpy as np

from nets.anchors import DEFAULT_ANCHORS
from nets.backbones import resolve, usable_width
from nets.devices import has_gpu
from nets.versions import VERSIONS, with_conv
from utils.cli import parse_size
from utils.config import RunConfig
from utils.data.anchors import anchor_fit, box_sizes, kmeans_anchors, save_anchors
from utils.data.annotation import Sample, find_classes, read_classes
from utils.data.datacheck import check_dataset
from utils.data.dataset import BatchStream, boxes_needed
from utils.data.imagesets import resolve_splits, tested_images, voc_dirs
from utils.errors import JobError, UserError
from utils.precision import use_precision
from utils.run import (
    ANCHORS,
    BEST_WEIGHTS,
    CLASSES,
    CONFIG,
    LAST_STATE,
    RESULT,
    build_detector,
    read_description,
)
from utils.training.callbacks import Curves, EarlyStopping, Validation
from utils.training.recipes import RECIPES, recipe_from
from utils.training.strategies import STRATEGIES, keeps_the_run
from utils.training.trainer import Trainer
from utils.weights.loading import convention_of, load_weights

DEVKIT = Path("VOCdevkit")  # where photos are unless --data says otherwise


@dataclass(frozen=True)
class Session:
    """What is to be trained on what.

    Attributes:
        path: the run directory.
        config: of the run.
        classes: names, by label.
        anchors: (levels, 3, 2) pixels.
        train: samples to train on.
        val: samples to measure on.
        resumed: whether the run has a state to take up.
        freezes_random: whether the backbone is frozen at first even if its weights are random.
    """

    path: Path
    config: RunConfig
    classes: list[str]
    anchors: np.ndarray
    train: list[Sample]
    val: list[Sample]
    resumed: bool
    freezes_random: bool = False


def prepare(flags: argparse.Namespace) -> Session:
    """Sets up a new run from the flags of train.py.

    Raises:
        UserError: a flag or the data cannot be used.
    """
    try:
        spec = resolve(flags.backbone)
        width = usable_width(spec, flags.width)
    except ValueError as error:
        raise UserError(str(error)) from error
    preset = RECIPES[flags.recipe]
    version = preset.adapt(VERSIONS[flags.yolo])
    if flags.conv:
        version = with_conv(version, flags.conv)
    path = flags.run or Path("logs") / f"{time.strftime('%Y%m%d-%H%M%S')}-{spec.name}-{flags.yolo}"
    in_use = path.exists() and (not path.is_dir() or any(path.iterdir()))
    if in_use and keeps_the_run(flags.strategy):
        raise UserError(f"{path} is not empty, name a new directory or go on with --resume {path}")
    data = flags.data or DEVKIT
    config = RunConfig(
        backbone=spec.name,
        width=width,
        convention=convention_of(flags.weights, spec.name),
        yolo=version,
        input_size=parse_size(flags.input_size),
        recipe=recipe_from(flags),
        data=str(data),
        train_set=flags.train_set,
        val_set=flags.val_set,
        weights=flags.weights,
    )
    train_refs, val_refs, split = resolve_splits(data, flags.train_set, flags.val_set, flags.seed)
    classes = read_classes(flags.classes) if flags.classes else find_classes(train_refs)
    if not classes:
        raise UserError(f"no object in the annotations of {data}, draw some boxes first")
    config = dataclasses.replace(config, split=split)
    train, val = _check(config, classes, train_refs, val_refs, flags.strict)
    config = dataclasses.replace(config, images=_digest(train, val))
    anchors = _anchors_for(train, config, preset.own_anchors)
    freezes_random = flags.freeze_epochs is not None
    return Session(path, config, classes, anchors, train, val, False, freezes_random)


def resume(path: Path, data: Path | None, strict: bool) -> Session:
    """Takes up a run from its directory.

    Args:
        path: the directory.
        data: the VOCdevkit, if it is no longer where it was.
        strict: whether any fault in the data is an error.

    Raises:
        UserError: the directory is not whole, or its data has gone or changed.
    """
    config, classes, anchors = read_description(path)
    if not (path / LAST_STATE).is_file():
        raise UserError(f"no {LAST_STATE} in {path}, there is nothing to resume")
    if data:
        config = dataclasses.replace(config, data=str(data))
    train_refs, val_refs, split = resolve_splits(
        Path(config.data), config.train_set, config.val_set, config.recipe.seed
    )
    train, val = _check(config, classes, train_refs, val_refs, strict)
    if _digest(train, val) != config.images:  # their order and what was held out would be others
        raise UserError(
            f"the images of {config.data} have changed since {path} was begun ({config.split}; "
            f"now: {split}), restore them or train anew from --weights {path / BEST_WEIGHTS}"
        )
    return Session(path, config, classes, anchors, train, val, resumed=True)


def train(session: Session, started: float) -> None:
    """Trains, and leaves the run directory complete.

    Args:
        session: from `prepare` or `resume`.
        started: `time.monotonic()` when the job began.

    Raises:
        UserError: the weights to start from cannot be used.
        JobError: training failed, or its minutes were over before it began.
    """
    if keeps_the_run(session.config.recipe.strategy):
        _train(session, session.path, started)
        return
    # All machines compute the same, and this one's files would be in the way of the first one's.
    with tempfile.TemporaryDirectory() as folder:
        if session.resumed:
            shutil.copy(session.path / LAST_STATE, folder)
        _train(session, Path(folder), started)


def _train(session: Session, folder: Path, started: float) -> None:
    """Trains, and writes everything into `folder`."""
    config, path = session.config, session.path
    recipe = config.recipe
    keras.utils.set_random_seed(recipe.seed)
    use_precision(recipe.precision)
    if recipe.jit and not has_gpu():
        _say("warning: --jit makes training on a CPU about five times slower")
    strategy = STRATEGIES[recipe.strategy]()
    if recipe.batch_size % strategy.num_replicas_in_sync:
        raise UserError(
            f"batch size {recipe.batch_size} cannot be shared by "
            f"{strategy.num_replicas_in_sync} devices, use a multiple of their number"
        )
    with strategy.scope():
        detector = build_detector(config, len(session.classes), session.anchors)
        if not session.resumed:
            report = load_weights(detector, config.weights, config.backbone, config.width)
            _say(report.message)
            config = dataclasses.replace(config, weights=report.source)
            if not report.loaded and not session.freezes_random:
                config = dataclasses.replace(
                    config, recipe=dataclasses.replace(config.recipe, freeze_share=0.0)
                )

    stream = BatchStream(
        session.train,
        config.input_size,
        config.recipe.batch_size,
        boxes_needed(session.train, config.recipe.augmentation),
        config.recipe.augmentation,
        config.recipe.seed,
    )
    trainer = Trainer(detector, config.recipe, stream, folder / LAST_STATE, strategy, started)
    if session.resumed:
        trainer.resume()
        _say(f"going on with {path} at step {trainer.step}")
    if not trainer.step and trainer.share >= 1.0:
        raise JobError(
            f"the {recipe.max_minutes:g} minutes were over before the first step, give more of them"
        )
    _describe(session, config, folder)
    _say(f"training {config.backbone} {config.yolo.name}, run directory {path}")
    callbacks = [
        Validation(trainer, session.val, session.classes, folder / BEST_WEIGHTS),
        Curves(trainer, folder),
        EarlyStopping(trainer),
        keras.callbacks.TensorBoard(folder, write_graph=False),
    ]
    try:
        trainer.run(callbacks)
    except KeyboardInterrupt:
        _say(f"stopped at step {trainer.step}; go on with: python train.py --resume {path}")
        raise
    _finish(folder, config, trainer)
    print(f"weights, curves and config: {path}")


def _check(
    config: RunConfig, classes: list[str], train_refs: Sequence, val_refs: Sequence, strict: bool
) -> tuple[list[Sample], list[Sample]]:
    _say(config.split)
    anchors = DEFAULT_ANCHORS[config.yolo.name]
    splits = {"train": train_refs, "val": val_refs}
    data = Path(config.data)
    tested = tested_images(voc_dirs(data))
    if tested:  # only to find out whether anything of it stands in the other two
        splits["test"] = sorted(tested)
    report = check_dataset(splits, classes, anchors, config.input_size, strict)
    _say(report.table)
    train, val = report.samples["train"], report.samples["val"]
    if all(sample.difficult.all() for sample in val):
        raise UserError(
            f"no object to find in the {len(val)} images to validate on ({config.split}), so no "
            "weights would be the best: name others with --val-set, or annotate more images"
        )
    return train, val


def _digest(train: Sequence[Sample], val: Sequence[Sample]) -> str:
    """Tells one choice of images from another, wherever they lie."""
    names = [[f"{s.image.parents[1].name}/{s.image_id}" for s in split] for split in (train, val)]
    return blake2b(json.dumps(names).encode(), digest_size=16).hexdigest()


def _anchors_for(train: list[Sample], config: RunConfig, own: bool) -> np.ndarray:
    """The published anchors of the version, or its own: clustered from the training boxes."""
    sizes = box_sizes(train, config.input_size)
    published = DEFAULT_ANCHORS[config.yolo.name]
    if not len(sizes):
        raise UserError(f"no object to train on in {config.data}, see the faults named above")
    candidates = {"published": published}
    if own:
        k = published.size // 2
        clustered = kmeans_anchors(sizes, k, config.recipe.seed)
        candidates["from the data"] = clustered.reshape(published.shape)
    for name, anchors in candidates.items():
        recall, overlap = anchor_fit(sizes, anchors)
        _say(f"anchors {name}: best possible recall {recall:.3f}, mean IoU {overlap:.3f}")
    return anchors


def _describe(session: Session, config: RunConfig, folder: Path) -> None:
    """Writes what the run is; the directory then explains itself, however training ends."""
    folder.mkdir(parents=True, exist_ok=True)
    config.save(folder / CONFIG)
    if session.resumed:
        return
    (folder / CLASSES).write_text("\n".join(session.classes) + "\n", encoding="utf-8")
    save_anchors(folder / ANCHORS, session.anchors)


def _finish(folder: Path, config: RunConfig, trainer: Trainer) -> None:
    best = trainer.best
    result = {
        "backbone": config.backbone,
        "yolo": config.yolo.name,
        "epochs": trainer.epoch,
        "images_per_second": trainer.images_per_second,
        "train_seconds": trainer.seconds,
        "best_map50": best["map50"],
        "best_map": best["map"],
        "best_epoch": best["epoch"],
    }
    (folder / RESULT).write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(
        f"best mAP50 on validation {best['map50']:.4f} (mAP {best['map']:.4f}) after epoch "
        f"{best['epoch']}, {trainer.seconds / 60:.1f} minutes"
    )


def _say(text: str) -> None:
    print(text, file=sys.stderr)
