"""An ONNX graph that is being built: nodes, constants and their names."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper, numpy_helper

from utils.inference.engines.session import expected_dtype, expected_shapes
from utils.inference.metadata import ENTRY, Metadata, to_text

# Operator set 17, of 2022, has all that detectors need. Later ones change nothing for them, but
# exclude readers that are still in use.
OPSET = 17
IR_VERSION = 8  # of the same release
FLOAT32 = np.dtype(np.float32)
INT64 = np.dtype(np.int64)
BATCH = "batch"  # name of the free dimension


@dataclass(frozen=True)
class Value:
    """A tensor of the graph.

    Attributes:
        name: Name in the graph.
        shape: Shape in the order of Keras, whose features are (B, H, W, C); None for the batch.
            In the graph, features are (B, C, H, W).
        dtype: Type of the elements.
        pads: Zeros that the next layer adds to height and width: (top, left, bottom, right).
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: np.dtype = FLOAT32
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)


class Graph:
    """Collects nodes and constants.

    Args:
        dtype: Type in which the features and the weights of the network are stored.
    """

    def __init__(self, dtype: np.dtype = FLOAT32):
        self.dtype = dtype
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[tuple, str] = {}
        self._tensors: list[onnx.TensorProto] = []
        self._names: set[str] = set()

    def add(
        self,
        kind: str,
        inputs: Sequence[str],
        name: str,
        outputs: int = 1,
        **attributes: object,
    ) -> list[str]:
        """Adds a node.

        Args:
            kind: Operator.
            inputs: Names of its inputs.
            name: Name of the node; it gets a number if it is taken.
            outputs: Number of outputs.
            **attributes: Attributes of the operator.

        Returns:
            The names of the outputs; that of the first one is the name of the node.
        """
        name = self._free(name)
        names = [name, *(self._free(f"{name}/{index}") for index in range(1, outputs))]
        self._nodes.append(helper.make_node(kind, inputs, names, name, **attributes))
        return names

    def constant(self, value: np.typing.ArrayLike, dtype: np.dtype, name: str = "constant") -> str:
        """Adds a constant, or finds an equal one, and returns its name.

        Args:
            value: The constant.
            dtype: Type of its elements.
            name: Name; it gets a number if it is taken.
        """
        array = np.array(value, dtype, order="C")
        key = array.dtype.str, array.shape, array.tobytes()
        if key not in self._constants:
            self._constants[key] = self._free(name)
            self._tensors.append(numpy_helper.from_array(array, self._constants[key]))
        return self._constants[key]

    def cast(self, value: Value, dtype: np.dtype) -> Value:
        """Converts a tensor to a type of elements, unless it has this type already."""
        if value.dtype == dtype:
            return value
        to = helper.np_dtype_to_tensor_dtype(dtype)
        (name,) = self.add("Cast", [value.name], f"{value.name}/cast", to=to)
        return Value(name, value.shape, dtype)

    def rename(self, old: str, new: str) -> None:
        """Renames a tensor that a node computes."""
        for node in self._nodes:
            for names in (node.input, node.output):
                names[:] = [new if name == old else name for name in names]

    def to_model(self, metadata: Metadata) -> onnx.ModelProto:
        """Builds the model.

        Args:
            metadata: What the model says about itself, which states its input and its outputs.
        """
        images, *outputs = (_info(*item) for item in expected_shapes(metadata).items())
        graph = helper.make_graph(self._nodes, "detector", [images], outputs, self._tensors)
        model = helper.make_model(
            graph,
            ir_version=IR_VERSION,
            opset_imports=[helper.make_opsetid("", OPSET)],
            producer_name=metadata.project,
            producer_version=metadata.version,
        )
        describe(model, metadata)
        return onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)

    def _free(self, name: str) -> str:
        free, number = name, 1
        while free in self._names:
            number += 1
            free = f"{name}_{number}"
        self._names.add(free)
        return free


def describe(model: onnx.ModelProto, metadata: Metadata) -> None:
    """Writes metadata into a model, and replaces what is there."""
    helper.set_model_props(model, {ENTRY: to_text(metadata)})


def _info(name: str, shape: tuple[int | None, ...]) -> onnx.ValueInfoProto:
    kind = helper.np_dtype_to_tensor_dtype(expected_dtype(name))
    return helper.make_tensor_value_info(
        name, kind, [BATCH if side is None else side for side in shape]
    )
