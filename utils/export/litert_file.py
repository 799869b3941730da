"""Reads, checks and writes the flatbuffer of a LiteRT model."""

from collections.abc import Iterator, Mapping

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from utils.errors import JobError
from utils.inference.metadata import ENTRY, Metadata, to_text

Model = schema.ModelT
Operator = schema.OperatorT

SIGNATURE = b"serving_default"
FILE_IDENTIFIER = b"TFL3"
ALIGNMENT = 16  # of constants, as the schema requires
MAX_RANK = 4  # most accelerators have no kernels for more
CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D")

_OPERATORS = {
    code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)
}


class _Builder(flatbuffers.Builder):
    """Aligns constants, which the generated Python code of the schema forgets."""

    def StartVector(self, elemSize: int, numElems: int, alignment: int) -> int:
        return super().StartVector(elemSize, numElems, ALIGNMENT if elemSize == 1 else alignment)


def read(data: bytes) -> Model:
    """Reads a model."""
    model = Model.InitFromPackedBuf(data)
    for buffer in model.buffers:
        if buffer.offset > 1:  # the constant is behind the flatbuffer
            buffer.data = np.frombuffer(data, np.uint8, buffer.size, buffer.offset)
            buffer.offset = buffer.size = 0
    return model


def name_tensors(model: Model, layers: Mapping[str, str]) -> None:
    """Gives clear names to tensors of a model that was converted.

    Its input and outputs receive the names of the signature, and the output of each convolution
    that of its layer.

    Args:
        model: The model; it changes.
        layers: Names of the layers of the convolutions, by names of operations.

    Raises:
        JobError: A convolution cannot be found.
    """
    (graph,) = model.subgraphs
    (signature,) = model.signatureDefs
    for port in (*signature.inputs, *signature.outputs):
        graph.tensors[port.tensorIndex].name = port.name
    missing = set(layers.values())
    for operator in operators(model, *CONVOLUTIONS):
        tensor = graph.tensors[operator.outputs[0]]
        # Names of fused operations are joined by semicolons, and made unique by a number.
        parts = tensor.name.decode().split(";")
        parts.append(parts[-1].rstrip("0123456789"))
        names = {layers[part] for part in parts if part in layers}
        if len(names) != 1 or not names <= missing:
            raise JobError(f"LiteRT's converter made an unknown convolution {tensor.name.decode()}")
        missing -= names
        tensor.name = names.pop().encode()
    if missing:
        raise JobError(f"LiteRT's converter dropped the convolutions {', '.join(sorted(missing))}")


def add_metadata(model: Model, metadata: Metadata) -> None:
    """Adds metadata to a model."""
    document = np.frombuffer(to_text(metadata).encode(), np.uint8)
    model.buffers.append(schema.BufferT(data=document))
    entry = schema.MetadataT(name=ENTRY, buffer=len(model.buffers) - 1)
    model.metadata = [*(model.metadata or ()), entry]


def pack(model: Model) -> bytes:
    """Returns the content of the file of a model.

    Raises:
        JobError: The model has what not all devices support.
    """
    _check(model)
    sizes = (buffer.data.size for buffer in model.buffers if buffer.data is not None)
    builder = _Builder(sum(sizes) + 2**20)
    builder.Finish(model.Pack(builder), FILE_IDENTIFIER)
    return bytes(builder.Output())


def operators(model: Model, *names: str) -> Iterator[Operator]:
    """Yields the operators of the given kinds, in the order in which they run."""
    for operator in model.subgraphs[0].operators:
        if kind_of(model, operator) in names:
            yield operator


def kind_of(model: Model, operator: Operator) -> str:
    """Returns the kind of an operator, in capital letters."""
    code = model.operatorCodes[operator.opcodeIndex]
    # Files of old versions have only the first, new kinds only the second.
    return _OPERATORS[max(code.deprecatedBuiltinCode, code.builtinCode)]


def _check(model: Model) -> None:
    """Checks that a model runs on all devices.

    Raises:
        JobError: It does not.
    """
    if custom := [code.customCode for code in model.operatorCodes if code.customCode]:
        raise JobError(f"the LiteRT model has custom operators: {custom}")
    for tensor in model.subgraphs[0].tensors:
        if tensor.shape is not None and len(tensor.shape) > MAX_RANK:
            raise JobError(
                f"the LiteRT model has a tensor of rank {len(tensor.shape)}, {tensor.name.decode()}"
            )
