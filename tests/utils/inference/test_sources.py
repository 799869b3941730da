import re
import threading
from pathlib import Path

import pytest

from utils import lookahead
from utils.errors import JobError, UserError
from utils.inference.sources import SourceList, find_sources


@pytest.fixture
def folder(tmp_path):
    names = ("img10.jpg", "img2.JPG", "img1.png", "clip.mp4", "notes.txt", "红.webp", ".a.jpg.xmp")
    for name in (*names, ".part.img3.png"):  # the last one was left by a kill
        (tmp_path / name).touch()
    (tmp_path / "inner.jpg").mkdir()
    return tmp_path


def names(sources):
    return [source.address.rsplit("/", 1)[-1] for source in sources]


def test_folder_gives_images_and_videos_in_natural_order(folder):
    sources = find_sources([str(folder)])
    assert names(sources) == ["clip.mp4", "img1.png", "img2.JPG", "img10.jpg", "红.webp"]
    assert [source.is_image for source in sources] == [False, True, True, True, True]
    assert sources[1].name == "img1"


def test_an_empty_word_is_not_the_current_folder(folder, monkeypatch):
    monkeypatch.chdir(folder)
    with pytest.raises(UserError, match="a SOURCE is empty"):
        find_sources(["clip.mp4", ""])


def test_globs_may_be_recursive(folder):
    (folder / "a" / "b").mkdir(parents=True)
    (folder / "a" / "b" / "deep.jpg").touch()
    assert names(find_sources([str(folder / "img*")])) == ["img1.png", "img2.JPG", "img10.jpg"]
    assert "deep.jpg" in names(find_sources([str(folder / "**" / "*.jpg")]))


def test_existing_file_takes_precedence_over_glob_and_camera(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a[1].jpg").touch()
    (tmp_path / "0").touch()
    assert [source.is_image for source in find_sources(["a[1].jpg", "0"])] == [True, True]


def test_cameras_and_streams():
    camera, stream = find_sources(["0", "rtsp://user:secret@cam.local:554/live/1"])
    assert (camera.address, camera.is_image, camera.name) == ("0", False, "camera0")
    assert not stream.is_image
    assert stream.name == "cam_local_live_1"


def test_name_of_a_long_address_is_shortened():
    (stream,) = find_sources(["https://cdn.example/" + "signature/" * 50 + "index.m3u8"])
    assert len(stream.name) == 100
    assert stream.name.endswith("index_m3u8")


@pytest.mark.parametrize("word", ["nothing.jpg", "no/such/folder", "*.nothing"])
def test_error_names_the_missing_source(word, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=word.replace("*", r"\*")):
        find_sources([word])


def test_error_names_the_empty_folder(tmp_path):
    with pytest.raises(UserError, match=tmp_path.name):
        find_sources([str(tmp_path)])


def test_storage_that_does_not_respond_is_an_error(monkeypatch):
    release = threading.Event()
    monkeypatch.setattr(lookahead, "READ_TIMEOUT", 0.05)
    monkeypatch.setattr(Path, "exists", lambda path: release.wait(20))
    with pytest.raises(JobError, match=r"share/photos gave no data for 0\.05 s"):
        find_sources(["share/photos"])
    release.set()


def test_natural_order_compares_numbers_by_value(tmp_path):
    names = ["a", "a2b", "a2", "a02", "a10", "a-1", "ab", "a2-10", "a2-9", "b1", "a" + "9" * 30]
    for name in names:
        (tmp_path / f"{name}.jpg").touch()

    def order(name):
        parts = re.findall(r"(\D*)(\d*)", f"{name}.jpg")
        return [(text, int(digits or 0)) for text, digits in parts], name

    found = [source.name for source in find_sources([str(tmp_path)])]
    assert found == sorted(names, key=order)


def test_parts_of_a_list_keep_the_positions(folder):
    sources = find_sources([str(folder), "0"])
    part = sources[1::2]
    assert names(part) == ["img1.png", "img10.jpg", "0"]
    assert [source.index for source in part] == [1, 3, 5]
    assert [part.address(i) for i in range(3)] == [source.address for source in part]
    assert names(part[1:]) == ["img10.jpg", "0"]
    assert part.find_live() == "0"
    assert sources[:5].find_live() is None


def test_digest_changes_with_any_source_of_the_whole_list():
    sources = SourceList(["a.png", "b.png", "c.png"])
    assert sources[::2].digest() == sources.digest()
    others = ["a.png", "b.png"], ["b.png", "a.png", "c.png"], ["a.png", "b.pngc.png"]
    assert len({sources.digest(), *(SourceList(other).digest() for other in others)}) == 4
