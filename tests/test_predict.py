import errno
import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import predict
import utils.run
from tests.red_finder import RedFinder, picture
from utils import cli
from utils.data.images import read_image
from utils.files import write_image
from utils.inference import runner
from utils.inference.video import VideoReader, VideoWriter

BOX = (32, 16, 64, 48)


@pytest.fixture(autouse=True)
def workplace(tmp_path, monkeypatch):
    """A directory with a run in it whose detector is the stand-in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # `cli.run` sets it
    config = SimpleNamespace(resize="letterbox")
    trained = utils.run.Run(Path("logs/newest"), config, ["红/red"], None, RedFinder())
    monkeypatch.setattr(utils.run, "newest_run", lambda: Path("logs/newest"))
    monkeypatch.setattr(utils.run, "load_run", lambda path: trained)
    return tmp_path


@pytest.fixture
def run(capsys):
    """Runs predict.py: exit code, standard output, standard error."""

    def call(*flags):
        try:
            cli.run(predict.main, predict.build_parser(), [str(flag) for flag in flags])
            code = 0
        except SystemExit as stop:
            code = stop.code
        return code, *capsys.readouterr()

    return call


def save(path, size=(64, 96), box=BOX):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    write_image(Path(path), picture(*size, box))


def save_video(path, count=7, size=(64, 96)):
    with VideoWriter(Path(path), 12.5) as video:
        for i in range(count):
            video.write(picture(*size, (8 * i, 16, 8 * i + 32, 48)))


def files(folder="img_out"):
    return sorted(path.name for path in Path(folder).iterdir() if path.is_file())


def frames(path):
    with VideoReader(str(path)) as video:
        return video.fps, [image for _, image in video]


def test_an_image_is_written_with_its_detections(run):
    save("照片.png")
    code, out, _ = run("照片.png")
    assert code == 0
    assert out.splitlines() == ["照片.png -> img_out/照片.png", "  红/red 0.90 [32 16 64 48]"]
    drawn, original = read_image(Path("img_out/照片.png")), read_image(Path("照片.png"))
    assert drawn.shape == original.shape
    assert (drawn != original).any()
    assert (drawn[22:44, 38:58] == original[22:44, 38:58]).all()


def test_json_is_the_contracts_and_all_there_is_on_standard_output(run):
    save("a.png", (128, 192), (64, 32, 128, 96))
    save("b.png", box=None)
    code, out, _ = run("a.png", "b.png", "--json", "--count", "--batch-size", 2)
    assert code == 0
    found = {"label": "红/red", "score": 0.9, "box": [64, 32, 128, 96]}
    assert json.loads(out) == [
        {"source": "a.png", "width": 192, "height": 128, "detections": [found]},
        {"source": "b.png", "width": 96, "height": 64, "detections": []},
    ]


def test_json_of_a_video_has_an_entry_a_frame(run):
    save_video("v.mp4", count=5)
    code, out, _ = run("v.mp4", "--json", "--batch-size", 2)
    entries = json.loads(out)
    assert code == 0
    assert [entry["frame"] for entry in entries] == [0, 1, 2, 3, 4]
    left = [entry["detections"][0]["box"][0] for entry in entries]
    np.testing.assert_allclose(left, [0, 8, 16, 24, 32], atol=2)


@pytest.mark.parametrize(("size", "stored"), [((64, 96), (64, 96)), ((37, 51), (38, 52))])
def test_a_video_keeps_every_frame_its_rate_and_its_size(run, size, stored):
    first, *rest = (Image.fromarray(picture(*size, (i, i, 20, 20))) for i in range(7))
    first.save("v.gif", save_all=True, append_images=rest, duration=80)  # OpenCV cannot make odd
    code, out, _ = run("v.gif", "--batch-size", 3)
    assert (code, out) == (0, "v.gif -> img_out/v.mp4, 7 frames\n")
    fps, images = frames("img_out/v.mp4")
    assert fps == pytest.approx(12.5)
    assert len(images) == 7
    assert images[0].shape == (*stored, 3)
    assert files() == ["v.mp4"]


def test_a_video_has_the_detections_of_each_frame_drawn_in(run, monkeypatch):
    def draw(image, found, classes):
        return np.full_like(image, 4 * found.boxes[0, 0])

    monkeypatch.setattr(runner, "draw_boxes", draw)
    save_video("v.mp4")
    assert run("v.mp4", "--batch-size", 3)[0] == 0
    levels = [image.mean() for image in frames("img_out/v.mp4")[1]]
    np.testing.assert_allclose(levels, [0, 32, 64, 96, 128, 160, 192], atol=9)


def test_results_of_the_same_name_are_all_kept(run):
    for path in ("a.jpg", "a.png", "one/a.jpg", "two/a.jpg"):
        save(path)
    save_video("a.mp4", count=2)
    code, out, _ = run("a.jpg", "a.png", "one", "two/*", "a.mp4", "a.jpg")
    assert code == 0
    assert files() == ["a-2.jpg", "a-3.jpg", "a-4.jpg", "a.jpg", "a.mp4", "a.png"]
    assert all(f"img_out/{name}" in out for name in files())


def test_sources_are_never_written_over(run):
    save("photos/a.png")
    save_video("photos/v.mp4", count=2)
    before = {name: Path("photos", name).read_bytes() for name in files("photos")}
    assert run("photos", "--out", "photos")[0] == 0
    assert files("photos") == ["a-2.png", "a.png", "v-2.mp4", "v.mp4"]
    assert all(Path("photos", name).read_bytes() == data for name, data in before.items())


def test_crops_hold_the_objects_pixels_and_stay_when_run_again(run):
    save("a.png")
    save_video("v.mp4", count=2)
    for _ in range(2):
        assert run("a.png", "v.mp4", "--crop")[0] == 0
    assert files("img_out/img_crop") == [
        *("a_红_red-2.png", "a_红_red.png", "v_000000_红_red-2.png", "v_000000_红_red.png"),
        *("v_000001_红_red-2.png", "v_000001_红_red.png"),
    ]
    crop = read_image(Path("img_out/img_crop/a_红_red.png"))
    assert (crop == picture(32, 32, (0, 0, 32, 32))).all()


def test_counts_are_printed_for_images_videos_and_all(run):
    save("a.png")
    save("b.png", box=None)
    save_video("v.mp4", count=2)
    _, out, _ = run("a.png", "b.png", "v.mp4", "--count")
    lines = [line for line in out.splitlines() if "->" not in line and "[" not in line]
    assert lines == [
        "  1 红/red",
        "  nothing",
        "  at most in one frame: 1 红/red",
        "in all images: 1 红/red",
    ]


def test_heatmaps_are_written_beside_images_and_videos(run):
    save("a.jpg")
    save_video("v.mp4", count=3)
    assert run("a.jpg", "v.mp4", "--heatmap")[0] == 0
    assert files() == ["a.jpg", "a_heatmap.jpg", "v.mp4", "v_heatmap.mp4"]
    assert read_image(Path("img_out/a_heatmap.jpg")).shape == (64, 96, 3)
    assert len(frames("img_out/v_heatmap.mp4")[1]) == 3


def test_formats_that_are_not_written_become_png(run):
    save("a.png")
    Path("a.png").rename("a.picture")
    assert run("a.picture")[0] == 0
    assert files() == ["a.png"]


def test_the_confidence_decides_what_is_found(run):
    save("a.png")
    _, out, err = run("a.png", "--conf", 0.95)
    assert "red" not in out
    assert "a lower --conf" in err
    assert "--conf" not in run("a.png", "--conf", 0.85)[2]


@pytest.mark.parametrize(
    ("flags", "expected"),
    [((), (0.5, 0.3, 100)), (("--conf", 0.4, "--iou", 0.2, "--max-boxes", 7), (0.4, 0.2, 7))],
)
def test_flags_reach_the_network(run, flags, expected):
    save("a.png")
    run("a.png", *flags)
    assert utils.run.load_run("any").detector.settings == expected


def test_a_broken_source_among_others_is_named_and_passed_over(run):
    save("photos/a.png")
    save("photos/c.png")
    Path("photos/b.png").write_bytes(Path("photos/a.png").read_bytes()[:60])
    Path("photos/d.mp4").write_bytes(b"no video")
    code, out, err = run("photos", "--json")
    assert code == 1
    assert [entry["source"] for entry in json.loads(out)] == ["photos/a.png", "photos/c.png"]
    assert "photos/b.png" in err
    assert "photos/d.mp4" in err
    assert err.splitlines()[-1] == "error: 2 of 4 sources could not be read, see above"
    assert files() == ["a.png", "c.png"]


@pytest.mark.parametrize("name", ["a.png", "a.mp4"])
def test_a_broken_source_alone_is_an_input_error(run, name):
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
        (["a.png", "--conf", "1.5"], "1.5 is not between 0 and 1"),
        (["a.png", "--iou", "much"], "much"),
        (["a.png", "--max-boxes", "0"], "0 is less than 1"),
        (["a.png", "--heatmaps"], "--heatmap"),
        (["a.png", "--out", "a.png"], "a.png"),
        (["v.mp4", "--fps-test", "3"], "image"),
    ],
)
def test_usage_errors_are_one_line(run, flags, words):
    save("a.png")
    save_video("v.mp4", count=1)
    code, out, err = run(*flags)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert words in err


def test_a_full_disk_is_one_line_that_names_the_file(run, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    save("a.png")
    monkeypatch.setattr(Path, "write_bytes", full)
    code, _, err = run("a.png")
    assert code == 2
    assert err.startswith("error: img_out/a.png: no space left")
    assert files() == []


def test_no_window_is_tried_without_a_display(run, monkeypatch):
    save("a.png")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    code, _, err = run("a.png", "--show")
    assert code == 2
    assert "display" in err


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_without_a_source_a_terminal_is_asked_until_an_empty_line(run, monkeypatch):
    save("a.png")
    save("b.png")
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


def test_without_a_source_the_end_of_a_terminals_input_ends(run, monkeypatch):
    monkeypatch.setattr(sys, "stdin", Terminal("missing.png"))
    assert run()[0] == 0


def test_without_a_source_and_without_a_terminal_it_is_a_usage_error(run, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("a.png\n"))
    code, _, err = run()
    assert code == 2
    assert "SOURCE" in err


class Camera(VideoReader):
    """Gives three frames, half a second apart, and then someone presses Ctrl-C."""

    def __init__(self, address):
        self.fps, self.count = 10.0, None

    def __iter__(self):
        for i in range(3):
            yield i / 2, picture(64, 96, BOX)
        raise KeyboardInterrupt

    def __exit__(self, *_):
        pass


def test_ctrl_c_closes_a_camera_and_keeps_its_video(run, monkeypatch):
    monkeypatch.setattr(runner, "VideoReader", Camera)
    code, out, _ = run("0", "--json")
    assert code == 0
    assert len(json.loads(out)) == 3
    fps, images = frames("img_out/camera0.mp4")
    assert fps == 10
    assert len(images) == 11  # one second, and the frame it began with


def test_ctrl_c_during_a_file_leaves_nothing_half_done(run, monkeypatch):
    class Endless(Camera):
        def __init__(self, address):
            self.fps, self.count = 10.0, 3000

    Path("v.mp4").touch()
    monkeypatch.setattr(runner, "VideoReader", Endless)
    assert run("v.mp4")[0] == 130
    assert list(Path("img_out").iterdir()) == []


def test_a_video_that_is_cut_short_is_said(run, monkeypatch):
    class Short(VideoReader):
        def __init__(self, address):
            super().__init__(address)
            self.count = 70

    save_video("v.mp4", count=7)
    monkeypatch.setattr(runner, "VideoReader", Short)
    code, out, err = run("v.mp4")
    assert code == 0
    assert "7 frames" in out
    assert "claims 70 frames, 7 could be read" in err


def test_fps_test_times_and_writes_nothing(run):
    save("a.png")
    code, out, _ = run("a.png", "--fps-test", 2)
    assert code == 0
    assert out.count(" ms ") == 2
    code, out, _ = run("a.png", "--fps-test", 2, "--json")
    figures = json.loads(out)
    assert figures["runs"] == 2
    assert figures["network_ms"] > 0
    assert figures["end_to_end_ms"] > 0
    assert not Path("img_out").exists()
