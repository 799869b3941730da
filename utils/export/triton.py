"""Writes the `config.pbtxt` with which Triton Inference Server serves an ONNX file.

Format: `model_config.proto` of github.com/triton-inference-server/common.
"""

import json

from utils.inference.engines.session import expected_dtype, expected_shapes
from utils.inference.metadata import Metadata

MODEL = "detector"  # name of the model, and of its folder in the repository of the server
FILE = "config.pbtxt"
# The server forms batches of up to this many images from the requests of several clients.
MAX_BATCH = 8
DTYPES = {"float32": "TYPE_FP32", "int32": "TYPE_INT32"}


def config_text(metadata: Metadata, file_name: str) -> str:
    """Returns the configuration of a model.

    Args:
        metadata: Metadata of the model.
        file_name: Name of the ONNX file, in the folder of its version.
    """
    is_free = metadata.batch is None
    lines = [
        f'name: "{MODEL}"',
        'backend: "onnxruntime"',
        f"default_model_filename: {json.dumps(file_name, ensure_ascii=False)}",
        f"max_batch_size: {MAX_BATCH if is_free else 0}",
    ]
    for name, shape in expected_shapes(metadata).items():
        # The server adds the batch to the shapes if max_batch_size is not 0. It does not accept an
        # empty shape, so one number per image is declared as a vector.
        sides = shape[1:] if is_free else shape
        lines += [
            f"{'input' if name == 'images' else 'output'} [",
            "  {",
            f'    name: "{name}"',
            f"    data_type: {DTYPES[expected_dtype(name).name]}",
            f"    dims: [ {', '.join(map(str, sides or (1,)))} ]",
            *(["    reshape: { shape: [ ] }"] if not sides else []),
            "  }",
            "]",
        ]
    if is_free:
        lines.append("dynamic_batching { }")
    return "\n".join(lines) + "\n"
