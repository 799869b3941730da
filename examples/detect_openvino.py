"""Finds objects with OpenVINO: python detect_openvino.py MODEL PHOTO"""

import json
import sys

import cv2
import numpy as np
import openvino


def load(path):
    """Returns a function from images to the outputs, and the metadata."""
    model = openvino.Core().read_model(f"{path}/detector.xml")
    metadata = json.loads(model.get_rt_info(["swapyolo"]).astype(str))
    # Without this, OpenVINO chooses bfloat16 on some processors: faster, with scores off by 0.001.
    compiled = openvino.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda images: compiled(images), metadata


def letterbox(image, metadata):
    """Fits an image into the input; returns it with its scale and its padding."""
    size, rule = metadata["input_size"], metadata["preprocessing"]
    h, w = image.shape[:2]
    fitted = [max(1, round(side * min(size[0] / h, size[1] / w))) for side in (h, w)]
    height, width = size if rule["resize"] == "stretch" else fitted
    method = cv2.INTER_AREA if height < h or width < w else cv2.INTER_CUBIC
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    canvas = np.full((1, *size, 3), rule["pad_value"], np.float32)
    resized = cv2.resize(image, (width, height), interpolation=method)
    canvas[0, top : top + height, left : left + width] = resized
    return canvas, np.tile([width / w, height / h], 2), [left, top] * 2


def suppress(boxes, scores, limits):
    """Returns label, score and box of each detection, best first."""
    rows, labels = np.nonzero(scores > limits["confidence"])
    boxes, scores = boxes[rows], scores[rows, labels]
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    kept, rest = [], np.argsort(-scores, kind="stable")
    while len(rest) and len(kept) < limits["max_boxes"]:
        best, rest = rest[0], rest[1:]
        kept.append(best)
        start = np.maximum(boxes[best, :2], boxes[rest, :2])
        shared = np.maximum(np.minimum(boxes[best, 2:], boxes[rest, 2:]) - start, 0).prod(axis=1)
        overlaps = shared > limits["iou"] * (areas[best] + areas[rest] - shared)
        rest = rest[~overlaps | (labels[rest] != labels[best])]
    return zip(labels[kept], scores[kept], boxes[kept])


detect, metadata = load(sys.argv[1])
image = cv2.imread(sys.argv[2], cv2.IMREAD_COLOR_RGB)
canvas, scale, pad = letterbox(image, metadata)
outputs = detect(images=canvas)
boxes, scores = (np.asarray(outputs[name])[0] for name in ("boxes", "scores"))
boxes = boxes * np.tile(metadata["input_size"][::-1], 2)  # to pixels of the input
for label, score, box in suppress(boxes, scores, metadata["thresholds"]):
    corners = np.clip((box - pad) / scale, 0, image.shape[1::-1] * 2)
    if (corners[2:] > corners[:2]).all():  # it is not only in the padding
        print(metadata["classes"][label], f"{score:.4f}", *(f"{each:.2f}" for each in corners))
