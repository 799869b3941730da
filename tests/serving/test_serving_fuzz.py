"""Random requests to every endpoint: none may be a fault of the service, or end it."""

import json
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from tests.served import encoded, labels_of, make_network
from utils.serving.app import create_app
from utils.serving.service import Service
from utils.serving.settings import ServingSettings

IMAGE = encoded()
KNOWN_STATUS = {200, 400, 401, 404, 405, 413, 415}
NAMES = st.sampled_from(
    [
        *("images", "shape", "datatype", "data", "inputs", "outputs", "parameters", "name", "id"),
        *("binary_data_size", "binary_data", "FP32", "BYTES", "boxes"),
    ]
)
NUMBERS = st.integers() | st.floats() | st.sampled_from([1, 64, 96, 3, 2**63, -1])
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(max_size=5) | NAMES,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(NAMES | st.text(max_size=3), inner),
    max_leaves=12,
)
INPUTS = st.fixed_dictionaries(
    {},
    optional={
        "name": st.just("images") | VALUES,
        "shape": st.just([1, 64, 96, 3]) | st.just([1]) | VALUES,
        "datatype": st.sampled_from(["FP32", "BYTES"]) | VALUES,
        "data": VALUES,
        "parameters": st.fixed_dictionaries({"binary_data_size": NUMBERS}) | VALUES,
    },
)
DOCUMENTS = st.fixed_dictionaries(
    {"inputs": st.lists(INPUTS, max_size=2) | VALUES},
    optional={"outputs": VALUES, "parameters": VALUES, "id": VALUES},
)
CUTS = st.tuples(st.integers(0, len(IMAGE)), st.binary(max_size=20), st.integers(0, len(IMAGE)))
IMAGES = CUTS.map(lambda cut: IMAGE[: cut[0]] + cut[1] + IMAGE[cut[2] :]) | st.binary(max_size=200)
LINES = st.sampled_from(
    [b"--XX\r\n", b"--XX--\r\n", b"\r\n", b'Content-Disposition: form-data; name="images"\r\n']
)
FORMS = st.lists(LINES | IMAGES, max_size=8).map(b"".join)
HEADER_TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30)
QUERIES = st.dictionaries(
    st.sampled_from(["conf", "iou", "max_boxes"]) | st.text(max_size=5),
    NUMBERS.map(str) | st.text(max_size=10),
    max_size=3,
)
METHODS = st.sampled_from(["GET", "POST", "PUT", "HEAD", "DELETE", "OPTIONS"])
PATHS = st.sampled_from(
    [
        *("/", "/predict", "/model", "/healthz", "/metrics", "/docs", "/openapi.json", "/v2"),
        *("/v2/health/live", "/v2/health/ready", "/v2/models/detector", "/v2/models/x/infer"),
    ]
) | st.text(max_size=20).map(lambda text: f"/{quote(text, safe='')}")


@pytest.fixture(scope="module")
def client():
    service = Service(make_network().network, ServingSettings(max_bytes=10**6), lambda _: None)
    service.start()
    with TestClient(create_app(service)) as client:
        yield client
        # Whatever came before, it still serves.
        assert labels_of(client.post("/predict", content=IMAGE).content) == [["红/red"]]
        assert client.get("/healthz").status_code == 200
    service.stop()


@pytest.fixture(
    params=[pytest.param(40, id="short"), pytest.param(10_000, marks=pytest.mark.slow, id="long")]
)
def fuzz(client, request):
    """Returns a function that checks the answers to random requests."""

    def run(send, **strategies):
        @settings(max_examples=request.param)
        @given(**strategies)
        def check(**values):
            answer = send(client, **values)
            assert answer.status_code in KNOWN_STATUS, answer.text
            assert answer.headers["x-request-id"]
            if answer.status_code != 200 and answer.request.method != "HEAD":
                assert list(answer.json()) == ["error"]

        check()

    return run


def test_images(fuzz):
    def send(client, body, query, kind):
        headers = {"Content-Type": kind}
        return client.post("/predict", content=body, params=query, headers=headers)

    fuzz(send, body=IMAGES, query=QUERIES, kind=st.just("image/png") | HEADER_TEXT)


def test_forms(fuzz):
    def send(client, body, ending):
        headers = {"Content-Type": f"multipart/form-data{ending}"}
        return client.post("/predict", content=body, headers=headers)

    fuzz(send, body=FORMS, ending=st.sampled_from(["; boundary=XX", "", "; boundary="]))


def test_inferences(fuzz):
    def send(client, document, binary, length):
        head = json.dumps(document).encode()
        length = str(len(head)) if length is None else length
        headers = {"Inference-Header-Content-Length": length}
        return client.post("/v2/models/detector/infer", content=head + binary, headers=headers)

    fuzz(
        send,
        document=DOCUMENTS | VALUES,
        binary=st.binary(max_size=50) | st.just(bytes(64 * 96 * 12)),
        length=st.none() | st.integers(-2, 10_000).map(str) | HEADER_TEXT,
    )


def test_other_paths(fuzz):
    def send(client, method, path, query, body):
        return client.request(method, path, params=query, content=body)

    fuzz(send, method=METHODS, path=PATHS, query=QUERIES, body=st.binary(max_size=20))
