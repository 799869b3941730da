import errno
import io
import json
import sys
from pathlib import Path

import pytest

from tests.media import file_names, save_image, save_video
from tests.terminal import Terminal


def test_confidence_decides_what_is_found(run):
    save_image("a.png")
    _, out, err = run("a.png", "--conf", 0.95)
    assert "red" not in out
    assert "a lower --conf" in err
    assert "--conf" not in run("a.png", "--conf", 0.85)[2]


@pytest.mark.parametrize(
    ("flags", "expected"),
    [((), (0.5, 0.3, 100)), (("--conf", 0.4, "--iou", 0.2, "--max-boxes", 7), (0.4, 0.2, 7))],
)
def test_flags_reach_the_network(run, detector, flags, expected):
    save_image("a.png")
    run("a.png", *flags)
    assert detector.settings == expected


@pytest.mark.parametrize("name", ["a.png", "a.mp4"])
def test_broken_source_alone_is_an_input_error(run, name):
    Path(name).write_bytes(b"neither image nor video")
    code, out, err = run(name)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert err.startswith("error: ")
    assert name in err


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["missing.png"], "missing.png"),
        (["missing/*.png"], "missing"),
        (["a.png", "--conf", "1.5"], "'1.5' is not a number from 0 to 1"),
        (["a.png", "--iou", "much"], "much"),
        (["a.png", "--max-boxes", "0"], "'0' is not an integer from 1 to 100,000"),
        (["a.png", "--heatmaps"], "--heatmap"),
        (["a.png", "--out", "a.png"], "a.png"),
        (["v.mp4", "--fps-test", "3"], "image"),
    ],
)
def test_usage_errors_are_one_line(run, flags, words):
    save_image("a.png")
    save_video("v.mp4", count=1)
    code, out, err = run(*flags)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert words in err


def test_full_disk_is_one_line_that_names_the_file(run, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    save_image("a.png")
    monkeypatch.setattr(Path, "write_bytes", full)
    code, _, err = run("a.png")
    assert code == 1
    assert err.startswith("error: img_out/a.png: no space left")
    assert file_names() == []


def test_show_without_a_display_is_a_usage_error(run, monkeypatch):
    save_image("a.png")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    code, _, err = run("a.png", "--show")
    assert code == 2
    assert "display" in err


def test_names_are_read_from_the_terminal_until_an_empty_line(run, monkeypatch):
    save_image("a.png")
    save_image("b.png")
    answers = f"a.png\nmissing.png\n{'long' * 100}.png\nb.png\n\nnever.png\n"
    monkeypatch.setattr(sys, "stdin", Terminal(answers))
    code, out, err = run()
    assert code == 0
    assert err.count("Input image filename:") == 5
    assert "error: no file or folder missing.png" in err
    assert "file name too long" in err
    assert [line for line in out.splitlines() if "->" in line] == [
        "a.png -> img_out/a.png",
        "b.png -> img_out/b.png",
    ]


def test_names_are_read_from_the_terminal_until_its_input_ends(run, monkeypatch):
    monkeypatch.setattr(sys, "stdin", Terminal("missing.png"))
    assert run()[0] == 0


def test_no_source_and_no_terminal_is_a_usage_error(run, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("a.png\n"))
    code, _, err = run()
    assert code == 2
    assert "SOURCE" in err


def test_fps_test_prints_times_and_writes_nothing(run):
    save_image("a.png")
    code, out, _ = run("a.png", "--fps-test", 2)
    assert code == 0
    assert out.count(" ms ") == 2
    code, out, _ = run("a.png", "--fps-test", 2, "--json")
    figures = json.loads(out)
    assert figures["runs"] == 2
    assert figures["network_ms"] > 0
    assert figures["end_to_end_ms"] > 0
    assert not Path("img_out").exists()
