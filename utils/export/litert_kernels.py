"""Which operators of a LiteRT model compute in integers."""

from collections.abc import Collection

from ai_edge_litert import schema_py_generated as schema

from utils.errors import JobError
from utils.export.litert_file import CONVOLUTIONS, Model, kind_of, operators
from utils.inference.metadata import Scheme

ACTIVATIONS = {"int8": schema.TensorType.INT8, "int16x8": schema.TensorType.INT16}
WEIGHTS = schema.TensorType.INT8
LEAKY_RELU = schema.BuiltinOperator.LEAKY_RELU
RELU = schema.BuiltinOperator.RELU


def between_convolutions(model: Model) -> list[bool]:
    """Finds the convolutions of a model, and the operators on a path from one to another.

    Returns:
        For each operator, whether it is one of these.
    """
    (graph,) = model.subgraphs
    is_convolution = [kind_of(model, operator) in CONVOLUTIONS for operator in graph.operators]
    after, before = set(), set()  # tensors that depend on a convolution, or that one depends on
    for operator, convolves in zip(graph.operators, is_convolution, strict=True):
        if convolves or not after.isdisjoint(operator.inputs):
            after.update(operator.outputs)
    for operator, convolves in zip(graph.operators[::-1], is_convolution[::-1], strict=True):
        if convolves or not before.isdisjoint(operator.outputs):
            before.update(operator.inputs)
    return [
        convolves
        or (not after.isdisjoint(operator.inputs) and not before.isdisjoint(operator.outputs))
        for operator, convolves in zip(graph.operators, is_convolution, strict=True)
    ]


def check_kernels(model: Model, precision: Scheme, float_layers: Collection[str]) -> None:
    """Checks that all convolutions compute in integers, except some.

    Args:
        model: A quantized model, whose convolutions have the names of their layers.
        precision: The precision of the others.
        float_layers: Names of the convolutions that compute in float.

    Raises:
        JobError: A convolution has another precision, or a float layer is unknown.
    """
    tensors = model.subgraphs[0].tensors
    unknown, wrong = set(float_layers), []
    integer = (ACTIVATIONS[precision], WEIGHTS, ACTIVATIONS[precision])
    floating = (schema.TensorType.FLOAT32,) * 3
    for operator in operators(model, *CONVOLUTIONS):
        name = tensors[operator.outputs[0]].name.decode()
        used = (operator.inputs[0], operator.inputs[1], operator.outputs[0])
        types = tuple(tensors[index].type for index in used)
        if types != (floating if name in float_layers else integer):
            wrong.append(name)
        unknown.discard(name)
    if wrong:
        raise JobError(
            f"{len(wrong)} convolutions of the LiteRT model do not compute in {precision}, first "
            f"{wrong[0]}"
        )
    if unknown:
        raise JobError(f"no convolution is named {', '.join(sorted(unknown))}")


def disguise_leaky_relu(model: Model) -> None:
    """Calls leaky ReLUs ReLUs, since litert-quantizer does not know them.

    LiteRT's integer kernels of both take any scale of input and output, and litert-quantizer takes
    the ranges of a ReLU as measured, so it quantizes both alike. Their code in the list of the
    model stays apart from that of real ReLUs, since litert-quantizer only adds codes to the list.
    """
    for code in model.operatorCodes:
        if code.builtinCode == LEAKY_RELU:
            code.builtinCode = code.deprecatedBuiltinCode = RELU


def restore_leaky_relu(model: Model) -> None:
    """Reverts `disguise_leaky_relu`: the operators still have the options of leaky ReLUs."""
    for operator in model.subgraphs[0].operators:
        if operator.builtinOptionsType == schema.BuiltinOptions.LeakyReluOptions:
            code = model.operatorCodes[operator.opcodeIndex]
            code.builtinCode = code.deprecatedBuiltinCode = LEAKY_RELU
