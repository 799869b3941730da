"""Compares a step on two devices with the same step on one: `python -m tests.replicas DATA`.

This is a separate process, since a CPU can only be divided before TensorFlow is initialized. Prints
the norm of the change of all weights on one device and on two, and the norm of the difference
between the results, with and without gradient clipping. Prints as well what a step changes if the
image of one device is not finite.
"""

import dataclasses
import json
import sys
import tempfile
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from nets.detector import Detector
from tests.tiny_run import tiny_network
from utils.config import Augmentation, Recipe
from utils.data.annotation import read_samples
from utils.data.classes import find_classes
from utils.data.dataset import BatchSettings, BatchStream
from utils.data.imagesets import list_images
from utils.run import RunDirectory
from utils.training.progress import Progress
from utils.training.strategies import Devices
from utils.training.train_step import SKIPPED, make_train_step
from utils.training.trained_weights import TrainedWeights
from utils.training.trainer import Trainer

# Plain SGD, whose steps are proportional to the gradients.
RECIPE = Recipe(
    epochs=1, freeze_share=0.0, batch_size=2, optimizer="sgd", learning_rate=1.0,
    warmup_share=0.0, weight_decay=0.0, precision="float32",
)  # fmt: skip


def main(data: Path) -> None:
    """Runs each step on one device and on two, and prints the difference."""
    (cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    refs = list_images(data, "all")
    classes = find_classes(refs)
    samples, _ = read_samples(refs, classes)
    two = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    single = tf.distribute.get_strategy()
    unclipped = [step(strategy, samples, classes) for strategy in (single, two)]
    clipped = [small_step(strategy) for strategy in (single, two)]
    found = {}
    for name, steps in (("clipped", clipped), ("unclipped", unclipped)):
        ends = [after for _, after in steps]
        moved = [float(np.linalg.norm(after - before)) for before, after in steps]
        found[name] = {"moved": moved, "apart": float(np.linalg.norm(ends[0] - ends[1]))}
    found["skipped"] = skipped_step(two)
    print(json.dumps({"replicas": two.num_replicas_in_sync, **found}))


def skipped_step(strategy) -> dict[str, float]:
    """Returns what a step changes if the image of one device is not finite, and whether it says so.

    AdamW has more state than SGD.
    """
    recipe = dataclasses.replace(RECIPE, optimizer="adamw", learning_rate=1e-3, weight_decay=0.1)
    with strategy.scope():
        network = tiny_network()
    network.compute_loss = lambda images, *_: {
        "box": tf.reduce_mean(network(images, training=True) ** 2)
    }
    trained = TrainedWeights(network, recipe, strategy)
    step = make_train_step(network, trained, recipe)
    images = np.random.default_rng(0).normal(size=(2, 4, 4, 2)).astype(np.float32)
    truth = np.zeros((2, 1, 4), np.float32), np.zeros((2, 1), np.int32)
    step(images, *truth)
    before = all_values(trained)
    images[1] = np.nan
    skipped = float(step(images, *truth)[SKIPPED])
    changed = sum(
        int((one != other).sum()) for one, other in zip(before, all_values(trained), strict=True)
    )
    return {"flag": skipped, "changed": changed}


def all_values(trained: TrainedWeights) -> list[np.ndarray]:
    """Returns the values of all variables on every device."""
    return [
        part.numpy()
        for variables in trained.variables.values()
        for variable in variables
        for part in trained.strategy.experimental_local_results(variable.value)
    ]


def small_step(strategy) -> tuple[np.ndarray, np.ndarray]:
    """Returns all weights of a few layers before and after a step with clipped gradients."""
    with strategy.scope():
        network = tiny_network()
    network.compute_loss = lambda images, *_: {"box": tf.reduce_mean(network(images) ** 2)}
    recipe = dataclasses.replace(RECIPE, clip_norm=0.01)  # every gradient exceeds it
    trained = TrainedWeights(network, recipe, strategy)
    images = np.random.default_rng(0).normal(1.0, 1.0, (2, 4, 4, 2)).astype(np.float32)
    truth = np.zeros((2, 1, 4), np.float32), np.zeros((2, 1), np.int32)
    before = weights_of(network)
    make_train_step(network, trained, recipe)(images, *truth)
    return before, weights_of(network)


def step(strategy, samples, classes) -> tuple[np.ndarray, np.ndarray]:
    """Returns all weights of a detector before and after a step."""
    recipe = dataclasses.replace(RECIPE, clip_norm=None)
    keras.utils.set_random_seed(1)
    with strategy.scope():
        detector = Detector("mobilenetv1", len(classes), "v4-tiny", (64, 64), width=0.25)
    settings = BatchSettings((64, 64), recipe.batch_size, 8, Augmentation(), seed=0)
    stream = BatchStream(samples, settings)
    before = weights_of(detector)
    progress = Progress(recipe, stream.steps_per_epoch)
    with tempfile.TemporaryDirectory() as folder:
        state = RunDirectory(Path(folder)).state
        devices = Devices(strategy)
        Trainer(detector, stream, progress, state, devices, show_progress=False).run([])
    return before, weights_of(detector)


def weights_of(detector: keras.Model) -> np.ndarray:
    return np.concatenate([weight.numpy().ravel() for weight in detector.trainable_variables])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
