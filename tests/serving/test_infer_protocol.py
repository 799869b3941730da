"""The open inference protocol, judged by tritonclient and by requests as curl sends them."""

import json

import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from tests.red_finder import picture
from tests.served import ask, encoded, make_network, post, running
from utils.data.letterbox import letterbox

URL = "/v2/models/detector/infer"
CANVAS = np.float32(picture(64, 96, (24, 16, 48, 32)))[None]


@pytest.fixture(scope="module")
def made():
    return make_network()


@pytest.fixture(scope="module")
def served(made):
    with running(made.network) as served:
        yield served


@pytest.fixture
def client(served):
    client = triton.InferenceServerClient(
        f"127.0.0.1:{served.port}", connection_timeout=20, network_timeout=20
    )
    yield client
    client.close()


def outputs_for(made, canvases):
    """The outputs that the network computes for each canvas, by name."""
    session = made.sessions[1]
    found = []
    for canvas in canvases:
        session.images[0] = canvas
        found.append({name: value[0].copy() for name, value in session.run().items()})
    return {name: np.stack([each[name] for each in found]) for name in found[0]}


def infer(client, data, kind="FP32", **options):
    binary = options.pop("binary_data", True)
    given = triton.InferInput("images", [*data.shape], kind)
    given.set_data_from_numpy(data, binary_data=binary)
    return client.infer("detector", [given], **options)


def test_health_and_metadata(client):
    assert client.is_server_live() and client.is_server_ready()
    assert client.is_model_ready("detector") and client.is_model_ready("detector", "1")
    assert not client.is_model_ready("other")
    assert client.get_server_metadata()["extensions"] == ["binary_tensor_data"]
    assert client.get_model_metadata("detector") == {
        "name": "detector",
        "versions": ["1"],
        "platform": "swapyolo",
        "inputs": [{"name": "images", "datatype": "FP32", "shape": [-1, 64, 96, 3]}],
        "outputs": [
            {"name": "boxes", "datatype": "FP32", "shape": [-1, 378, 4]},
            {"name": "scores", "datatype": "FP32", "shape": [-1, 378, 1]},
        ],
    }


@pytest.mark.parametrize("binary", [True, False])
def test_tensors_in_and_out(client, made, binary):
    canvases = np.concatenate([CANVAS, CANVAS[:, ::-1], 0 * CANVAS])
    wanted = [triton.InferRequestedOutput(name, binary) for name in ("boxes", "scores")]
    result = infer(client, canvases, binary_data=binary, outputs=wanted, request_id="my id")
    assert result.get_response()["id"] == "my id"
    for name, expected in outputs_for(made, canvases).items():
        np.testing.assert_array_equal(result.as_numpy(name), expected)
    assert result.as_numpy("scores").any()


def test_outputs_are_binary_by_default_of_the_client(client, made):
    result = infer(client, CANVAS)
    assert result.get_output("boxes")["parameters"] == {"binary_data_size": 378 * 4 * 4}
    expected = outputs_for(made, CANVAS)
    np.testing.assert_array_equal(result.as_numpy("boxes"), expected["boxes"])


def test_only_the_outputs_that_are_asked_for(client):
    wanted = [triton.InferRequestedOutput("scores", binary_data=False)]
    response = infer(client, CANVAS, outputs=wanted).get_response()
    assert [output["name"] for output in response["outputs"]] == ["scores"]


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_image_file_as_bytes(client, made, suffix):
    data = encoded(suffix, (128, 192))
    result = infer(client, np.array([data], object), "BYTES")
    canvas = letterbox(picture(128, 192, (64, 32, 128, 96)), (64, 96))[0]
    expected = outputs_for(made, canvas[None])
    np.testing.assert_allclose(result.as_numpy("boxes"), expected["boxes"], atol=1.5 / 64)
    np.testing.assert_array_equal(result.as_numpy("scores"), expected["scores"])


def test_two_files_as_bytes(client):
    data = np.array([[encoded()], [encoded(box=None)]], object)
    scores = infer(client, data, "BYTES").as_numpy("scores")
    assert scores.max(axis=(1, 2)).tolist() == [np.float32(0.9), 0]


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_compressed_requests(client, algorithm):
    result = infer(client, CANVAS, request_compression_algorithm=algorithm)
    assert result.as_numpy("scores").max() == np.float32(0.9)


def test_model_with_suppression():
    made = make_network(nms=True)
    with running(made.network) as served:
        client = triton.InferenceServerClient(f"127.0.0.1:{served.port}", network_timeout=20)
        names = [output["name"] for output in client.get_model_metadata("detector")["outputs"]]
        result = infer(client, np.concatenate([CANVAS, 0 * CANVAS]))
        client.close()
    assert names == ["boxes", "scores", "labels", "counts"]
    assert result.get_output("counts")["datatype"] == "INT32"
    assert result.as_numpy("counts").tolist() == [1, 0]


def test_errors_reach_the_client(client):
    for model, data, status, words in (
        ("other", CANVAS, "404", "unknown model"),
        ("detector", CANVAS[:, :32], "400", r"\[N, 64, 96, 3\]"),
        ("detector", CANVAS * np.nan, "400", "not finite"),
    ):
        given = triton.InferInput("images", [*data.shape], "FP32")
        given.set_data_from_numpy(data)
        with pytest.raises(InferenceServerException, match=words) as caught:
            client.infer(model, [given])
        assert caught.value.status() == status


def test_json_of_curl(served, made):
    shape = [1, 64, 96, 3]
    for data in (CANVAS.tolist(), CANVAS.ravel().tolist()):
        given = {"name": "images", "shape": shape, "datatype": "FP32", "data": data}
        body = json.dumps({"id": "7", "inputs": [given]}).encode()
        status, headers, answer = ask(served.port, post(body, URL))
        assert (status, headers["content-type"]) == (200, "application/json")
        document = json.loads(answer)
        assert (document["model_name"], document["id"]) == ("detector", "7")
        boxes, scores = document["outputs"]
        assert boxes["shape"] == [1, 378, 4] and scores["datatype"] == "FP32"
        expected = outputs_for(made, CANVAS)["boxes"]
        np.testing.assert_array_equal(np.float32(boxes["data"]).reshape(1, 378, 4), expected)


def test_body_that_is_only_an_image_file(served):
    length = ["Inference-Header-Content-Length: 0"]
    status, _, answer = ask(served.port, post(encoded(), URL, length))
    assert status == 200
    assert max(json.loads(answer)["outputs"][1]["data"]) == pytest.approx(0.9)
