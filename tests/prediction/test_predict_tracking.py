import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest

import utils.run
from tests.media import file_names, read_video, save_image, save_video
from tests.scenes import HEIGHT, SIDE, WIDTH, SquareModel, save_scene
from utils.inference import runner
from utils.inference.video import VideoReader

DOWNWARDS = "160,20,160,172"  # in the middle; objects that move to the right go in


@pytest.fixture(autouse=True)
def model(monkeypatch):
    monkeypatch.setattr(utils.run, "load_run", lambda path: SquareModel())


@pytest.fixture
def track(run):
    """Tracks a video; returns the entries of the JSON document."""

    def call(*flags):
        code, out, err = run("v.mp4", "--track", "--json", *flags)
        assert code == 0, err
        return json.loads(out)

    return call


def right(y, x=20, speed=6):
    return lambda i: (x + speed * i, y)


def left(y, x=300, speed=6):
    return lambda i: (x - speed * i, y)


def ids_on(entries, path):
    """Returns the ids of the detections whose centre is close to a path, in order."""
    return [
        found["track_id"]
        for entry in entries
        for found in entry["detections"]
        if np.abs(np.reshape(found["box"], (2, 2)).mean(axis=0) - path(entry["frame"])).max() < 12
    ]


@pytest.mark.parametrize("every", [1, 2])
def test_ids_stay_with_objects_that_cross(track, every):
    paths = {"red": right(90), "yellow": left(105)}  # yellow hides two thirds of red
    save_scene("v.mp4", 47, paths)
    entries = track("--batch-size", 4, "--every", every)
    found = [ids_on(entries, path) for path in paths.values()]
    for first, *others in found:
        assert first is None  # one frame is not yet a track
        assert len(set(others)) == 1
        assert len(others) >= 40 // every
    assert {ids[1] for ids in found} == {1, 2}


@pytest.mark.parametrize("speed", [2, 4, 6])
def test_id_is_kept_behind_a_wall(track, speed):
    save_scene("v.mp4", 280 // speed, {"red": right(90, speed=speed)}, [(140, 0, 180, HEIGHT)])
    entries = track()
    hidden = sum(not entry["detections"] for entry in entries)
    assert 5 <= hidden < 25  # less than a second
    first, *others = [found["track_id"] for entry in entries for found in entry["detections"]]
    assert first is None
    assert set(others) == {1}


def test_weak_detections_only_continue_tracks(track):
    # 23 of 40 rows of red are visible, a score of 0.31, and so are those of blue behind its wall.
    walls = [(0, 30, WIDTH, 67), (200, 100, WIDTH, 137)]
    save_scene("v.mp4", 40, {"red": right(70), "blue": right(140)}, walls)
    entries = track("--conf", 0.5)
    found = [each for entry in entries for each in entry["detections"]]
    assert {each["label"] for each in found} == {"person"}
    assert {each["track_id"] for each in found[1:]} == {1}
    assert [len(entry["detections"]) for entry in entries] == [1] * 40
    assert entries[-1]["detections"][0]["score"] < 0.4


def test_crossings_are_counted_by_class_and_direction(track, run):
    paths = {"red": right(50, x=22), "yellow": right(100, x=12), "blue": left(145, x=298)}
    save_scene("v.mp4", 47, paths)
    entries = track("--count-line", DOWNWARDS)
    # Centres are at the line, x = 160, in frame 23 (red and blue) and between 24 and 25 (yellow).
    # They count when they are clear of it by a tenth of the box, 4 pixels: in frames 24 and 26.
    numbers = [entry["line_counts"] for entry in entries]
    assert numbers[23] == {"in": {}, "out": {}}
    assert numbers[24] == {"in": {"car": 1}, "out": {"person": 1}}
    assert numbers[25] == {"in": {"car": 1}, "out": {"person": 1}}
    assert numbers[26] == numbers[46] == {"in": {"car": 2}, "out": {"person": 1}}
    code, out, _ = run("v.mp4", "--track", "--count-line", DOWNWARDS)
    assert code == 0
    assert "  crossed the line: in: 2 car; out: 1 person\n" in out


def test_drawn_video_has_ids_trails_and_the_line(run):
    save_scene("v.mp4", 20, {"red": right(90)})
    assert run("v.mp4", "--out", "plain")[0] == 0
    assert run("v.mp4", "--track", "--out", "tracked")[0] == 0
    assert run("v.mp4", "--track", "--count-line", "300,10,300,180", "--out", "line")[0] == 0
    plain, tracked, line = (
        read_video(f"{folder}/v.mp4")[1][-1].astype(int) for folder in ("plain", "tracked", "line")
    )
    behind = np.s_[80:100, 30:100]  # where the square was; it ends at x = 134 +- 20
    assert np.abs(plain[behind] - 255).max() < 30
    assert (tracked[behind].min(axis=2) < 150).any(axis=0).mean() > 0.9  # a line
    label = np.s_[50:70, 100:200]
    assert np.abs(plain[label] - tracked[label]).max() > 100
    assert (np.abs(line[60:170, 300] - (255, 220, 0)).max(axis=1) < 120).mean() > 0.9


def test_a_camera_is_tracked_by_the_times_of_its_frames(run, monkeypatch):
    class Camera(VideoReader):
        """Is ten times slower than it claims; a square is not seen for 0.8 s, then for 1.6 s."""

        def __init__(self, address, every):
            self.fps, self.count = 25.0, None

        def __iter__(self):
            for i in range(12):
                image = np.full((HEIGHT, WIDTH, 3), 255, np.uint8)
                if i not in (4, 7, 8, 9):
                    image[70 : 70 + SIDE, 10 + 8 * i : 10 + 8 * i + SIDE] = (255, 0, 0)
                yield 0.4 * i, image

        def __exit__(self, *_):
            pass

    monkeypatch.setattr(runner, "VideoReader", Camera)
    code, out, _ = run("0", "--track", "--json")
    assert code == 0
    found = [entry["detections"] for entry in json.loads(out)]
    ids = [each[0]["track_id"] if each else "" for each in found]
    assert ids == [None, 1, 1, 1, "", 1, 1, "", "", "", None, 2]


def test_every_video_begins_with_id_one(run):
    save_video("v.mp4")
    for name in ("a.mp4", "b.mp4"):
        save_scene(name, 4, {"red": right(90)})
    code, out, _ = run("a.mp4", "b.mp4", "--track", "--save", "csv", "--json")
    assert code == 0
    ids = [entry["detections"][0]["track_id"] for entry in json.loads(out)]
    assert ids == [None, 1, 1, 1] * 2
    with Path("img_out/detections.csv").open(newline="", encoding="utf-8") as file:
        assert [row["track_id"] for row in csv.DictReader(file)] == ["", "1", "1", "1"] * 2


def test_without_track_there_are_no_ids(run):
    save_scene("v.mp4", 2, {"red": right(90)})
    (first, _) = json.loads(run("v.mp4", "--json")[1])
    assert set(first) == {"source", "width", "height", "detections", "frame"}
    assert set(first["detections"][0]) == {"label", "score", "box"}


@pytest.mark.parametrize("source", ["a.png", "pictures", "*.png"])
def test_still_images_cannot_be_tracked(run, source):
    save_image("a.png")
    save_image("pictures/b.png")
    code, out, err = run(source, "--track")
    assert (code, out) == (2, "")
    assert err.startswith("error: --track needs a video, camera or stream, but ")
    assert err.count("\n") == 1
    assert file_names(".") == ["a.png"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--count-line", "1,2,3,4"], "--count-line counts tracked objects, add --track"),
        (["--track", "--count-line", "1,2,3"], "'1,2,3' is not x1,y1,x2,y2 in pixels"),
        (["--track", "--count-line", "1,2,3,x"], "'1,2,3,x' is not x1,y1,x2,y2 in pixels"),
        (["--track", "--count-line", "5,5,5,5"], "'5,5,5,5' is a point, specify two different"),
        (["--track", "--count-line", "9,900,99,900"], "outside the video v.mp4 of 320x192 pixels"),
    ],
)
def test_a_wrong_line_is_one_clear_message(run, flags, message):
    save_scene("v.mp4", 2, {"red": right(90)})
    code, out, err = run("v.mp4", *flags)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


def test_video_that_the_line_misses_is_skipped(run):
    save_scene("v.mp4", 2, {"red": right(90)})
    save_video("small.mp4")
    code, out, err = run("small.mp4", "v.mp4", "--track", "--count-line", DOWNWARDS)
    assert code == 1
    words = "--count-line is outside the video small.mp4 of 96x64 pixels, move it inside"
    assert f"warning: {words}\n" in err
    assert err.splitlines()[-1] == "error: 1 of 2 sources could not be read, see above"
    assert "v.mp4 -> img_out/v.mp4, 2 frames\n" in out
    assert file_names() == ["v.mp4"]


@pytest.mark.parametrize("package", ["trackers", "supervision"])
def test_a_missing_package_is_named(run, monkeypatch, package):
    save_scene("v.mp4", 2, {"red": right(90)})
    for name in ("utils.inference.tracking", "utils.inference.full_box"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, package, None)
    code, out, err = run("v.mp4", "--track")
    assert (code, out) == (2, "")
    assert err == (
        f"error: --track needs {package}, which is not installed: "
        "pip install -r requirements-track.txt\n"
    )
