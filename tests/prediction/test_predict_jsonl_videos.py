import os
import signal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.jobs import read_records, save_run
from tests.media import save_image, save_video
from utils.inference.json_lines import JsonLines

JOB = ("v.mp4", "v.mp4", "a.png", "w.mp4", "--jsonl", "out.jsonl")


@pytest.fixture(autouse=True)
def media():
    save_run()
    save_image("a.png")
    save_video("v.mp4", count=3)
    save_video("w.mp4", count=4)


def positions(path="out.jsonl"):
    return [(record["index"], record.get("frame")) for record in read_records(path)]


EXPECTED = [
    *((0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (2, None)),
    *((3, 0), (3, 1), (3, 2), (3, 3)),
]


@pytest.mark.parametrize(("index", "frame"), [(0, 1), (1, 0), (1, 1), (3, 2), (3, 3)])
def test_resume_repeats_the_video_that_was_not_complete(run, monkeypatch, index, frame):
    take = JsonLines.take

    def take_and_signal(self, each):
        if (each.source.index, each.number) == (index, frame):
            os.kill(os.getpid(), signal.SIGTERM)
        take(self, each)

    with monkeypatch.context() as patch:
        patch.setattr(JsonLines, "take", take_and_signal)
        code, _, err = run(*JOB)
    assert code == 130
    assert f"note: {index} of 4 sources are in out.jsonl" in err
    assert positions() == EXPECTED[: EXPECTED.index((index, frame)) + 1]
    code, out, err = run(*JOB, "--resume")
    assert (code, out) == (0, "out.jsonl: 4 sources\n")
    assert f"{JOB[index]} is processed again from its first frame" in err
    assert positions() == EXPECTED


def test_complete_job_is_not_repeated(run, monkeypatch):
    assert run(*JOB)[0] == 0
    monkeypatch.setattr(JsonLines, "take", lambda *_: pytest.fail("a frame is processed"))
    assert run(*JOB, "--resume") == (0, "out.jsonl: 4 sources\n", "")
    assert positions() == EXPECTED


def test_video_that_ends_early_has_frames_and_an_error(run):
    noise = np.random.default_rng(0).integers(0, 255, (8, 40, 60, 3), np.uint8)
    first, *rest = map(Image.fromarray, noise)
    first.save("v.gif", save_all=True, append_images=rest)
    data = Path("v.gif").read_bytes()
    Path("v.gif").write_bytes(data[: len(data) // 2])
    code, _, err = run("v.gif", "--jsonl", "out.jsonl")
    assert code == 1
    assert "error: 1 of 1 source could not be read completely, see the records" in err
    *frames, last = read_records()
    assert 0 < len(frames) < 8
    assert [record["frame"] for record in frames] == list(range(len(frames)))
    assert last == {
        "index": 0,
        "source": "v.gif",
        "error": f"v.gif is damaged: only its first {len(frames)} frames could be read",
    }
    Path("out.jsonl.job.json").write_text(
        Path("out.jsonl.job.json").read_text().replace("true,", "false,", 1)
    )
    code, _, err = run("v.gif", "--jsonl", "out.jsonl", "--resume")
    assert (code, err.count("\n")) == (1, 1)
    assert read_records() == [*frames, last]
