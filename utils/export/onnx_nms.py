"""Non-maximum suppression by the standard operators of ONNX."""

import numpy as np
from onnx import TensorProto, numpy_helper

from utils.export.onnx_graph import FLOAT32, INT64, Graph, Value
from utils.inference.thresholds import Thresholds


def suppress(graph: Graph, boxes: Value, scores: Value, thresholds: Thresholds) -> dict[str, Value]:
    """Adds the nodes that drop boxes as `nets.nms.suppress` does.

    Args:
        graph: The graph.
        boxes: (B, P, 4) xyxy.
        scores: (B, P, C).
        thresholds: Thresholds of non-maximum suppression.

    Returns:
        `boxes` (B, M, 4), `scores` (B, M), `labels` (B, M) and `counts` (B,), best first, padded
        with zeros.
    """

    def add(kind: str, *inputs: str, name: str, **attributes: object) -> str:
        return graph.add(kind, inputs, f"nms/{name}", **attributes)[0]

    def constant(value: np.typing.ArrayLike, dtype: np.dtype = INT64) -> str:
        return graph.constant(value, dtype)

    def column(name: str) -> str:
        return add("Unsqueeze", name, constant([2]), name=f"{name.removeprefix('nms/')}_column")

    _, predictions, classes = scores.shape
    most = thresholds.max_boxes
    kept = add(
        "NonMaxSuppression",
        boxes.name,
        add("Transpose", scores.name, name="by_class", perm=(0, 2, 1)),
        constant([most]),
        constant([thresholds.iou], FLOAT32),
        constant([thresholds.confidence], FLOAT32),
        name="kept",
    )  # (K, 3): image, class, prediction
    # The scores of dropped boxes become 0; those of kept boxes are greater. So one operator finds
    # the best M of all classes, without a loop over the images.
    where = add("Gather", kept, constant([0, 2, 1]), name="where", axis=1)
    values = add("GatherND", scores.name, where, name="values")
    shape = add("Shape", scores.name, name="shape")
    zero = numpy_helper.from_array(np.zeros(1, FLOAT32))  # the default, but OpenCV needs it
    dropped = add("ConstantOfShape", shape, name="dropped", value=zero)
    dense = add("ScatterND", dropped, where, values, name="dense")
    flat = add("Reshape", dense, constant([-1, predictions * classes]), name="flat")
    if missing := max(most - predictions * classes, 0):
        flat = add("Pad", flat, constant([0, 0, 0, missing]), name="padded")
    best, index = graph.add("TopK", [flat, constant([most])], "nms/scores", 2, axis=1)
    label = add("Mod", index, constant(classes), name="label")
    prediction = add("Div", index, constant(classes), name="prediction")
    prediction = add("Min", prediction, constant(predictions - 1), name="prediction")

    found = add("Greater", best, constant(0, FLOAT32), name="found")
    is_found = add("Cast", found, name="is_found", to=TensorProto.INT32)
    labels = add("Cast", label, name="label_of_any", to=TensorProto.INT32)
    corners = add("Expand", column(prediction), constant([1, 1, 4]), name="corners")
    chosen = add("GatherElements", boxes.name, corners, name="chosen", axis=1)
    weight = add("Cast", found, name="weight", to=TensorProto.FLOAT)
    names = {
        "boxes": add("Mul", chosen, column(weight), name="boxes"),
        "scores": best,
        "labels": add("Mul", labels, is_found, name="labels"),
        "counts": add("ReduceSum", is_found, constant([1]), name="counts", keepdims=0),
    }
    return {name: Value(output, ()) for name, output in names.items()}
