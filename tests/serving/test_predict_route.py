"""POST /predict, and the pages about the model."""

import gzip
import json

import cv2
import numpy as np
import pytest

from tests.red_finder import picture
from tests.served import BOX, encoded, labels_of, make_network
from utils.inference.detections import Detections
from utils.inference.draw import draw_boxes
from utils.serving.predict_task import prefers_picture
from utils.serving.settings import ServingSettings

ENTRY = {"label": "红/red", "score": 0.9, "box": [64.0, 32.0, 128.0, 96.0]}
JPEG = {"Accept": "image/jpeg"}


def test_answer_is_that_of_predict(client):
    answer = client.post("/predict", content=encoded())
    assert answer.status_code == 200
    assert answer.json() == [{"source": "body", "width": 192, "height": 128, "detections": [ENTRY]}]


def test_several_images_keep_their_order_and_names(client):
    boxes = [BOX, None, (0, 0, 64, 64)]
    files = [("images", (f"{i}.png", encoded(box=box))) for i, box in enumerate(boxes)]
    entries = client.post("/predict", files=files).json()
    assert [entry["source"] for entry in entries] == ["0.png", "1.png", "2.png"]
    found = [[each["box"] for each in entry["detections"]] for entry in entries]
    assert found == [[[64, 32, 128, 96]], [], [[0, 0, 64, 64]]]


@pytest.mark.parametrize(
    "kind", ["image/png", "application/octet-stream", "application/x-www-form-urlencoded"]
)
def test_content_types_of_one_image(client, kind):
    answer = client.post("/predict", content=encoded(), headers={"Content-Type": kind})
    assert labels_of(answer.content) == [["红/red"]]


def test_thresholds_of_a_request(client):
    def count(query):
        return len(client.post(f"/predict?{query}", content=encoded()).json()[0]["detections"])

    assert [count("conf=0.89&iou=1"), count("conf=0.91"), count("max_boxes=1")] == [1, 0, 1]


def test_model_that_suppresses_boxes_itself_limits_the_thresholds(serve):
    client = serve(make_network(nms=True).network)
    assert labels_of(client.post("/predict?conf=0.6", content=encoded()).content) == [["红/red"]]
    for query in ("conf=0.4", "iou=0.5", "max_boxes=101"):
        answer = client.post(f"/predict?{query}", content=encoded())
        assert answer.status_code == 400
        assert "suppresses boxes itself" in answer.json()["error"]


def test_picture_is_that_of_predict(client):
    answer = client.post("/predict", content=encoded(), headers=JPEG)
    assert answer.headers["content-type"] == "image/jpeg"
    found = cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_COLOR_RGB)
    one = Detections(np.float32([BOX]), np.float32([0.9]), np.int32([0]))
    drawn = draw_boxes(picture(128, 192, BOX), one, ["红/red"])
    assert np.abs(found.astype(int) - drawn).mean() < 3


def test_one_picture_per_request(client):
    files = [("images", ("a.png", encoded()))] * 2
    assert client.post("/predict", files=files, headers=JPEG).status_code == 400


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("*/*", False),
        ("image/jpeg", True),
        ("image/jpeg, */*", True),
        ("image/jpeg;q=0.5, application/json", False),
        ("image/jpeg;q=0", False),
        ("image/*", True),
        ("image/*, application/json", True),
        ("image/*;q=0.8, */*", False),
        ("image/jpeg;q=0, image/*", False),
        ("image/jpeg;q=x", False),
        ("text/html,image/avif,image/webp,*/*;q=0.8", False),
    ],
)
def test_accept(accept, expected):
    assert prefers_picture(accept) is expected


def test_compressed_body(client):
    for encoding, body in (("gzip", gzip.compress(encoded())), ("identity", encoded())):
        answer = client.post("/predict", content=body, headers={"Content-Encoding": encoding})
        assert labels_of(answer.content) == [["红/red"]]


def test_model_card(serve):
    card = serve(max_bytes=2**21).get("/model").json()
    assert card["classes"] == ["红/red"]
    assert card["input_size"] == [64, 96]
    assert card["thresholds"] == {"conf": 0.5, "iou": 0.3, "max_boxes": 100}
    assert (card["precision"], card["runtime"]) == ("float32", "red finder")
    assert card["limits"]["megabytes"] == 2


def test_docs_need_no_other_host(client):
    page = client.get("/docs")
    assert "POST /predict" in page.text and "conf" in page.text
    assert "http" not in page.text.replace("OpenAPI", "")
    assert "'none'" in page.headers["content-security-policy"]
    assert "/v2/models/{name}/infer" in client.get("/openapi.json").json()["paths"]
    assert 'href="./docs"' in client.get("/").text


def test_metrics(client):
    client.post("/predict", content=encoded())
    client.post("/predict", content=b"")
    text = client.get("/metrics").text
    assert 'swapyolo_requests_total{path="/predict",status="200"} 1.0' in text
    assert 'swapyolo_requests_total{path="/predict",status="400"} 1.0' in text
    assert 'swapyolo_request_seconds_count{path="/predict"} 2.0' in text
    assert 'swapyolo_rejections_total{cause="bad_request"} 1.0' in text
    assert 'swapyolo_batch_images_bucket{le="1.0"} 1.0' in text
    assert "swapyolo_queue_depth 0.0" in text


def test_paths_of_clients_are_no_labels(client):
    client.get("/secret/42")
    text = client.get("/metrics").text
    assert 'swapyolo_requests_total{path="other",status="404"} 1.0' in text
    assert "secret" not in text


def test_readiness_runs_the_network(serve):
    made, now = make_network(), [0.0]
    client = serve(made.network, lambda: now[0])
    for path in ("/healthz", "/v2/health/ready", "/v2/models/detector/ready"):
        before = made.sessions[1].runs
        assert client.get(path).status_code == 200
        assert made.sessions[1].runs == before + 1
        now[0] += 1.0


def test_probes_within_a_second_of_a_result_run_nothing(serve):
    made, now = make_network(), [0.0]
    client = serve(made.network, lambda: now[0])
    assert client.post("/predict", content=encoded()).status_code == 200
    for now[0], runs in ((0.5, 1), (1.0, 2), (1.5, 2), (2.0, 3)):
        assert client.get("/healthz").status_code == 200
        assert made.sessions[1].runs == runs


def test_errors_do_not_count_as_results(serve):
    made = make_network()
    client = serve(made.network, lambda: 0.0)
    made.sessions[1].run = lambda: {}  # without the outputs
    assert client.post("/predict", content=encoded()).status_code == 500
    assert [client.get("/healthz").status_code for _ in range(2)] == [500, 500]


def test_network_that_computes_nan_is_not_ready(serve):
    made = make_network()
    made.sessions[1].run = lambda: {
        "boxes": np.full((1, 378, 4), np.nan),
        "scores": np.zeros((1, 378, 1)),
    }
    client = serve(made.network)
    assert client.get("/healthz").status_code == 500
    answer = client.post("/predict", content=encoded())
    assert (answer.status_code, answer.json()) == (
        500,
        {"error": "the network computes NaN for body"},
    )


def test_settings_do_not_show_the_token():
    assert "secret" not in repr(ServingSettings(token="secret"))


def test_log_has_one_line_per_request_with_its_id(client, caplog):
    caplog.set_level("INFO", "swapyolo.serve")
    given = client.post("/predict", content=b"x", headers={"X-Request-Id": "abc-1"})
    made = client.get("/model", headers={"X-Request-Id": "two words\n"})
    assert given.headers["x-request-id"] == "abc-1"
    lines = [record.getMessage() for record in caplog.records if record.name == "swapyolo.serve"]
    assert len(lines) == 2
    assert "id=abc-1" in lines[0] and "POST /predict status=400" in lines[0]
    assert f"error={json.dumps(given.json()['error'])}" in lines[0]
    assert f"id={made.headers['x-request-id']}" in lines[1] and "error" not in lines[1]
