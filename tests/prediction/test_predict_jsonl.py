import json
import os
import resource
import signal
from itertools import chain
from pathlib import Path

import filelock
import pytest

from tests.jobs import kill_job, read_records, save_images, save_run
from tests.media import save_image
from utils.inference import runner
from utils.inference.json_lines import JsonLines

JOB = ("pics", "--jsonl", "out.jsonl")
COUNT = 12


@pytest.fixture(autouse=True)
def job():
    """Writes twelve images, of which one is damaged, and the files of the run."""
    save_run()
    save_images(COUNT)
    path = Path("pics/5.png")
    path.write_bytes(path.read_bytes()[:60])


@pytest.fixture(scope="module")
def written():
    """The files of a job that nobody interrupts, by name; filled by the first test."""
    return {}


@pytest.fixture
def whole(run, written):
    """The bytes that a job writes that nobody interrupts."""
    if not written:
        assert run("pics", "--jsonl", "whole.jsonl")[0] == 1
        for path in Path().glob("whole.jsonl*"):
            written[path.name] = path.read_bytes()
            path.unlink()
    return written["whole.jsonl"]


@pytest.fixture
def signalled(monkeypatch):
    """Sends a signal to this process when the records of the 4th source are written."""

    def send(number):
        take = JsonLines.take

        def take_and_signal(self, frame):
            if frame.source.index == 3:
                os.kill(os.getpid(), number)
            take(self, frame)

        monkeypatch.setattr(JsonLines, "take", take_and_signal)
        return lambda: monkeypatch.setattr(JsonLines, "take", take)

    return send


@pytest.mark.parametrize("batch", [1, 5])
def test_records_are_those_of_json_and_one_bad_image_costs_one_record(run, batch):
    code, out, err = run(*JOB, "--batch-size", batch)
    assert (code, out) == (1, "out.jsonl: 12 sources\n")
    assert err.splitlines()[-1] == (
        "error: 1 of 12 sources could not be read completely, see the records with "
        '"error" in out.jsonl'
    )
    assert not Path("img_out").exists()
    records = read_records()
    assert [record.pop("index") for record in records] == list(range(COUNT))
    bad = records.pop(5)
    assert bad.keys() == {"source", "error"}
    assert bad["source"] == "pics/5.png"
    assert "damaged" in bad["error"]
    assert json.loads(run("pics", "--json")[1]) == records


def test_killed_job_loses_nothing_and_repeats_nothing(run, whole):
    kill_job(JOB, records=4)
    assert len(read_records()) == 4
    kill_job((*JOB, "--resume"), records=3, bytes_of_next=40)
    code, out, err = run(*JOB, "--resume", "--batch-size", 4)
    assert (code, out) == (1, "out.jsonl: 12 sources\n")
    assert "note: the last line of out.jsonl was not written completely, it is removed" in err
    assert Path("out.jsonl").read_bytes() == whole


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_the_job_after_an_image(run, whole, signalled, monkeypatch, number):
    reset = signalled(number)
    code, out, err = run(*JOB)
    assert (code, out) == (130, "")
    assert err.splitlines()[-2:] == [
        "note: 4 of 12 sources are in out.jsonl; to continue, run the same command with --resume",
        "interrupted",
    ]
    reset()
    decoded = []
    read = runner.read_image
    monkeypatch.setattr(runner, "read_image", lambda path: decoded.append(path.name) or read(path))
    assert run(*JOB, "--resume")[0] == 1
    assert sorted(decoded) == sorted(f"{i}.png" for i in range(4, COUNT))
    assert Path("out.jsonl").read_bytes() == whole


def test_resume_without_a_file_begins_and_after_the_end_does_nothing(run, whole):
    code, _, err = run(*JOB, "--resume")
    assert code == 1
    assert "note: no out.jsonl yet, beginning with the first source" in err
    code, out, err = run(*JOB, "--resume")
    assert (code, out, err.count("\n")) == (1, "out.jsonl: 12 sources\n", 1)
    assert Path("out.jsonl").read_bytes() == whole


def change_weights():
    Path("logs/newest/best.weights.h5").write_text("others")


def damage_line():
    lines = Path("out.jsonl").read_bytes().splitlines(keepends=True)
    lines[2] = b"\0" * 10 + lines[2][10:]
    Path("out.jsonl").write_bytes(b"".join(lines))


def swap_lines():
    lines = Path("out.jsonl").read_bytes().splitlines(keepends=True)
    Path("out.jsonl").write_bytes(b"".join(lines[::-1]))


@pytest.mark.parametrize(
    ("change", "flags", "words"),
    [
        (None, [], "out.jsonl already exists, continue it with --resume"),
        (None, ["--resume", "--conf", 0.4], "was begun with --conf 0.5, not 0.4"),
        (None, ["--resume", "--classes", "红/red"], "with --classes default, not 红/red"),
        (None, ["--resume", "--shard", "2/3"], "with --shard 1/1, not 2/3"),
        (lambda: save_image("pics/a.png"), ["--resume"], "with 12 sources, not 13"),
        (lambda: Path("pics/5.png").rename("pics/50.png"), ["--resume"], "with other sources"),
        (change_weights, ["--resume"], "was begun with another model"),
        (lambda: Path("out.jsonl.job.json").unlink(), ["--resume"], "without out.jsonl.job.json"),
        (lambda: Path("out.jsonl.job.json").write_text("{"), ["--resume"], "out.jsonl.job.json"),
        (lambda: Path("out.jsonl.job.json").write_text("{}"), ["--resume"], "of another version"),
        (damage_line, ["--resume"], "out.jsonl: line 3 is damaged"),
        (swap_lines, ["--resume"], "out.jsonl: line 1 is damaged"),
    ],
)
def test_files_of_other_jobs_are_refused_and_stay_as_they_are(
    run, whole, written, change, flags, words
):
    Path("out.jsonl").write_bytes(whole)
    Path("out.jsonl.job.json").write_bytes(written["whole.jsonl.job.json"])
    if change:
        change()
    before = Path("out.jsonl").read_bytes()
    code, out, err = run(*JOB, *flags)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert words in err
    assert Path("out.jsonl").read_bytes() == before


def test_file_that_another_process_writes_is_refused(run):
    with filelock.FileLock(".out.jsonl.lock"):
        code, _, err = run(*JOB)
    assert code == 2
    assert "out.jsonl is being written by another process" in err
    assert not Path("out.jsonl").exists()


def test_shards_are_the_whole(run, whole):
    for number in (3, 1, 2):
        run("pics", "--jsonl", f"{number}.jsonl", "--shard", f"{number}/3")
    parts = [read_records(f"{number}.jsonl") for number in (1, 2, 3)]
    assert [[record["index"] for record in part] for part in parts] == [
        [0, 3, 6, 9],
        [1, 4, 7, 10],
        [2, 5, 8, 11],
    ]
    records = sorted(chain(*parts), key=lambda record: record["index"])
    assert records == [json.loads(line) for line in whole.splitlines()]


def test_shard_without_sources_is_an_empty_file(run):
    code, out, _ = run("pics/1.png", "--jsonl", "out.jsonl", "--shard", "2/2")
    assert (code, out) == (0, "out.jsonl: 0 sources\n")
    assert read_records() == []


def test_only_source_of_a_job_has_an_error_record(run):
    assert run("pics/5.png", "--jsonl", "out.jsonl")[0] == 1
    assert [set(record) for record in read_records()] == [{"index", "source", "error"}]


def test_full_disk_leaves_complete_records(run, whole):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))  # ends within a record
    try:
        code, _, err = run(*JOB)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert code == 1
    assert err.splitlines()[-1].startswith("error: out.jsonl: file too large, ")
    lines = len(read_records())
    assert Path("out.jsonl").read_bytes() == b"".join(whole.splitlines(keepends=True)[:lines])
    assert f"note: {lines} of 12 sources are in out.jsonl" in err
    run(*JOB, "--resume")
    assert Path("out.jsonl").read_bytes() == whole


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--json"], "remove --json"),
        (["--crop"], "remove --crop"),
        (["--out", "there"], "remove --out"),
        (["--fps-test", 3], "remove --fps-test"),
        (["--shard", "0/3"], "'0/3' is not I/N"),
        (["--shard", "4/3"], "'4/3' is not I/N"),
        (["--shard", "all"], "'all' is not I/N"),
        (["--jsonl", "no/folder/out.jsonl"], "no folder no/folder for out.jsonl"),
        (["--jsonl", "pics"], "pics is not a regular file"),
    ],
)
def test_flags_that_do_not_fit_are_usage_errors(run, flags, words):
    code, out, err = run(*JOB, *flags)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert words in err
    assert not Path("out.jsonl").exists()


def test_live_source_cannot_be_continued(run):
    code, _, err = run("pics", "rtsp://cam.local/1", "--jsonl", "out.jsonl", "--resume")
    assert code == 2
    assert "rtsp://cam.local/1 is live and cannot be continued" in err


@pytest.mark.parametrize("flags", [["--resume"], ["--shard", "1/2"]])
def test_flags_of_jobs_need_a_file(run, flags):
    code, _, err = run("pics", *flags)
    assert code == 2
    assert f"{flags[0]} applies only to --jsonl" in err
