"""Requests of the open inference protocol that are not valid."""

import json
import struct

import numpy as np
import pytest

from utils.serving.protocol import (
    INPUT,
    MAX_BINARY_VALUES,
    MAX_JSON,
    MAX_JSON_VALUES,
    check_answer,
    parse_request,
)
from utils.serving.refusals import Refusal

SIZE = (2, 2)
CANVAS = [float(value) for value in range(12)]
SHAPE = [1, 2, 2, 3]
KNOWN = ("boxes", "scores")


def document(**changes):
    """A valid request, with changes to its input."""
    given = {"name": INPUT, "shape": SHAPE, "datatype": "FP32", "data": CANVAS}
    given = {key: value for key, value in {**given, **changes}.items() if value is not None}
    return {"inputs": [given]}


def parse(body, header_length=None):
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    return parse_request(body, header_length, SIZE, KNOWN)


def parse_binary(binary, **changes):
    size = {"binary_data_size": len(binary)}
    head = json.dumps(document(**{"data": None, "parameters": size, **changes})).encode()
    return parse(head + binary, str(len(head)))


def assert_refused(words, call, *args, **options):
    with pytest.raises(Refusal, match=words) as caught:
        call(*args, **options)
    assert caught.value.status == 400


def assert_too_large(words, call, *args):
    with pytest.raises(Refusal, match=words) as caught:
        call(*args)
    assert caught.value.status == 413


def test_valid_requests():
    assert parse(document()).canvases.ravel().tolist() == CANVAS
    assert parse(document(data=np.reshape(CANVAS, SHAPE).tolist())).canvases.shape == (1, 2, 2, 3)
    assert parse_binary(np.float32(CANVAS).tobytes()).canvases.ravel().tolist() == CANVAS
    file = parse_binary(struct.pack("<I", 3) + b"abc", datatype="BYTES", shape=[1]).files[0]
    assert file.data == b"abc"


@pytest.mark.parametrize(
    "shape",
    [
        [-1, 2, 2, 3],
        [1, 2, 2, -3],
        [0, 2, 2, 3],
        [1, 2, 2],
        [2**63, 2, 2, 3],
        [2**62, 2**62, 2**62, 2**62],
        [65, 2, 2, 3],
        [1.0, 2, 2, 3],
        [True, 2, 2, 3],
        ["1", 2, 2, 3],
        [],
        {},
        12,
    ],
    ids=str,
)
def test_negative_and_overflowing_shapes(shape):
    assert_refused("shape|images", parse, document(shape=shape))
    assert_refused("shape|images", parse_binary, b"\0" * 48, shape=shape)


@pytest.mark.parametrize("length", ["-1", "1e3", "", "+5", "0x10", "٣", "999", "9" * 5000])
def test_header_length_out_of_range(length):
    assert_refused("Inference-Header-Content-Length", parse, document(), length)


def test_header_length_inside_the_json():
    assert_refused("JSON", parse, document(), "10")


@pytest.mark.parametrize("depth", [10_000, 1_000_000])
@pytest.mark.parametrize("pair", ["[]", ('{"a":', "}")], ids=["lists", "objects"])
def test_json_nested_too_deeply(depth, pair):
    start, end = pair
    nested = start * depth + ("1" if start != "[" else "") + end * depth
    assert_refused("nested|JSON object", parse, nested.encode())
    text = json.dumps(document(data="X")).replace('"X"', nested)
    assert_refused("nested|tensor|numbers", parse, text.encode())


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[]", b"null", b"\xff", b'{"inputs": 1' + b"0" * 5000 + b"}", b"NaN"]
)
def test_no_json_object(text):
    assert_refused("JSON", parse, text)


@pytest.mark.parametrize(
    "data",
    [
        CANVAS[:-1],
        [*CANVAS, 1.0],
        [[1.0], [1.0, 2.0]],
        ["1"] * 12,
        [True] * 12,
        [None] * 12,
        [1e999] * 12,
        [float("nan")] * 12,
        [1e39] * 12,
        [10**400] * 12,
        "text",
        {},
        5,
    ],
    ids=lambda data: str(data)[:20],
)
def test_data_that_is_no_tensor(data):
    assert_refused("data", parse, document(data=data))


def test_binary_tensors_of_another_size():
    assert_refused("binary_data_size must be 48", parse_binary, b"\0" * 44)
    head = json.dumps(document(data=None, parameters={"binary_data_size": 48})).encode()
    assert_refused("after the JSON, 47", parse, head + b"\0" * 47, str(len(head)))
    for size in (-48, 2**70, "48", 48.5, True, [], None):
        parameters = {"binary_data_size": size}
        head = json.dumps(document(data=None, parameters=parameters)).encode()
        assert_refused("binary_data_size", parse, head + b"\0" * 48, str(len(head)))
    infinite = np.float32([*CANVAS[:-1], np.inf]).tobytes()
    assert_refused("not finite", parse_binary, infinite)


@pytest.mark.parametrize(
    "binary",
    [b"", b"\1\0\0", struct.pack("<I", 4) + b"abc", struct.pack("<I", 2) + b"abc", b"\xff" * 8],
)
def test_elements_of_bytes_that_do_not_fit(binary):
    assert_refused("BYTES", parse_binary, binary, datatype="BYTES", shape=[1])


def test_image_files_in_json():
    assert_refused("JSON cannot", parse, document(datatype="BYTES", shape=[1], data=["abc"]))


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "image"},
        {"name": None},
        {"datatype": "UINT8"},
        {"datatype": 3},
        {"data": None},
        {"parameters": {"binary_data_size": 0}},
        {"parameters": 3},
        {"parameters": {"shared_memory_region": "x"}},
        {"shape": None},
    ],
    ids=str,
)
def test_wrong_fields_of_the_input(changes):
    assert_refused(".", parse, document(**changes))


@pytest.mark.parametrize(
    "fields",
    [
        {"inputs": []},
        {"inputs": None},
        {"inputs": [1]},
        {"inputs": document()["inputs"] * 2},
        {"id": 5},
        {"parameters": []},
        {"outputs": {"name": "boxes"}},
        {"outputs": ["boxes"]},
        {"outputs": [{"name": "masks"}]},
        {"outputs": [{"name": ["boxes"]}]},
        {"outputs": [{"name": "boxes", "parameters": {"classification": 2}}]},
        {"outputs": [{"name": "boxes", "parameters": {"shared_memory_region": "x"}}]},
    ],
    ids=str,
)
def test_wrong_fields_of_the_request(fields):
    assert_refused(".", parse, {**document(), **fields})


def test_json_that_is_too_large():
    text = json.dumps(document()).encode()
    assert parse(text.rjust(MAX_JSON)).canvases.ravel().tolist() == CANVAS
    assert_too_large("send binary tensors", parse, text.rjust(MAX_JSON + 1))
    file = struct.pack("<I", MAX_JSON) + bytes(MAX_JSON)
    assert len(parse_binary(file, datatype="BYTES", shape=[1]).files[0].data) == MAX_JSON


def request_for(count, **fields):
    """A request with several canvases."""
    return parse({**document(shape=[count, *SHAPE[1:]], data=count * CANVAS), **fields})


def test_answers_in_json_that_are_too_large():
    shapes = dict.fromkeys(KNOWN, (None, MAX_JSON_VALUES // 8, 2))  # half of the limit per image
    check_answer(request_for(2), shapes)
    words = "1,572,864 JSON values, .* ask for binary_data_output or send fewer images"
    assert_too_large(words, check_answer, request_for(3), shapes)
    check_answer(request_for(3, parameters={"binary_data_output": True}), shapes)
    check_answer(request_for(3, outputs=[{"name": "boxes"}]), shapes)


def test_binary_answers_that_are_too_large():
    shapes = dict.fromkeys(KNOWN, (None, MAX_BINARY_VALUES // 2))
    binary = {"binary_data_output": True}
    check_answer(request_for(2, parameters=binary, outputs=[{"name": "boxes"}]), shapes)
    words = "67,108,864 binary values, .* ask for fewer outputs or send fewer images"
    assert_too_large(words, check_answer, request_for(2, parameters=binary), shapes)


def test_answers_for_one_image_are_never_too_large():
    shapes = dict.fromkeys(KNOWN, (None, 2 * MAX_BINARY_VALUES))
    check_answer(request_for(1), shapes)
    check_answer(request_for(1, parameters={"binary_data_output": True}), shapes)
