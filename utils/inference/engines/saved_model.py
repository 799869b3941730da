"""Runs SavedModel in TensorFlow."""

import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from utils.cli import import_tensorflow
from utils.cores import physical_cores
from utils.errors import UserError
from utils.inference.engines.session import RuntimeSettings, check_shapes, failures
from utils.inference.metadata import Metadata
from utils.regular_files import check_regular
from utils.text import counted

METADATA = "metadata.json"
SIGNATURE = "serving_default"


class SavedModelSession:
    """A `Session` on a signature of a SavedModel."""

    def __init__(self, path: Path, signature: Callable, images: np.ndarray, description: str):
        self.images = images
        self._path = path
        self.description = description
        self._signature = signature

    def run(self) -> Mapping[str, np.ndarray]:
        """Runs the model on `images`, see `Session`."""
        import tensorflow as tf

        with failures(self._path, tf.errors.OpError):
            outputs = self._signature(images=tf.constant(self.images))
        return {name: tensor.numpy() for name, tensor in outputs.items()}


def read_text(path: Path) -> str | None:
    """Reads the metadata of a folder; None if it has none.

    Raises:
        UserError: The metadata is no text.
    """
    try:
        check_regular(path / METADATA)
        return (path / METADATA).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        raise UserError(f"{path / METADATA} is damaged: {error}; export the run again") from error


def open_session(path: Path, metadata: Metadata, settings: RuntimeSettings) -> SavedModelSession:
    """Loads a folder.

    Raises:
        UserError: The folder is damaged or contradicts its metadata.
    """
    import_tensorflow()
    import tensorflow as tf

    threads = _set_threads(settings.threads)
    try:
        signature = tf.saved_model.load(str(path)).signatures[SIGNATURE]
    # Depending on what is damaged.
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, tf.errors.OpError) as error:
        raise UserError(
            f"{path} is no SavedModel of export.py, or it is damaged: {type(error).__name__}: "
            f"{error}; export the run again"
        ) from error
    tensors = {**signature.structured_input_signature[1], **signature.structured_outputs}
    check_shapes(path, metadata, {name: tuple(each.shape) for name, each in tensors.items()})
    batch = metadata.batch or settings.batch_size
    return SavedModelSession(
        path,
        signature,
        np.zeros((batch, *metadata.input_size, 3), np.float32),
        f"TensorFlow {tf.__version__}, float32, {threads}",
    )


def _set_threads(wanted: int | None) -> str:
    """Sets the number of threads of TensorFlow, and returns what it is, in words."""
    import tensorflow as tf

    count = wanted or physical_cores()
    # TensorFlow starts its threads with the first computation, and keeps them.
    with contextlib.suppress(RuntimeError):
        tf.config.threading.set_inter_op_parallelism_threads(count)
        tf.config.threading.set_intra_op_parallelism_threads(count)
    count = tf.config.threading.get_intra_op_parallelism_threads()
    return counted(count, "thread") if count else "threads of the process"
