"""The detector, step and batches that benchmarks of the training step have in common."""

import argparse
import dataclasses
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from utils import cli
from utils.errors import UserError
from utils.precision import use_precision
from utils.text import did_you_mean

if TYPE_CHECKING:  # --help must not wait for TensorFlow
    from nets.detector import Detector
    from utils.data.dataset import BatchStream
    from utils.training.trainer import Trainer


@dataclasses.dataclass(frozen=True)
class TrainingSetup:
    """What the default recipe trains.

    Attributes:
        detector: The detector, with random weights.
        stream: The batches.
        trainer: Makes the steps.
        size: Height and width of the images.
    """

    detector: "Detector"
    stream: "BatchStream"
    trainer: "Trainer"
    size: tuple[int, int]

    def batches(self) -> Iterator[tuple]:
        """Returns the batches of the stream, all with mosaics if the recipe has them."""
        return self.stream.stream(0, lambda step: True)


def images_per_second(
    step: Callable, source: Callable[[], tuple], batch_size: int, steps: int, warm_up: int
) -> float:
    """Times a block of steps.

    Args:
        step: The training step.
        source: Returns the batch of each step.
        batch_size: Images per batch.
        steps: Number of timed steps.
        warm_up: Number of steps before them.
    """
    for number in range(warm_up + steps):
        if number == warm_up:
            start = time.perf_counter()
        step(*source())["box"].numpy()
    return steps * batch_size / (time.perf_counter() - start)


def set_up(args: argparse.Namespace, mosaic: float) -> TrainingSetup:
    """Builds detector, batches and trainer of the default recipe.

    Args:
        args: Values of the flags in `benchmarks.training_flags`.
        mosaic: Probability of a mosaic.

    Raises:
        UserError: There is no such backbone or version.
    """
    from nets.detector import Detector
    from nets.versions import VERSIONS
    from utils.data.dataset import BatchSettings, BatchStream, boxes_needed
    from utils.data.trainset import TrainSource, read_training_samples
    from utils.run import RunDirectory
    from utils.training.job import find_processes
    from utils.training.progress import Progress
    from utils.training.recipes import RECIPES
    from utils.training.trainer import Trainer
    from utils.weights.loading import resolve_backbone

    if args.yolo not in VERSIONS:
        raise UserError(f"no version {args.yolo!r}, {did_you_mean(args.yolo, VERSIONS)}")
    backbone, width = resolve_backbone(args.backbone, None)
    size = cli.parse_size(args.input_size)
    preset = RECIPES["default"]
    settings = {"epochs": 1000, "batch_size": args.batch_size, "precision": args.precision}
    recipe = dataclasses.replace(preset.recipe, **settings)
    use_precision(recipe.precision)
    augmentation = dataclasses.replace(recipe.augmentation, mosaic=mosaic)
    samples, classes = read_training_samples(TrainSource(args.data, size))
    version = preset.adapt(VERSIONS[args.yolo])
    detector = Detector(backbone, len(classes), version, size, width)
    needed = boxes_needed(samples, augmentation)
    batches = BatchSettings(size, args.batch_size, needed, augmentation, seed=0)
    stream = BatchStream(samples, batches, processes=find_processes())
    progress = Progress(recipe, stream.steps_per_epoch)
    with tempfile.TemporaryDirectory() as folder:  # nothing is saved
        state = RunDirectory(Path(folder)).state
        trainer = Trainer(detector, stream, progress, state, show_progress=False)
    return TrainingSetup(detector, stream, trainer, size)
