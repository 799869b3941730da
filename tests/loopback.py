"""One of several workers on this machine: `python -m tests.loopback FOLDER STEPS [options]`.

The network is tiny, so that starting TensorFlow is all that takes time; everything else is as in
train.py. Prints how many steps were done and a digest of all variables.
"""

import argparse
import json
import os
import signal
import sys
from hashlib import blake2b
from pathlib import Path

from tests.vocset import add_image
from utils import cli

CLASSES = ["cat", "dog"]
SIGNALS = {"terminate": signal.SIGTERM, "kill": signal.SIGKILL, "freeze": signal.SIGSTOP}


def write_images(folder: Path) -> None:
    """Writes the images that the workers train on."""
    for number in range(8):
        box = (8, 8, 40 + number, 50)
        add_image(folder / "VOC2007", f"image{number}", [(CLASSES[number % 2], box)])


def build_parser() -> cli.Parser:
    """Builds the parser of the flags."""
    parser = cli.Parser(__doc__)
    parser.add_argument("folder", type=Path, help="images of `write_images`; states are written")
    parser.add_argument("steps", type=int)
    parser.add_argument("--optimizer", choices=("adamw", "sgd"), default="adamw")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--signal", choices=SIGNALS, help="what this worker sends to itself")
    parser.add_argument("--at", type=int, help="after this step")
    return parser


def main(flags: argparse.Namespace) -> None:
    """Trains, and prints what came out of it."""
    cli.import_tensorflow()
    import keras
    import numpy as np

    from utils.config import Augmentation, Recipe
    from utils.data.annotation import read_samples
    from utils.data.dataset import BatchSettings, BatchStream
    from utils.data.imagesets import list_images
    from utils.run import RunDirectory
    from utils.training.collectives import together
    from utils.training.progress import Progress
    from utils.training.session import set_up_devices
    from utils.training.trainer import Trainer

    recipe = Recipe(
        epochs=flags.steps / 2, batch_size=4, freeze_share=0.0, warmup_share=0.0,
        optimizer=flags.optimizer, precision="float32", strategy="multiworker",
        save_minutes=1e-6,  # after every step
    )  # fmt: skip
    samples, _ = read_samples(list_images(flags.folder, "all"), CLASSES)
    devices = set_up_devices(recipe)
    workers = devices.workers
    keras.utils.set_random_seed(1)
    with devices.strategy.scope():
        network = make_network(devices.strategy.num_replicas_in_sync)
    settings = BatchSettings((64, 64), recipe.batch_size, 8, Augmentation(), seed=0)
    stream = BatchStream(samples, settings, rows=workers.rows(recipe.batch_size))
    progress = Progress(recipe, stream.steps_per_epoch, clock=workers.now)
    directory = RunDirectory(flags.folder / "run")
    directory.path.mkdir(exist_ok=True)
    trainer = Trainer(network, stream, progress, directory.state, devices, show_progress=False)
    if flags.resume:
        trainer.resume()
    if flags.signal:
        send_when_due(trainer, SIGNALS[flags.signal], flags.at)
    try:
        with together(workers):
            trainer.run([])
    finally:
        digest = blake2b(digest_size=8)
        for variable in [*network.variables, *trainer.optimizer.variables]:
            digest.update(np.ascontiguousarray(variable.numpy()).tobytes())
        found = {"step": progress.step, "digest": digest.hexdigest()}
        if workers.is_chief:
            np.savez(flags.folder / f"{workers.count}.npz", *(w.numpy() for w in network.variables))
        print(json.dumps(found), flush=True)


def make_network(replicas: int):
    """Makes a network with synchronized batch statistics and a loss that uses boxes and images."""
    import keras
    import tensorflow as tf

    images = keras.Input((64, 64, 3))
    x = keras.layers.Rescaling(1 / 255)(images)
    # A bias would have no gradient but noise, which AdamW scales to full steps.
    x = keras.layers.Conv2D(4, 3, strides=8, use_bias=False)(x)
    x = keras.layers.BatchNormalization(synchronized=replicas > 1)(x)
    network = keras.Model(images, keras.layers.Conv2D(4, 8)(x))
    network.backbone = keras.Model(images, x)
    network.input_size = (64, 64)

    def compute_loss(images, boxes, labels):
        found = network(tf.cast(images, tf.float32), training=True)[:, 0, 0]
        error = (found - tf.reduce_mean(boxes, axis=1) / 64) ** 2
        share = tf.reduce_mean(error) / replicas
        return dict.fromkeys(("box", "objectness", "class"), share / 3)

    network.compute_loss = compute_loss
    return network


def send_when_due(trainer, number: int, step: int) -> None:
    """Lets this process receive a signal after a step."""
    save_or_stop = trainer._save_or_stop

    def checked(losses):
        if trainer.progress.step == step:
            os.kill(os.getpid(), number)
        save_or_stop(losses)

    trainer._save_or_stop = checked


if __name__ == "__main__":
    cli.run(main, build_parser(), sys.argv[1:])
