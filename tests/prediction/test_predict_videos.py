import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.media import BOX, file_names, read_video, save_image, save_video
from tests.red_finder import picture
from utils.data.images import read_image
from utils.inference import frames, runner, window
from utils.inference.video import VideoReader


class Camera(VideoReader):
    """Yields three frames at intervals of half a second; then the user presses Ctrl-C."""

    def __init__(self, address, every):
        self.fps, self.count = 10.0, None

    def __iter__(self):
        for i in range(3):
            yield i / 2, picture(64, 96, BOX)
        raise KeyboardInterrupt

    def __exit__(self, *_):
        pass


def test_json_has_an_entry_per_frame(run):
    save_video("v.mp4", count=5)
    code, out, _ = run("v.mp4", "--json", "--batch-size", 2)
    entries = json.loads(out)
    assert code == 0
    assert [entry["frame"] for entry in entries] == [0, 1, 2, 3, 4]
    left = [entry["detections"][0]["box"][0] for entry in entries]
    np.testing.assert_allclose(left, [0, 8, 16, 24, 32], atol=2)


@pytest.mark.parametrize(("size", "stored"), [((64, 96), (64, 96)), ((37, 51), (38, 52))])
def test_video_keeps_its_frames_rate_and_size(run, size, stored):
    first, *rest = (Image.fromarray(picture(*size, (i, i, 20, 20))) for i in range(7))
    # OpenCV cannot write videos of odd sizes.
    first.save("v.gif", save_all=True, append_images=rest, duration=80)
    code, out, _ = run("v.gif", "--batch-size", 3)
    assert (code, out) == (0, "v.gif -> img_out/v.mp4, 7 frames\n")
    fps, images = read_video("img_out/v.mp4")
    assert fps == pytest.approx(12.5)
    assert len(images) == 7
    assert images[0].shape == (*stored, 3)
    assert file_names() == ["v.mp4"]


def test_each_frame_has_its_own_detections_drawn_in(run, monkeypatch):
    def draw(image, detections, classes):
        return np.full_like(image, 4 * detections.boxes[0, 0])

    monkeypatch.setattr(frames, "draw_boxes", draw)
    save_video("v.mp4")
    assert run("v.mp4", "--batch-size", 3)[0] == 0
    levels = [image.mean() for image in read_video("img_out/v.mp4")[1]]
    np.testing.assert_allclose(levels, [0, 32, 64, 96, 128, 160, 192], atol=9)


def test_heatmaps_are_written_beside_images_and_videos(run):
    save_image("a.jpg")
    save_video("v.mp4", count=3)
    assert run("a.jpg", "v.mp4", "--heatmap")[0] == 0
    assert file_names() == ["a.jpg", "a_heatmap.jpg", "v.mp4", "v_heatmap.mp4"]
    assert read_image(Path("img_out/a_heatmap.jpg")).shape == (64, 96, 3)
    assert len(read_video("img_out/v_heatmap.mp4")[1]) == 3


def test_truncated_video_is_reported(run, monkeypatch):
    class Truncated(VideoReader):
        def __init__(self, address, every):
            super().__init__(address, every)
            self.count = 70

    save_video("v.mp4", count=7)
    monkeypatch.setattr(runner, "VideoReader", Truncated)
    code, out, err = run("v.mp4")
    assert code == 1
    assert "7 frames" in out
    assert "should have 70 frames, 7 could be read" in err
    assert err.splitlines()[-1] == "error: 1 of 1 sources ended early, see above"
    assert len(read_video("img_out/v.mp4")[1]) == 7


def test_video_without_frames_is_an_input_error(run, monkeypatch):
    monkeypatch.setattr(Camera, "__iter__", lambda self: iter([]))
    monkeypatch.setattr(runner, "VideoReader", Camera)
    code, out, err = run("0")
    assert (code, out) == (2, "")
    assert "error: 0 has no frame that can be read" in err
    assert file_names() == []


def test_ctrl_c_closes_a_camera_and_keeps_its_video(run, monkeypatch):
    monkeypatch.setattr(runner, "VideoReader", Camera)
    code, out, _ = run("0", "--json")
    assert code == 0
    assert len(json.loads(out)) == 3
    fps, images = read_video("img_out/camera0.mp4")
    assert fps == 10
    assert len(images) == 11  # the first frame, and one second


def test_a_camera_that_is_unplugged_draws_a_warning(run, monkeypatch):
    class Unplugged(Camera):
        def __iter__(self):
            yield 0.0, picture(64, 96, BOX)

    monkeypatch.setattr(runner, "VideoReader", Unplugged)
    code, out, err = run("0")
    assert (code, out) == (0, "0 -> img_out/camera0.mp4, 1 frame\n")
    assert "warning: 0 gives no more frames" in err


def test_ctrl_c_during_a_file_leaves_no_half_video(run, monkeypatch):
    class Endless(Camera):
        def __init__(self, address, every):
            self.fps, self.count = 10.0, 3000

    Path("v.mp4").touch()
    monkeypatch.setattr(runner, "VideoReader", Endless)
    assert run("v.mp4")[0] == 130
    assert list(Path("img_out").iterdir()) == []


@pytest.fixture
def press(monkeypatch):
    """Replaces the window by one in which these keys are pressed, one per picture."""

    def start(*keys):
        keys = iter(keys)
        monkeypatch.setenv("DISPLAY", ":0")
        monkeypatch.setattr(window.cv2, "imshow", lambda name, picture: None)
        monkeypatch.setattr(window.cv2, "waitKey", lambda milliseconds: ord(next(keys)))

    return start


def test_q_in_the_window_ends_a_video_and_keeps_it(run, press):
    save_video("v.mp4")
    save_image("a.png")
    press(" ", "q", " ")
    code, out, err = run("v.mp4", "a.png", "--show")
    assert code == 0
    assert "v.mp4 -> img_out/v.mp4, 2 frames" in out
    assert "could be read" not in err
    assert len(read_video("img_out/v.mp4")[1]) == 2
    assert "a.png -> img_out/a.png" in out


def test_q_in_the_window_of_an_image_ends_the_run(run, press):
    save_image("a.png")
    save_image("b.png")
    press("q")
    assert run("a.png", "b.png", "--show")[0] == 130
    assert file_names() == ["a.png"]
