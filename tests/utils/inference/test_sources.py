import threading
from contextlib import closing

import pytest

from utils.errors import UserError
from utils.inference.sources import ahead, find_sources


@pytest.fixture
def folder(tmp_path):
    for name in ("img10.jpg", "img2.JPG", "img1.png", "clip.mp4", "notes.txt", "红.webp"):
        (tmp_path / name).touch()
    (tmp_path / "inner.jpg").mkdir()
    return tmp_path


def names(sources):
    return [source.address.rsplit("/", 1)[-1] for source in sources]


def test_a_folder_gives_its_images_and_videos_in_natural_order(folder):
    sources = find_sources([str(folder)])
    assert names(sources) == ["clip.mp4", "img1.png", "img2.JPG", "img10.jpg", "红.webp"]
    assert [source.is_image for source in sources] == [False, True, True, True, True]
    assert sources[1].name == "img1"


def test_a_glob_is_expanded_and_may_go_deep(folder):
    (folder / "a" / "b").mkdir(parents=True)
    (folder / "a" / "b" / "deep.jpg").touch()
    assert names(find_sources([str(folder / "img*")])) == ["img1.png", "img2.JPG", "img10.jpg"]
    assert "deep.jpg" in names(find_sources([str(folder / "**" / "*.jpg")]))


def test_a_file_with_the_look_of_a_glob_or_a_camera_is_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a[1].jpg").touch()
    (tmp_path / "0").touch()
    assert [source.is_image for source in find_sources(["a[1].jpg", "0"])] == [True, True]


def test_cameras_and_streams():
    camera, stream = find_sources(["0", "rtsp://user:secret@cam.local:554/live/1"])
    assert (camera.address, camera.is_image, camera.name) == ("0", False, "camera0")
    assert not stream.is_image
    assert stream.name == "cam_local_live_1"


def test_the_name_of_a_long_address_is_one_that_file_systems_take():
    (stream,) = find_sources(["https://cdn.example/" + "signature/" * 50 + "index.m3u8"])
    assert len(stream.name) == 100
    assert stream.name.endswith("index_m3u8")


@pytest.mark.parametrize("word", ["nothing.jpg", "no/such/folder", "*.nothing"])
def test_what_is_not_there_is_named(word, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=word.replace("*", r"\*")):
        find_sources([word])


def test_an_empty_folder_is_named(tmp_path):
    with pytest.raises(UserError, match=tmp_path.name):
        find_sources([str(tmp_path)])


def test_ahead_keeps_the_order():
    assert list(ahead(range(100), depth=3)) == list(range(100))
    assert list(ahead([], depth=3)) == []


def test_ahead_makes_no_more_than_it_may():
    made, before = [], set(threading.enumerate())
    with closing(ahead((made.append(i) or i for i in range(100)), depth=3)) as items:
        assert next(items) == 0
    assert len(made) <= 4
    assert set(threading.enumerate()) <= before


def test_ahead_raises_an_error_where_it_belongs():
    def broken():
        yield 1
        raise OSError("gone")

    items = ahead(broken(), depth=4)
    assert next(items) == 1
    with pytest.raises(OSError, match="gone"):
        next(items)
