"""Kills workers and drivers of Ray jobs at random moments. Takes minutes."""

import random
import sys
import time
from pathlib import Path

import pytest

from tests.brightness_model import record_of, write_grey_images, write_model
from tests.jobs import read_records
from tests.ray_driver import needs_ray, read_parts, running
from utils.ray_jobs.manifest import NAME

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    needs_ray,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]

COUNT = 640
PARTS = 20
KILLS = 6
TIMEOUT = 1500  # seconds for a job
# Until the processes of a killed driver have ended; two agents of Ray end last.
GRACE = 300  # seconds


@pytest.fixture
def start(start_job, tmp_path):
    """Writes the model and images; returns a function that starts a job."""
    write_model("m.onnx")
    write_grey_images(Path("pics"), COUNT)
    flags = ("pics", "--model", "m.onnx", "--workers", "ray", "--batch-size", "4")

    def call(out, *more):
        more = ("--jsonl", out, *more)
        return start_job(*flags, *more, cwd=tmp_path, folder=out, timeout=TIMEOUT)

    return call


def records_of(folder):
    paths = sorted(Path(folder).glob("part-*"))
    assert {path.name for path in Path(folder).iterdir()} == {NAME, *(path.name for path in paths)}
    assert len(paths) == PARTS
    if folder.endswith(".parquet"):
        from pyarrow import parquet

        rows = [row for path in paths for row in parquet.read_table(path).to_pylist()]
        for row in rows:
            for found in row["detections"]:
                del found["track_id"]
        return [{key: row[key] for key in record_of(0)} for row in rows]
    return read_parts(folder)


def wait_for_end(pids):
    end = time.monotonic() + GRACE
    while alive := pids & running().keys():
        names = [Path(f"/proc/{pid}/cmdline").read_text() for pid in alive]
        assert time.monotonic() < end, names
        time.sleep(0.1)


@pytest.mark.parametrize("out", ["out", "out.parquet"])
def test_workers_that_die_lose_nothing_and_repeat_nothing(start, out):
    random.seed(7)
    driver = start(out)
    moments = sorted(random.sample(range(PARTS - 4), KILLS))
    assert all(driver.kill_worker(after) for after in moments)
    code, text, _ = driver.end()
    assert (code, text) == (0, f"{out}: {COUNT} sources\n")
    assert records_of(out) == [record_of(i) for i in range(COUNT)]
    names = [each["part"] for each in read_records(Path(out, NAME))]
    assert len(names) == len({*names}) == PARTS


@pytest.mark.parametrize("is_killed", [True, False])
def test_driver_that_ends_leaves_no_process_and_continues(start, is_killed):
    done = []
    for more in ([], ["--resume"]):
        driver = start("out", *more)
        assert driver.kill_worker(after=len(done) + 3)
        driver.wait_for_part()
        pids = driver.processes()
        if is_killed:
            driver.kill()
        else:
            driver.terminate()
            code, out, err = driver.end()
            assert (code, out) == (130, "")
            assert "sources are in out; to continue, run the same command with --resume" in err
        wait_for_end(pids)
        before, done = done, [each["part"] for each in read_records(Path("out", NAME))]
        assert done[: len(before)] == before
        assert len(before) < len(done) < PARTS
    assert start("out", "--resume").end()[:2] == (0, f"out: {COUNT} sources\n")
    assert records_of("out") == [record_of(i) for i in range(COUNT)]
    names = [each["part"] for each in read_records(Path("out", NAME))]
    assert names[: len(done)] == done
    assert len(names) == len({*names}) == PARTS
