"""Exports a network to LiteRT, formerly TensorFlow Lite."""

import warnings
from pathlib import Path

import keras
import tensorflow as tf

from utils.errors import UserError
from utils.inference.metadata import Metadata
from utils.streams import silent_stderr

try:
    from utils.export import litert_file
except ImportError as error:
    raise UserError(
        f"--format litert needs {error.name}, which is not installed: "
        "pip install -r requirements-export.txt"
    ) from error

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
    """
    model = convert(network, metadata.batch, half=metadata.precision == "float16")
    litert_file.add_metadata(model, metadata)
    path.write_bytes(litert_file.pack(model))


def convert(network: keras.Model, batch: int, half: bool = False) -> litert_file.Model:
    """Converts a network.

    Args:
        network: The result of `inference_network`.
        batch: Number of images per call.
        half: Whether to store the constants in float16.

    Returns:
        The model. The outputs of its convolutions have the names of their layers.
    """
    function = _trace(network, batch)
    with silent_stderr(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that tf.lite will move to another package
        converter = tf.lite.TFLiteConverter.from_concrete_functions([function], tf.Module())
        # Operations that only TensorFlow itself could run now fail.
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        if half:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.target_spec.supported_types = [tf.float16]
        data = converter.convert()
    model = litert_file.read(data)
    litert_file.name_tensors(model, _names_of_layers(function.graph))
    return model


def _trace(network: keras.Model, batch: int) -> tf.types.experimental.ConcreteFunction:
    """Traces a network with its weights as constants, since LiteRT would keep variables."""
    values = [(variable, variable.numpy()) for variable in network.variables]

    def call(images: tf.Tensor) -> dict[str, tf.Tensor]:
        constants = [(variable, _constant(variable, value)) for variable, value in values]
        with keras.StatelessScope(state_mapping=constants):
            return network(images, training=False)

    images = tf.TensorSpec((batch, *network.input_shape[1:]), tf.float32, name="images")
    return tf.function(call, autograph=False).get_concrete_function(images)


def _constant(variable: keras.Variable, value: object) -> tf.Tensor:
    return tf.constant(value, name=variable.path)


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
