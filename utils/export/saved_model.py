"""Writes SavedModel, the format of TensorFlow."""

from pathlib import Path

import keras
import tensorflow as tf

from utils.export.graph import traceable
from utils.inference.engines.saved_model import METADATA, SIGNATURE
from utils.inference.metadata import Metadata, to_text


def write(network: keras.Model, metadata: Metadata, path: Path) -> None:
    """Writes a network as a folder.

    The weights are constants of the graph instead of variables, so that TensorFlow prepares them
    once for its kernels instead of at every call. The files of variables are empty.

    Args:
        network: The result of `inference_network`.
        metadata: The metadata to write.
        path: Folder to write.
    """
    compute = traceable(network, metadata, metadata.nms)
    module = tf.Module()
    tf.saved_model.save(module, str(path), signatures={SIGNATURE: compute})
    (path / METADATA).write_text(to_text(metadata) + "\n", encoding="utf-8")
