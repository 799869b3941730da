"""The bodies of the open inference protocol, version 2, with the binary tensor extension.

Sources: github.com/kserve/open-inference-protocol, and docs/protocol/extension_binary_data.md of
github.com/triton-inference-server/server.
"""

import json
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from utils.inference.engines.session import expected_dtype
from utils.serving.multipart import Upload
from utils.serving.refusals import FAILED, Refusal, bad_request
from utils.serving.settings import MAX_IMAGES, MEBIBYTE

MODEL = "detector"
VERSION = "1"
INPUT = "images"
HEADER_LENGTH = "Inference-Header-Content-Length"
DATATYPES = {"float32": "FP32", "int32": "INT32"}
LENGTH = struct.Struct("<I")  # before each element of BYTES
SHARED_MEMORY = "shared_memory_region"
# Bytes of the JSON of a request, which become up to 24 times as many: `{},` is an object of Python.
# An image of 416x416 has about 10 MB with all digits of its values.
MAX_JSON = 16 * MEBIBYTE
# Values of an answer with several images. As JSON they take some 80 bytes each while the answer is
# written, and no other thread of Python runs meanwhile.
MAX_JSON_VALUES = 2**20
MAX_BINARY_VALUES = 2**25  # 128 MiB


@dataclass(frozen=True, eq=False)
class InferRequest:
    """A request for inference.

    Attributes:
        id: What the client calls it; empty for nothing.
        canvases: (B, H, W, 3) float32, images as the network takes them; None for files.
        files: Image files.
        outputs: The outputs that are wanted, and whether each is wanted in binary.
    """

    id: str
    canvases: np.ndarray | None
    files: Sequence[Upload]
    outputs: Mapping[str, bool]


def parse_request(
    body: bytes, header_length: str | None, size: tuple[int, int], known: Sequence[str]
) -> InferRequest:
    """Reads a request.

    Args:
        body: The body: JSON, and binary tensors after it.
        header_length: Number of bytes of the JSON, as in the header of that name; None if the whole
            body is JSON, 0 if it is the file of one image.
        size: Height and width of the images.
        known: The outputs of the model.

    Raises:
        Refusal: The request is not valid.
    """
    length = _header_length(header_length, len(body))
    if length > MAX_JSON:
        raise Refusal(
            413,
            "too_large",
            f"the request has more than {MAX_JSON:,} bytes of JSON, send binary tensors",
        )
    if length == 0 and header_length is not None:
        return InferRequest("", None, [Upload(INPUT, body)], dict.fromkeys(known, False))
    document = _parse_json(body[:length])
    inputs = document.get("inputs")
    if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
        raise bad_request(f"the request must have one input, {INPUT!r}")
    request_id = document.get("id", "")
    if not isinstance(request_id, str):
        raise bad_request("id must be a string")
    canvases, files = _read_input(inputs[0], memoryview(body)[length:], size)
    return InferRequest(request_id, canvases, files, _wanted(document, known))


def _header_length(text: str | None, most: int) -> int:
    if text is None:
        return most
    if not (text.isascii() and text.isdecimal()) or len(text) > 18 or int(text) > most:
        raise bad_request(f"{HEADER_LENGTH} must be a number from 0 to the length of the body")
    return int(text)


def _parse_json(text: bytes) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise bad_request("the request is not valid JSON, or is nested too deeply") from error
    if not isinstance(document, dict):
        raise bad_request("the request must be a JSON object")
    return document


def _parameters(owner: Mapping[str, Any]) -> Mapping[str, Any]:
    parameters = owner.get("parameters", {})
    if not isinstance(parameters, dict):
        raise bad_request("parameters must be a JSON object")
    if SHARED_MEMORY in parameters:
        raise bad_request("shared memory is not supported, send the tensor in the body")
    return parameters


def _read_input(
    given: Mapping[str, Any], binary: memoryview, size: tuple[int, int]
) -> tuple[np.ndarray | None, list[Upload]]:
    if given.get("name") != INPUT:
        raise bad_request(f"the model has one input, {INPUT!r}")
    shape = given.get("shape")
    if not isinstance(shape, list) or not all(type(side) is int and side > 0 for side in shape):
        raise bad_request("the shape must be a list of positive integers")
    if not shape or shape[0] > MAX_IMAGES:
        raise bad_request(f"a request may have 1 to {MAX_IMAGES} images")
    byte_size = _parameters(given).get("binary_data_size")
    if (byte_size is not None) == ("data" in given):
        raise bad_request("the input must have either data or binary_data_size")
    if len(binary) != (byte_size or 0):
        raise bad_request(
            f"binary_data_size must be the number of bytes after the JSON, {len(binary)}"
        )
    match given.get("datatype"):
        case "FP32":
            if shape[1:] != [*size, 3]:
                raise bad_request(f"the shape of FP32 images must be [N, {size[0]}, {size[1]}, 3]")
            return _canvases(shape, given.get("data"), binary), []
        case "BYTES":
            if math.prod(shape) != shape[0]:
                raise bad_request("the shape of BYTES images must be [N] or [N, 1]")
            return None, _files(shape[0], given.get("data"), binary)
    raise bad_request("the datatype must be FP32, or BYTES for JPEG or PNG files")


def _canvases(shape: Sequence[int], data: Any, binary: memoryview) -> np.ndarray:
    if data is None:
        if len(binary) != 4 * math.prod(shape):
            raise bad_request(f"binary_data_size must be {4 * math.prod(shape)} for this shape")
        values = np.frombuffer(binary, "<f4")
    else:
        try:
            values = np.asarray(data)
        except ValueError as error:  # ragged, or nested too deeply
            raise bad_request("data is not a tensor") from error
        if values.dtype.kind not in "iuf" or values.size != math.prod(shape):
            raise bad_request(f"data must have {math.prod(shape)} numbers for this shape")
        with np.errstate(over="ignore"):
            values = values.astype(np.float32)
    if not np.isfinite(values).all():
        raise bad_request("data has values that are not finite")
    return values.reshape(shape)


def _files(count: int, data: Any, binary: memoryview) -> list[Upload]:
    if data is not None:
        raise bad_request("JSON cannot carry image files, send BYTES with binary_data_size")
    files, position = [], 0
    for index in range(count):
        start = position + LENGTH.size
        if start > len(binary):
            raise bad_request(f"BYTES has {index} elements, the shape has {count}")
        position = start + LENGTH.unpack_from(binary, position)[0]
        if position > len(binary):
            raise bad_request(f"element {index} of BYTES is longer than the body")
        files.append(Upload(f"{INPUT}[{index}]", bytes(binary[start:position])))
    if position != len(binary):
        raise bad_request(f"BYTES has more than the {count} elements of its shape")
    return files


def _wanted(document: Mapping[str, Any], known: Sequence[str]) -> dict[str, bool]:
    default = _parameters(document).get("binary_data_output", False)
    asked = document.get("outputs")
    if not asked:
        return dict.fromkeys(known, default is True)
    if not isinstance(asked, list) or not all(isinstance(output, dict) for output in asked):
        raise bad_request("outputs must be a list of JSON objects")
    wanted = {}
    for output in asked:
        if output.get("name") not in known:
            raise bad_request(f"unknown output, the model has {', '.join(known)}")
        parameters = _parameters(output)
        if "classification" in parameters:
            raise bad_request("classification of outputs is not supported")
        wanted[output["name"]] = parameters.get("binary_data", default) is True
    return wanted


def check_answer(request: InferRequest, shapes: Mapping[str, Sequence[int | None]]) -> None:
    """Checks that the outputs for several images fit into an answer; those for one always do.

    Args:
        request: The request.
        shapes: Shape of each output of the model, the number of images first.

    Raises:
        Refusal: They do not.
    """
    count = len(request.files if request.canvases is None else request.canvases)
    for kind, is_binary, most, advice in (
        ("JSON", False, MAX_JSON_VALUES, "ask for binary_data_output"),
        ("binary", True, MAX_BINARY_VALUES, "ask for fewer outputs"),
    ):
        wanted = [name for name, binary in request.outputs.items() if binary is is_binary]
        values = count * sum(math.prod(shapes[name][1:]) for name in wanted)
        if count > 1 and values > most:
            raise Refusal(
                413,
                "too_large",
                f"the answer would have {values:,} {kind} values, more than {most:,}: {advice} or "
                "send fewer images",
            )


def write_response(
    request: InferRequest, tensors: Mapping[str, np.ndarray]
) -> tuple[bytes, dict[str, str]]:
    """Writes the response to a request.

    Args:
        request: The request.
        tensors: The outputs of the model, of all images together.

    Returns:
        Body and headers.

    Raises:
        Refusal: A value that is wanted as JSON is infinite.
    """
    outputs, binary = [], []
    for name, is_binary in request.outputs.items():
        value = np.ascontiguousarray(tensors[name], expected_dtype(name))
        output = {"name": name, "datatype": DATATYPES[value.dtype.name], "shape": [*value.shape]}
        if is_binary:
            output["parameters"] = {"binary_data_size": value.nbytes}
            binary.append(value.tobytes())
        else:
            output["data"] = value.ravel().tolist()
        outputs.append(output)
    document = {"model_name": MODEL, "model_version": VERSION, "outputs": outputs}
    if request.id:
        document["id"] = request.id
    try:
        text = json.dumps(document, allow_nan=False).encode()
    except ValueError as error:
        raise Refusal(500, "failed", FAILED) from error
    if not binary:
        return text, {"Content-Type": "application/json"}
    headers = {"Content-Type": "application/octet-stream", HEADER_LENGTH: str(len(text))}
    return b"".join([text, *binary]), headers
