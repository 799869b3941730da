"""predict.py --workers ray, on a local cluster of Ray."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

from tests.brightness_model import record_of, write_grey_images, write_model
from tests.jobs import read_records
from tests.media import save_image
from tests.ray_driver import needs_ray, read_parts
from utils.ray_jobs.manifest import NAME

COUNT = 100
BAD = 40
JOB = ("pics", "--model", "m.onnx", "--jsonl")
# 127.0.0.1 as in /proc/net/tcp, and as an address of IPv6 in /proc/net/tcp6.
LOOPBACK = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}

needs_proc = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture
def job(tmp_path):
    """Writes the model and 100 images, of which one is damaged; returns their records."""
    write_model("m.onnx")
    write_grey_images(Path("pics"), COUNT)
    path = Path(f"pics/{BAD}.png")
    path.write_bytes(path.read_bytes()[:60])
    return [record_of(i) for i in range(COUNT) if i != BAD]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--workers", "ray"], "--workers applies only to --jsonl FILE"),
        (["--jsonl", "out", "--ray-address", "auto"], "--ray-address applies only to --workers"),
        (["--jsonl", "out", "--workers", "spark"], "unknown value 'spark', did you mean ray?"),
        (["--jsonl", "out.parquet"], "out.parquet would have lines of JSON: add --workers ray"),
    ],
)
def test_flags_that_do_not_fit_are_usage_errors(run, tmp_path, flags, words):
    save_image("pics/0.png")
    code, out, err = run("pics", *flags)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert words in err
    assert [path.name for path in tmp_path.iterdir()] == ["pics"]


def test_missing_ray_is_reported_before_the_model_is_opened(run, monkeypatch):
    save_image("pics/0.png")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    code, _, err = run("pics", "--model", "m.onnx", "--jsonl", "out", "--workers", "ray")
    assert (code, err) == (
        2,
        "error: --workers ray needs ray, which is not installed: "
        "pip install -r requirements-ray.txt\n",
    )


def test_live_source_cannot_be_divided(run, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    code, _, err = run("rtsp://cam.local/1", "--jsonl", "out", "--workers", "ray")
    assert code == 2
    assert "rtsp://cam.local/1 is live and cannot be given to one of many" in err


@needs_ray
@needs_proc
def test_worker_that_dies_loses_nothing_and_repeats_nothing(run, job, start_job, tmp_path):
    driver = start_job(*JOB, "out", "--workers", "ray", cwd=tmp_path, folder="out")
    assert driver.kill_worker()
    addresses = driver.listening()
    code, out, err = driver.end()
    assert (code, out) == (1, "out: 100 sources\n")
    assert err == (
        "note: workers died 1 time, others have written their parts\n"
        "error: 1 of 100 sources could not be read completely, see the records with "
        '"error" in out\n'
    )
    assert addresses
    assert addresses <= LOOPBACK
    records = read_parts("out")
    assert [record["index"] for record in records] == list(range(COUNT))
    assert "damaged" in records.pop(BAD)["error"]
    assert records == job

    run(*JOB, "one.jsonl")
    parts = sorted(Path("out").glob("part-*"))
    assert b"".join(path.read_bytes() for path in parts) == Path("one.jsonl").read_bytes()
    manifest = read_records(Path("out", NAME))
    assert {each["part"]: each["sources"] for each in manifest} == {
        "part-00-31.jsonl": 32,
        "part-32-63.jsonl": 32,
        "part-64-95.jsonl": 32,
        "part-96-99.jsonl": 4,
    }
    assert {path.name for path in Path("out").iterdir()} == {NAME, *(path.name for path in parts)}
    assert json.loads(Path("out.job.json").read_text())["complete"]
