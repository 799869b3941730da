"""An ONNX model whose score is the brightness of the image, and images for it."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.fake_runtime import make_metadata
from utils.data.encoding import write_image
from utils.inference.engines.session import count_predictions
from utils.inference.metadata import ENTRY, to_text

SIZE = (64, 96)
BOX = (0.25, 0.25, 0.75, 0.75)  # as fractions; in pixels of the images 24, 16, 72, 48
WORK = 1024  # rows of a matrix that is multiplied with itself to take time


def write_model(path, work=WORK):
    """Writes the model. A larger `work` takes more time: 2 * work ** 3 operations per image."""
    metadata = make_metadata(input_size=SIZE, classes=("light",))
    count = count_predictions(metadata)
    first = np.zeros((1, count, 1), np.float32)
    first[0, 0] = 1 / 255
    constants = {
        "box": np.tile(np.float32(BOX), (1, count, 1)),
        "first": first,
        "zero": np.float32(0),
        "matrix": np.zeros((1, work, work), np.float32),
    }
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["rows"], axes=[2, 3]),
        helper.make_node("ReduceMean", ["rows"], ["level"], axes=[1], keepdims=0),  # (B, 1, 1)
        # What the product is cannot be known before, so it is computed for each image.
        helper.make_node("Add", ["matrix", "level"], ["filled"]),
        helper.make_node("MatMul", ["filled", "filled"], ["product"]),
        helper.make_node("ReduceMean", ["product"], ["value"], axes=[1, 2]),
        helper.make_node("Mul", ["value", "zero"], ["nothing"]),
        helper.make_node("Add", ["level", "nothing"], ["sum"]),
        helper.make_node("Mul", ["sum", "first"], ["scores"]),
        helper.make_node("Mul", ["level", "zero"], ["none"]),
        helper.make_node("Add", ["none", "box"], ["boxes"]),
    ]
    tensors = {"images": ("batch", *SIZE, 3)}
    tensors |= {"boxes": ("batch", count, 4), "scores": ("batch", count, 1)}
    inputs, *outputs = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in tensors.items()
    )
    weights = [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()]
    graph = helper.make_graph(nodes, "brightness", [inputs], outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {ENTRY: to_text(metadata)})
    onnx.save(model, path)


def write_grey_images(folder, count):
    """Writes images, each of one level of grey; the level of image i is `level_of(i)`."""
    folder.mkdir(parents=True)
    for i in range(count):
        write_image(folder / f"{i}.png", np.full((*SIZE, 3), level_of(i), np.uint8))


def level_of(i):
    """Returns a level of grey from 128 to 254, whose score is above the default threshold."""
    return 128 + i % 127


def record_of(i, folder="pics"):
    """Returns the record of an image."""
    box = [24.0, 16.0, 72.0, 48.0]
    found = {"label": "light", "score": round(level_of(i) / 255, 4), "box": box}
    size = {"width": SIZE[1], "height": SIZE[0]}
    return {"index": i, "source": f"{folder}/{i}.png", **size, "detections": [found]}
