"""Workers of a Ray job, called without Ray."""

import importlib.util
import json
import os
from dataclasses import asdict, replace
from pathlib import Path

import cv2
import pytest
from PIL import Image

from tests.fake_runtime import install
from tests.media import BOX, save_image
from tests.red_finder import picture
from utils.errors import JobError, UserError
from utils.inference.detections import NanError
from utils.inference.job import digest_files
from utils.inference.sources import find_sources
from utils.inference.thresholds import Thresholds
from utils.models import ModelSource
from utils.ray_jobs.part_file import MAX_DEATHS
from utils.ray_jobs.parts import PartList
from utils.ray_jobs.worker import Prediction, Worker, WorkerSettings, record_of

needs_pyarrow = pytest.mark.skipif(
    not importlib.util.find_spec("pyarrow"), reason="needs PyArrow: requirements-ray.txt"
)


class ResourceExhaustedError(Exception):
    """What TensorFlow raises if memory runs out."""


@pytest.fixture
def sessions(tmp_path, monkeypatch):
    """Writes a fake model in a new directory; returns the sessions that are opened."""
    monkeypatch.chdir(tmp_path)
    return install(monkeypatch, tmp_path / "m.onnx")


@pytest.fixture
def settings(sessions, tmp_path, monkeypatch):
    """Settings of a worker with the fake model."""
    for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        monkeypatch.setenv(name, "0")  # restored at the end
    Path("out").mkdir()
    model = ModelSource(model=Path("m.onnx"))
    digest = digest_files([Path("m.onnx")])
    return WorkerSettings(tmp_path, Path("out"), model, digest, Prediction(Thresholds(), 2))


@pytest.fixture
def part():
    """A part with an image, a damaged image and an animation of three frames."""
    save_image("pics/1.png")
    Path("pics/2.png").write_bytes(b"no image")
    first, *rest = (Image.fromarray(picture(64, 96, (8 * i, 16, 8 * i + 32, 48))) for i in range(3))
    first.save("pics/3.gif", save_all=True, append_images=rest)
    [part] = PartList(find_sources(["pics"]), ".jsonl")
    return part


def call(settings, part):
    return record_of(Worker(settings)(asdict(part)))


def test_part_has_the_records_of_its_sources(settings, part):
    record = call(settings, part)
    path = Path("out/part-0-2.jsonl")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(line["index"], line["source"], line.get("frame")) for line in lines] == [
        (0, "pics/1.png", None),
        (1, "pics/2.png", None),
        *((2, "pics/3.gif", i) for i in range(3)),
    ]
    assert lines[0]["detections"] == [
        {"label": "红/red", "score": 0.9, "box": [float(x) for x in BOX]}
    ]
    assert lines[1].keys() == {"index", "source", "error"}
    assert asdict(record) == {
        "part": "part-0-2.jsonl",
        "sources": 3,
        "records": 5,
        "errors": 1,
        "bytes": path.stat().st_size,
        "blake2b": digest_files([path]),
    }
    assert [*Path("out").iterdir()] == [path]


@needs_pyarrow
def test_rows_of_parquet_are_the_same_records(settings, part):
    from pyarrow import parquet

    call(settings, part)
    call(settings, replace(part, name="part-0-2.parquet"))
    rows = parquet.read_table("out/part-0-2.parquet").to_pylist()
    for row in rows:
        for found in row["detections"] or ():
            assert found.pop("track_id") is None
    given = [{key: value for key, value in row.items() if value is not None} for row in rows]
    lines = Path("out/part-0-2.jsonl").read_text().splitlines()
    assert given == [json.loads(line) for line in lines]


@needs_pyarrow
def test_name_that_is_not_utf8_is_escaped_in_parquet(settings):
    from pyarrow import parquet

    name = os.fsdecode(b"a\xff.png")
    save_image("a.png")
    Path("a.png").rename(name)
    [part] = PartList(find_sources([name]), ".parquet")
    call(settings, part)
    [row] = parquet.read_table(f"out/{part.name}").to_pylist()
    assert row["source"] == "a\\udcff.png"


def test_model_is_opened_once_and_with_one_thread(settings, part, sessions):
    worker = Worker(settings)
    worker.write(part)
    save_image("pics/2.png")
    assert worker.write(part).errors == 0
    [session] = sessions
    assert session.description == "red finder, 1 threads, auto"


def test_threads_of_opencv_stay_off(settings, part, monkeypatch):
    monkeypatch.setattr(cv2, "setNumThreads", lambda number: pytest.fail("see utils.data.images"))
    call(settings, part)


def test_model_of_another_machine_is_refused(settings, part):
    with pytest.raises(JobError, match=r"model m\.onnx on .* is not that of the job"):
        call(replace(settings, digest="0"), part)


def test_missing_model_is_an_error_of_the_user(settings, part):
    with pytest.raises(UserError, match=r"no model other\.onnx"):
        call(replace(settings, model=ModelSource(model=Path("other.onnx"))), part)


def test_folder_that_cannot_be_written_is_named(settings, part):
    with pytest.raises(JobError, match=r"gone/part-0-2\.jsonl: no such file or directory"):
        call(replace(settings, folder=Path("gone")), part)


def test_part_that_ends_many_workers_ends_the_job(settings, part):
    for i in range(MAX_DEATHS - 1):
        Path(f"out/.part.host.{i}.{part.name}").touch()
    assert call(settings, part).sources == 3
    Path(f"out/.part.other.7.{part.name}").touch()
    with pytest.raises(JobError, match=r"5 workers died while they worked on part-0-2\.jsonl"):
        call(settings, part)


def test_model_that_ends_many_workers_ends_the_job(settings, part, monkeypatch):
    opened = []

    def die(source):
        """Leaves what remains of a process that ends here."""
        [unfinished] = Path("out").glob(f".part.*.{os.getpid()}.{part.name}")
        unfinished.with_name(f".part.host.{len(opened)}.{part.name}").touch()
        opened.append(source)
        raise KeyboardInterrupt

    monkeypatch.setattr("utils.ray_jobs.worker.open_model", die)
    for _ in range(MAX_DEATHS):
        with pytest.raises(KeyboardInterrupt):
            call(settings, part)
    with pytest.raises(JobError, match=r"5 workers died while they worked on part-0-2\.jsonl"):
        call(settings, part)
    assert len(opened) == MAX_DEATHS


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (MemoryError("9 GiB"), MemoryError, "9 GiB"),
        (ResourceExhaustedError("OOM when allocating tensor"), MemoryError, ""),
        (NanError(1), JobError, "the network computes NaN for image 1 of a batch"),
        (OSError("library"), JobError, "OSError: library"),
        (ValueError("\nfirst\nsecond"), JobError, "ValueError: first"),
    ],
)
def test_error_is_raised_again_in_the_job(settings, part, monkeypatch, error, kind, text):
    def fail(source):
        raise error

    monkeypatch.setattr("utils.ray_jobs.worker.open_model", fail)
    with pytest.raises(kind) as caught:
        call(settings, part)
    assert (type(caught.value), str(caught.value)) == (kind, text)
    [trace] = caught.value.__notes__
    assert "in fail\n" in trace
