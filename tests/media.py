"""Writes images and videos of one red box, and reads the results of predict.py."""

from pathlib import Path

from tests.red_finder import picture
from utils.data.encoding import write_image
from utils.inference.video import VideoReader, VideoWriter

BOX = (32, 16, 64, 48)


def save_image(path, size=(64, 96), box=BOX):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    write_image(Path(path), picture(*size, box))


def save_video(path, count=7, size=(64, 96)):
    """Writes a video in which the box moves from the left by 8 pixels per frame."""
    with VideoWriter(Path(path), 12.5) as video:
        for i in range(count):
            video.write(picture(*size, (8 * i, 16, 8 * i + 32, 48)))


def read_video(path):
    with VideoReader(str(path)) as video:
        return video.fps, [image for _, image in video]


def file_names(folder="img_out"):
    return sorted(path.name for path in Path(folder).iterdir() if path.is_file())
