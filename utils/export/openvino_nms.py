"""Non-maximum suppression by the operators of OpenVINO."""

from typing import Any

import numpy as np

from utils.inference.engines.openvino import import_openvino
from utils.inference.metadata import Metadata

COLUMNS = (1, 1, 4)  # of a row of the operator: label, score and box


def add_suppression(model: Any, metadata: Metadata) -> Any:
    """Adds non-maximum suppression to a model, by the rules of `nets.nms`.

    Args:
        model: An `openvino.Model` with outputs `boxes` and `scores`.
        metadata: The metadata to write; it states the thresholds.

    Returns:
        A model with outputs `boxes` (B, M, 4), `scores` (B, M), `labels` (B, M) int32 and `counts`
        (B,) int32, best first, padded with zeros.
    """
    openvino = import_openvino()
    from openvino import opset15 as ops

    thresholds = metadata.thresholds
    most = np.int32(thresholds.max_boxes)
    boxes, scores = (model.output(name).get_node().input_value(0) for name in ("boxes", "scores"))
    kept = ops.multiclass_nms(
        boxes,
        ops.transpose(scores, np.int32([0, 2, 1])),
        sort_result_type="score",
        output_type="i32",
        # OpenVINO keeps scores at the threshold, and drops boxes at it.
        score_threshold=_next(thresholds.confidence),
        iou_threshold=_next(thresholds.iou),
        keep_top_k=int(most),
    )
    rows, counts = kept.output(0), kept.output(2)  # rows of all images, one after another
    # Image i has the rows from the sum of the counts before it. Padding is the row after the last.
    rows = ops.concat([rows, np.zeros((1, sum(COLUMNS)), np.float32)], 0)
    starts = ops.cumsum(counts, np.int32(0), exclusive=True)
    places = np.arange(most, dtype=np.int32)[None]
    columns = np.int32([1])
    chosen = ops.select(
        ops.less(places, ops.unsqueeze(counts, columns)),
        ops.add(places, ops.unsqueeze(starts, columns)),
        ops.reduce_sum(counts, np.int32([0])),
    )
    table = ops.gather(rows, chosen, np.int32(0))  # (B, M, columns)
    parts = ops.variadic_split(table, np.int32(2), np.int32(COLUMNS)).outputs()
    label, score = (ops.squeeze(part, np.int32([2])) for part in parts[:2])
    outputs = {
        "boxes": parts[2],
        "scores": score,
        "labels": ops.convert(label, "i32"),
        "counts": counts,
    }
    for output in model.outputs:
        output.set_names(set())  # they are inner tensors now
    results = []
    for name, value in outputs.items():
        result = ops.result(value)
        result.output(0).set_names({name})
        result.set_friendly_name(name)
        results.append(result)
    return openvino.Model(results, model.get_parameters(), model.get_friendly_name())


def _next(value: float) -> float:
    """Returns the next larger number of float32."""
    return float(np.nextafter(np.float32(value), np.float32(np.inf)))
