"""Writes the format of OpenVINO: a folder with an XML file and a file of weights."""

import errno
import itertools
import os
from collections import defaultdict, deque
from pathlib import Path
from typing import Any

import keras
import numpy as np

from nets.inference_network import convolutions_of
from utils.export.graph import traceable
from utils.export.openvino_nms import add_suppression
from utils.inference.engines.openvino import MODEL, import_openvino
from utils.inference.metadata import ENTRY, Metadata, to_text
from utils.packages import missing_package

CONVOLUTIONS = ("Convolution", "GroupConvolution")  # operators


def write(network: keras.Model, metadata: Metadata, path: Path) -> None:
    """Writes a network as a folder.

    Args:
        network: The result of `inference_network`.
        metadata: The metadata to write.
        path: Folder to write.

    Raises:
        UserError: OpenVINO is not installed.
    """
    save(convert(network, metadata), metadata, path)


def convert(network: keras.Model, metadata: Metadata) -> Any:
    """Converts a network to a model of OpenVINO, without non-maximum suppression.

    Args:
        network: The result of `inference_network`.
        metadata: The metadata to write.

    Returns:
        An `openvino.Model`. Its convolutions are named like the layers of the network.

    Raises:
        UserError: OpenVINO is not installed.
    """
    try:
        openvino = import_openvino()
    except ModuleNotFoundError as error:
        raise missing_package("--format openvino", error.name) from error
    model = openvino.convert_model(traceable(network, metadata, nms=False))
    _name_convolutions(model, network)
    return model


def save(model: Any, metadata: Metadata, path: Path) -> None:
    """Adds metadata and, if they say so, non-maximum suppression to a model, and writes it.

    Args:
        model: The result of `convert`; it changes.
        metadata: The metadata to write.
        path: Folder to write.

    Raises:
        OSError: The disk is full.
    """
    openvino = import_openvino()
    if metadata.nms:
        model = add_suppression(model, metadata)
    model.set_rt_info(to_text(metadata), [ENTRY])
    path.mkdir()
    # float16 is the default of OpenVINO, whatever the model has.
    half = metadata.precision == "float16"
    try:
        openvino.save_model(model, path / MODEL, compress_to_fp16=half)
    except RuntimeError as error:
        if "iostream error" not in str(error):
            raise
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path) from error


def _name_convolutions(model: Any, network: keras.Model) -> None:
    """Names convolutions like the layers of the network.

    The conversion loses the names when it moves the channels to the front. The kernels remain.
    """
    names = defaultdict(deque)
    for layer in convolutions_of(network):
        axes = (2, 3, 0, 1) if isinstance(layer, keras.layers.DepthwiseConv2D) else (3, 2, 0, 1)
        names[layer.kernel.numpy().transpose(axes).tobytes()].append(layer.name)
    others = []
    for node in convolutions_in(model):
        kernel = np.ascontiguousarray(node.input_value(1).get_node().get_data())
        # Equal kernels, as of untrained layers that start at zero, are in the same order.
        if matching := names[kernel.tobytes()]:
            node.set_friendly_name(matching.popleft())
        else:
            others.append(node)
    # The scaling of the pixels can become part of the first kernel.
    for node, name in zip(others, itertools.chain(*names.values()), strict=True):
        node.set_friendly_name(name)


def convolutions_in(model: Any) -> list[Any]:
    """Returns the convolutions of a model of OpenVINO, in order."""
    return [node for node in model.get_ordered_ops() if node.get_type_name() in CONVOLUTIONS]
