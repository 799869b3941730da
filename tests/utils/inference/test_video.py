import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from utils.errors import JobError, UserError
from utils.inference.video import VideoReader, VideoWriter


def frames(count, height, width):
    """Makes frames, of which frame i has the grey level 10 i."""
    return [np.full((height, width, 3), 10 * i, np.uint8) for i in range(count)]


def write(path, images, fps=12.5):
    with VideoWriter(path, fps) as video:
        for image in images:
            video.write(image)


@pytest.mark.parametrize(("size", "stored"), [((48, 64), (48, 64)), ((37, 51), (38, 52))])
def test_round_trip_keeps_frames_order_and_rate(tmp_path, size, stored):
    write(tmp_path / "a.mp4", frames(20, *size))
    with VideoReader(str(tmp_path / "a.mp4")) as video:
        assert video.fps == pytest.approx(12.5)
        assert video.count == 20
        levels = [image.mean() for _, image in video]
    np.testing.assert_allclose(levels, np.arange(20) * 10, atol=4.9)
    with VideoReader(str(tmp_path / "a.mp4")) as video:
        _, image = next(iter(video))
    assert image.shape == (*stored, 3)


@pytest.mark.parametrize("name", ["12:30.mp4", os.fsdecode(b"a\xff.mp4")])
def test_names_with_a_colon_or_that_are_not_utf8(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    write(Path(name), frames(3, 32, 32))
    with VideoReader(name) as video:
        assert len(list(video)) == 3


@pytest.mark.parametrize("fps", [119.877, 239.857, 30000 / 1001, 66.6667])
def test_frame_rates_of_phones_can_be_written(tmp_path, fps):
    write(tmp_path / "a.mp4", frames(3, 32, 32), fps)
    with VideoReader(str(tmp_path / "a.mp4")) as video:
        assert video.fps == pytest.approx(fps, rel=1e-3)


def test_reader_and_writer_use_rgb(tmp_path):
    write(tmp_path / "a.mp4", [np.full((32, 32, 3), (250, 10, 10), np.uint8)])
    with VideoReader(str(tmp_path / "a.mp4")) as video:
        _, image = next(iter(video))
    np.testing.assert_allclose(image.mean(axis=(0, 1)), (250, 10, 10), atol=8)


def test_no_file_after_an_error_or_without_frames(tmp_path):
    with pytest.raises(KeyboardInterrupt), VideoWriter(tmp_path / "a.mp4", 25) as video:
        video.write(frames(1, 32, 32)[0])
        raise KeyboardInterrupt
    with VideoWriter(tmp_path / "b.mp4", 25):
        pass
    assert list(tmp_path.iterdir()) == []


def test_late_live_frames_are_repeated(tmp_path):
    with VideoWriter(tmp_path / "a.mp4", fps=10) as video:
        for seconds, image in zip((0.0, 0.11, 0.5, 0.51), frames(4, 32, 32), strict=True):
            video.write(image, seconds)
    # Frames 0 and 1 are on time, frame 2 is 3 frames late, frame 3 is early but not dropped.
    with VideoReader(str(tmp_path / "a.mp4")) as video:
        levels = [round(image.mean() / 10) for _, image in video]
    assert levels == [0, 1, 2, 2, 2, 2, 3]


def test_stream_that_changes_size_loses_no_frame(tmp_path):
    write(tmp_path / "a.mp4", [*frames(2, 32, 48), *frames(2, 64, 64)])
    with VideoReader(str(tmp_path / "a.mp4")) as video:
        assert len(list(video)) == 4


def test_failed_write_is_an_error(tmp_path, monkeypatch):
    class FullDisk:  # OpenCV does not report failed writes
        fourcc = cv2.VideoWriter.fourcc

        def __init__(self, path, *_):
            self.path = path

        def isOpened(self):
            return True

        def write(self, _):
            pass

        def release(self):
            Path(os.fsdecode(self.path)).write_bytes(b"the start of a video")

    monkeypatch.setattr(cv2, "VideoWriter", FullDisk)
    with pytest.raises(JobError, match=r"a\.mp4.*disk"):
        write(tmp_path / "a.mp4", frames(2, 32, 32))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("share", "early"), [(1, False), (0.8, True), (0.5, True)])
def test_video_that_ends_early_is_recognized(tmp_path, share, early):
    path = tmp_path / "a.avi"
    video = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (64, 48))
    for image in frames(20, 48, 64) * 2:
        video.write(image)
    video.release()
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    for every in (1, 3):
        with VideoReader(str(path), every) as reader:
            images = list(reader)
        assert 0 < reader.frames_read <= 40
        assert (reader.frames_read < 40) == early
        assert len(images) == -(-reader.frames_read // every)
        assert reader.ended_early == early


def test_missing_folder_is_an_error(tmp_path):
    with pytest.raises(UserError, match=r"cannot write .*a\.mp4"):
        write(tmp_path / "missing" / "a.mp4", frames(1, 32, 32))


@pytest.mark.parametrize("content", [b"", b"no video at all"])
def test_error_names_the_file_that_is_no_video(tmp_path, content):
    (tmp_path / "a.mp4").write_bytes(content)
    with pytest.raises(UserError, match=r"a\.mp4"):
        VideoReader(str(tmp_path / "a.mp4"))
