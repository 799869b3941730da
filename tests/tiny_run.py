"""A run small enough for tests: four images, three epochs of two steps, the smallest network."""

import os
import signal

import keras
import numpy as np

from nets.detector import Detector
from tests.vocset import add_image
from utils.config import Recipe
from utils.data.annotation import Sample, read_samples
from utils.data.augment import Augmentation
from utils.data.dataset import BatchStream
from utils.data.imagesets import list_images
from utils.training.trainer import Trainer

CLASSES = ["cat", "dog"]
RECIPE = Recipe(epochs=3, freeze_share=0.0, batch_size=2, warmup_share=0.1, validations=3)


def four_samples(folder) -> list[Sample]:
    for number in range(4):
        name, box = CLASSES[number % 2], (8, 8, 40 + number, 50)
        add_image(folder / "VOC2007", f"image{number}", [(name, box)])
    found, faults = read_samples(list_images(folder, "all"), CLASSES)
    assert len(found) == 4 and not faults
    return found


def make(samples, path, recipe=RECIPE, **options) -> Trainer:
    keras.utils.set_random_seed(1)
    detector = Detector("mobilenetv1", 2, input_size=(64, 64), width=0.25)
    stream = BatchStream(samples, (64, 64), recipe.batch_size, 8, Augmentation(), seed=recipe.seed)
    return Trainer(detector, recipe, stream, path / "last.npz", progress=False, **options)


def weights_of(trainer) -> list[np.ndarray]:
    return [variable.numpy() for variable in trainer.detector.variables]


def interrupt() -> None:
    """Does what Ctrl-C does."""
    os.kill(os.getpid(), signal.SIGINT)


class At(keras.callbacks.Callback):
    """Does something when an epoch begins."""

    def __init__(self, epoch, action):
        super().__init__()
        self.epoch, self.action = epoch, action

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.epoch:
            self.action()
