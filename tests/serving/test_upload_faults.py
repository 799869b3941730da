"""Uploads that are damaged, too large, or of another kind."""

import gzip
import json
import struct
import tracemalloc
import zlib

import numpy as np
import pytest

from tests.peak_memory import memory_limit
from tests.served import (
    ask,
    connect,
    encoded,
    labels_of,
    make_network,
    post,
    read_answer,
    running,
)
from utils.serving.settings import MAX_IMAGES, MEBIBYTE
from utils.serving.work import Picture

FORM = {"Content-Type": "multipart/form-data; boundary=XX"}


def assert_refused(answer, status, *words):
    assert answer.status_code == status
    assert list(answer.json()) == ["error"]
    for word in words:
        assert word in answer.json()["error"]
    assert "Traceback" not in answer.text and ".py" not in answer.text


def png_bomb(side):
    """A small PNG file with this many pixels in both directions, all black."""

    def chunk(kind, data):
        checksum = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + checksum

    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes(side // 8 + 1) * side, 9)
    parts = chunk(b"IHDR", head), chunk(b"IDAT", rows), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize(
    "data", [b"text", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"GIF89a", bytes(1000), b"<svg/>"]
)
def test_not_an_image(client, data):
    assert_refused(client.post("/predict", content=data), 400, "not an image")
    assert_refused(client.post("/predict", files={"images": ("a.jpg", data)}), 400, "a.jpg")


def test_empty(client):
    assert_refused(client.post("/predict"), 400, "empty")
    assert_refused(client.post("/predict", files={"images": ("a.jpg", b"")}), 400, "a.jpg is empty")


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tiff"])
def test_truncated(client, suffix):
    data = encoded(suffix)
    assert_refused(client.post("/predict", content=data[: len(data) // 2]), 400, "truncated")


def test_png_bomb(client):
    """30,000 x 30,000 pixels would take 2.7 GB."""
    bomb = png_bomb(30_000)
    assert len(bomb) < MEBIBYTE
    with memory_limit(100 * MEBIBYTE):
        answer = client.post("/predict", content=bomb)
    assert_refused(answer, 413, "30000x30000", "50,000,000")


def test_pixels_at_the_limit(serve):
    client = serve(max_pixels=128 * 192)
    assert client.post("/predict", content=encoded()).status_code == 200
    assert_refused(client.post("/predict", content=encoded(size=(129, 192))), 413)


def test_picture_that_is_too_wide_for_jpeg(client):
    data = encoded(size=(40, 65_501), box=None)
    answer = client.post("/predict", content=data, headers={"Accept": "image/jpeg"})
    assert_refused(answer, 413, "body is too wide or high for JPEG", "ask for JSON")
    assert client.post("/predict", content=data).status_code == 200


def test_outputs_that_are_too_large_are_refused_before_images_are_decoded(serve):
    """The files are no images, which is only noticed when they are decoded."""
    client = serve(make_network(input_size=(416, 416), classes=(*"abcdefghijklmnopqrst",)).network)

    def infer(count, **fields):
        size = {"binary_data_size": 5 * count}
        given = {"name": "images", "shape": [count], "datatype": "BYTES", "parameters": size}
        head = json.dumps({"inputs": [given], **fields}).encode()
        headers = {"Inference-Header-Content-Length": str(len(head))}
        files = count * b"\1\0\0\0x"
        return client.post("/v2/models/detector/infer", content=head + files, headers=headers)

    assert_refused(infer(64), 413, "16,353,792 JSON values", "ask for binary_data_output")
    assert_refused(infer(5), 413, "1,277,640 JSON values")
    assert_refused(infer(4), 400, "images[0]")
    assert_refused(infer(64, parameters={"binary_data_output": True}), 400, "images[0]")


def test_body_of_64_mebibytes():
    """It is refused by its length; a client that sends it nevertheless gets the answer."""
    with running() as served, connect(served.port) as connection:
        connection.sendall(post(bytes(64 * MEBIBYTE)))
        assert read_answer(connection)[0] == 413
        connection.sendall(post(encoded()))
        assert read_answer(connection)[0] == 200
        connection.sendall(
            b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 67108864\r\n\r\n"
        )
        assert read_answer(connection)[0] == 413


def test_chunked_body_above_the_limit(serve):
    client = serve(max_bytes=1000)
    answer = client.post("/predict", content=iter([bytes(600), bytes(600)]))
    assert_refused(answer, 413, "1,000 bytes")


def test_gzip_bomb(serve):
    client = serve(max_bytes=MEBIBYTE)
    bomb = gzip.compress(bytes(100 * MEBIBYTE), 9)
    assert len(bomb) < MEBIBYTE
    tracemalloc.start()
    answer = client.post("/predict", content=bomb, headers={"Content-Encoding": "gzip"})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert_refused(answer, 413, "1,048,576 bytes")
    assert peak < 10 * MEBIBYTE


def test_compressed_bodies_that_are_damaged(client):
    good = gzip.compress(encoded())
    for body, words in (
        (good[:-9], "truncated"),
        (good + b"more", "followed"),
        (b"no gzip", "valid gzip"),
        (b"", "truncated"),
    ):
        answer = client.post("/predict", content=body, headers={"Content-Encoding": "gzip"})
        assert_refused(answer, 400, words)
    answer = client.post("/predict", content=good, headers={"Content-Encoding": "br"})
    assert_refused(answer, 415, "br", "gzip")


@pytest.mark.parametrize("name", ["image", "file", "Images", ""])
def test_wrong_field_names(client, name):
    answer = client.post("/predict", files=[(name, ("a.png", encoded()))])
    assert_refused(answer, 400, "did you mean images?")


@pytest.mark.parametrize(
    "query", ["confidence=0.5", "conf=-1", "conf=nan", "conf=x", "iou=2", "max_boxes=0", "conf="]
)
def test_wrong_parameters(client, query):
    assert_refused(client.post(f"/predict?{query}", content=encoded()), 400, query[:3])


@pytest.mark.parametrize("kind", ["application/json", "text/plain", "video/mp4"])
def test_other_content_types(client, kind):
    answer = client.post("/predict", content=encoded(), headers={"Content-Type": kind})
    assert_refused(answer, 415, kind)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--XX",
        b"--XX--\r\n",
        b"--YY\r\n\r\nabc\r\n--YY--\r\n",
        b'--XX\r\nContent-Disposition: form-data; name="images"\r\n\r\nabc',
        b"--XX\r\nno header\r\n\r\nabc\r\n--XX--\r\n",
        b"--XX\r\n\r\nabc\r\n--XX--\r\n",
        b"--XX\r\n" + b"a: b\r\n" * 10_000 + b"\r\nabc\r\n--XX--\r\n",
    ],
    ids=range(8),
)
def test_damaged_forms(client, body):
    assert_refused(client.post("/predict", content=body, headers=FORM), 400)


def test_form_without_boundary(client):
    headers = {"Content-Type": "multipart/form-data"}
    assert_refused(client.post("/predict", content=b"x", headers=headers), 400, "boundary")


def test_too_many_images_in_a_request(client):
    files = [("images", ("a.png", encoded()))] * (MAX_IMAGES + 1)
    assert_refused(client.post("/predict", files=files), 413, str(MAX_IMAGES))
    assert client.post("/predict", files=files[1:]).status_code == 200


def test_one_damaged_image_among_others_is_named(client):
    files = [("images", (name, data)) for name, data in (("a.png", encoded()), ("b.png", b"x"))]
    assert_refused(client.post("/predict", files=files), 400, "b.png")


def test_names_of_files_cannot_forge_log_lines(client, caplog):
    caplog.set_level("INFO", "swapyolo.serve")
    disposition = (
        b'Content-Disposition: form-data; name="images"; filename="a\xe2\x80\xa8b\x1b.jpg"'
    )
    body = b"--XX\r\n" + disposition + b"\r\n\r\nabc\r\n--XX--\r\n"
    assert_refused(client.post("/predict", content=body, headers=FORM), 400)
    assert not {"\u2028", "\x1b", "\n"} & set(caplog.messages[-1])


def test_errors_of_paths_and_methods(client):
    assert_refused(client.get("/nothing"), 404)
    assert_refused(client.get("/predict"), 405)
    assert client.get("/predict").headers["allow"] == "POST"
    assert_refused(client.post("/v2/models/other/infer"), 404, "detector")
    assert_refused(client.post("/v2/models/detector/versions/2/infer"), 404)


def test_requests_that_are_not_http():
    with running() as served:
        status, headers, body = ask(served.port, b"\x16\x03\x01 hello\r\n\r\n")
    assert status == 400
    assert body == b'{"error": "the request is not valid HTTP/1.1"}'
    assert headers["x-request-id"]


class BrokenEngine(Exception):
    """The error of a runtime."""


def test_engine_that_raises(caplog):
    made = make_network()
    with running(made.network) as served:

        def fail(session):
            raise BrokenEngine("secret details")

        made.sessions[1].hook = fail
        status, headers, body = ask(served.port, post(encoded()))
        assert status == 500
        assert b"secret" not in body and b"Traceback" not in body
        assert ask(served.port, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")[0] == 500
        made.sessions[1].hook = None
        status, _, body = ask(served.port, post(encoded()))
        assert (status, labels_of(body)) == (200, [["红/red"]])
    assert "secret details" in caplog.text
    assert headers["x-request-id"]


def test_tensor_of_nan_in_one_image_of_a_batch():
    """The other requests of the batch are answered."""
    made = make_network(sizes=(2,))
    run = made.sessions[2].run
    outputs = run()
    outputs["scores"][0] = np.nan
    made.sessions[2].run = lambda: outputs
    pictures = [Picture("a", np.zeros((64, 96, 3), np.float32), None)] * 2
    first, second = made.network.run(pictures)
    assert isinstance(first, Exception)
    assert not np.isnan(second["scores"]).any()
