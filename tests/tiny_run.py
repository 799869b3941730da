"""A small run for tests: four images, three epochs of two steps, the smallest network."""

import os
import signal

import keras
import numpy as np

from nets.detector import Detector
from tests.vocset import add_image
from utils.config import Augmentation, Recipe
from utils.data.annotation import read_samples
from utils.data.dataset import BatchSettings, BatchStream
from utils.data.imagesets import list_images
from utils.data.samples import Samples
from utils.run import RunDirectory
from utils.training.progress import Progress
from utils.training.trainer import Trainer

CLASSES = ["cat", "dog"]
RECIPE = Recipe(epochs=3, freeze_share=0.0, batch_size=2, warmup_share=0.1, validations=3)


def four_samples(folder) -> Samples:
    for number in range(4):
        name, box = CLASSES[number % 2], (8, 8, 40 + number, 50)
        add_image(folder / "VOC2007", f"image{number}", [(name, box)])
    found, faults = read_samples(list_images(folder, "all"), CLASSES)
    assert len(found) == 4 and not faults
    return found


def make_trainer(samples, path, recipe=RECIPE, started=None) -> Trainer:
    keras.utils.set_random_seed(1)
    detector = Detector("mobilenetv1", 2, "v4-tiny", (64, 64), width=0.25)
    settings = BatchSettings((64, 64), recipe.batch_size, 8, Augmentation(), recipe.seed)
    stream = BatchStream(samples, settings)
    progress = Progress(recipe, stream.steps_per_epoch, started)
    state = RunDirectory(path).state
    return Trainer(detector, stream, progress, state, show_progress=False)


def resume_trainer(*args, **options) -> Trainer:
    trainer = make_trainer(*args, **options)
    trainer.resume()
    return trainer


def tiny_network() -> keras.Model:
    """Makes a backbone and a head with all kinds of weights, for images (4, 4, 2)."""
    keras.utils.set_random_seed(3)
    images = keras.Input((4, 4, 2))
    x = keras.layers.Conv2D(3, 3, use_bias=False)(images)
    backbone = keras.Model(images, keras.layers.BatchNormalization()(x), name="backbone")
    network = keras.Model(images, keras.layers.Conv2D(2, 1)(backbone(images)))
    network.backbone = backbone
    return network


def weights_of(trainer) -> list[np.ndarray]:
    return [variable.numpy() for variable in trainer.detector.variables]


def interrupt() -> None:
    """Sends this process the signal that Ctrl-C sends."""
    os.kill(os.getpid(), signal.SIGINT)


class CallAtEpoch(keras.callbacks.Callback):
    """Calls a function at the beginning of an epoch."""

    def __init__(self, epoch, action):
        super().__init__()
        self.epoch, self.action = epoch, action

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.epoch:
            self.action()
