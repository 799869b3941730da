import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import predict
from tests.media import file_names, read_video, save_image, save_video
from tests.red_finder import picture
from utils.data.images import read_image


def save_animation(path, count=6, **options):
    """Writes frames in which the box moves from the left by 8 pixels per frame."""
    first, *rest = (
        Image.fromarray(picture(64, 96, (8 * i, 16, 8 * i + 32, 48))) for i in range(count)
    )
    first.save(path, save_all=True, append_images=rest, duration=80, **options)


def entries(out):
    return [(entry["source"], len(entry["detections"])) for entry in json.loads(out)]


def test_folder_takes_all_formats_and_names_what_it_skips(run):
    Path("photos").mkdir()
    names = ["a.tif", "b.tiff", "c.avif", "d.jp2", "e.gif", "f.jfif", "g.png"]
    for name in names:
        kind = "JPEG" if name.endswith("jfif") else None
        Image.fromarray(picture(64, 96, (32, 16, 64, 48))).save(f"photos/{name}", kind)
    for name in ("h.heic", "i.psd", "no_suffix", ".hidden.heic", "notes.txt", "g.xml"):
        Path("photos", name).write_bytes(b"?")
    Path("photos/k.jpg").mkdir()
    for words in ("photos", "photos/*"):
        code, out, err = run(words, "--json")
        assert code == 0
        assert entries(out) == [(f"photos/{name}", 1) for name in names]
        (warning,) = [line for line in err.splitlines() if "skipped" in line]
        assert f"4 files of {words}" in warning
        assert warning.endswith("h.heic, i.psd, k.jpg, no_suffix")
    assert file_names() == ["a.tif", "b.tiff", "c.png", "d.png", "e.png", "f.png", "g.png"]
    assert read_image(Path("img_out/a.tif")).shape == (64, 96, 3)


@pytest.mark.parametrize("name", ["v.gif", "v.apng"])
def test_every_frame_of_an_animation_is_processed(run, name):
    save_animation(name, **({"format": "PNG"} if name.endswith("apng") else {}))
    code, out, _ = run(name, "--json", "--batch-size", 4)
    assert code == 0
    left = [entry["detections"][0]["box"][0] for entry in json.loads(out)]
    assert left == [0, 8, 16, 24, 32, 40]
    assert [entry["frame"] for entry in json.loads(out)] == list(range(6))
    fps, images = read_video("img_out/v.mp4")
    assert fps == pytest.approx(12.5)
    assert len(images) == 6


def test_truncated_animation_is_a_failed_job(run):
    noise = np.random.default_rng(0).integers(0, 256, (8, 60, 60, 3), np.uint8)
    first, *rest = map(Image.fromarray, noise)
    first.save("v.gif", save_all=True, append_images=rest)
    data = Path("v.gif").read_bytes()
    Path("v.gif").write_bytes(data[: len(data) // 2])
    code, out, err = run("v.gif")
    assert code == 1
    assert "4 frames" in out
    assert "v.gif is damaged: only its first 4 frames could be read" in err
    assert len(read_video("img_out/v.mp4")[1]) == 4


def test_still_gif_is_a_picture(run):
    Image.fromarray(picture(64, 96, (32, 16, 64, 48))).save("a.gif")
    code, out, _ = run("a.gif", "--json")
    assert code == 0
    assert "frame" not in json.loads(out)[0]
    assert file_names() == ["a.png"]


def test_unused_pictures_of_a_file_are_reported(run):
    pages = [Image.fromarray(picture(64, 96, (i, i, 40, 40))) for i in range(3)]
    pages[0].save("scan.tif", save_all=True, append_images=pages[1:])
    code, out, err = run("scan.tif")
    assert code == 0
    assert "warning: only the first of the 3 pictures in scan.tif is used" in err
    assert "[0 0 40 40]" in out


@pytest.mark.skipif(os.name != "posix", reason="named pipes in the file system")
@pytest.mark.parametrize("name", ["pipe.jpg", "pipe.mp4", "pipe.gif"])
def test_pipes_are_not_opened(run, name):
    os.mkfifo(name)
    code, _, err = run(name)
    assert code == 2
    assert err == f"error: cannot read {name}: it is a named pipe, specify a regular file\n"
    save_image("a.png")
    code, out, err = run(".", "--json")
    assert code == 0
    assert entries(out) == [("a.png", 1)]
    assert (
        f"skipped 1 file of ., not a regular image or video file of a supported format: {name}"
        in err
    )


def test_heic_is_called_unsupported(run):
    Path("a.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    assert run("a.heic")[::2] == (
        2,
        "error: cannot read image a.heic: HEIC is not supported, convert it to JPEG\n",
    )


def test_no_total_is_printed_without_several_images(run):
    save_video("v.mp4", count=2)
    save_video("w.mp4", count=2)
    assert "in all images" not in run("v.mp4", "w.mp4", "--count")[1]
    save_image("a.png")
    assert "in all images" not in run("v.mp4", "a.png", "--count")[1]


def test_kinds_of_all_sources_are_found_out_only_to_track_them(monkeypatch):
    found = object()  # cannot be iterated
    monkeypatch.setattr("utils.inference.sources.find_sources", lambda words: found)
    assert predict._find(["v.mp4"], is_tracked=False) is found
