"""Exports a network to LiteRT, formerly TensorFlow Lite."""

import warnings
from pathlib import Path

import keras
import tensorflow as tf

from utils.export.graph import traceable
from utils.inference.metadata import Metadata
from utils.packages import missing_package
from utils.streams import silent_stderr

try:
    from utils.export import litert_file
except ModuleNotFoundError as error:
    raise missing_package("--format litert", error.name) from error

CONVOLUTIONS = ("Conv2D", "DepthwiseConv2dNative")  # operations of TensorFlow


def write(network: keras.Model, metadata: Metadata, path: Path) -> None:
    """Writes a network as a LiteRT file.

    In float16, only the weights and the other constants are stored in half precision. Processors
    convert them to float32 when the file is loaded, and compute in float32; GPUs and processors
    with half precision arithmetic may compute in float16.

    Args:
        network: The result of `inference_network`.
        metadata: The metadata to write; with a fixed batch.
        path: File to write.

    Raises:
        JobError: The model has what not all devices support.
    """
    model = convert(network, metadata)
    litert_file.add_metadata(model, metadata)
    path.write_bytes(litert_file.pack(model))


def convert(network: keras.Model, metadata: Metadata) -> litert_file.Model:
    """Converts a network, without metadata and quantization.

    Args:
        network: The result of `inference_network`.
        metadata: The metadata of the model; with a fixed batch. With the precision `float16`,
            constants are stored in float16.

    Returns:
        The model. The outputs of its convolutions have the names of their layers.

    Raises:
        JobError: A convolution cannot be found.
    """
    function = traceable(network, metadata, nms=False).get_concrete_function()
    # Its warnings say that tf.lite will move to another package.
    with silent_stderr(), warnings.catch_warnings(action="ignore"):
        converter = tf.lite.TFLiteConverter.from_concrete_functions([function], tf.Module())
        # Operations that only TensorFlow itself could run now fail.
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        if metadata.precision == "float16":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.target_spec.supported_types = [tf.float16]
        data = converter.convert()
    model = litert_file.read(data)
    litert_file.name_tensors(model, _names_of_layers(function.graph))
    return model


def _names_of_layers(graph: tf.Graph) -> dict[str, str]:
    """Finds the layer of each convolution of a graph, by the constant that is its kernel.

    The names of the operations do not tell: TensorFlow makes them unique by numbers, which the
    names of the layers may also end with.

    Returns:
        Names of layers by names of operations.
    """
    names = {}
    for operation in graph.get_operations():
        if operation.type in CONVOLUTIONS:
            kernel = operation.inputs[1].op
            while kernel.type != "Const":
                kernel = kernel.inputs[0].op
            names[operation.name] = kernel.name.split("/")[-2]
    return names
