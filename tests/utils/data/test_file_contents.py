"""Reading an image at once refuses what reading its header and its pixels refuses."""

import numpy as np
import pytest
from PIL import Image

from utils.data import file_contents
from utils.data.faults import Fault
from utils.data.file_contents import try_header, try_pixels, try_whole


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    Image.fromarray(np.zeros((40, 20, 3), np.uint8)).save(path)
    return path


def test_pixels_of_another_size_than_the_header_are_a_fault(photo, monkeypatch):
    assert try_whole(photo).shape == (5, 3)  # an eighth, rounded up
    monkeypatch.setattr(file_contents, "read_header", lambda data, name: ((20, 40), 1))
    monkeypatch.setattr(file_contents, "read_image_header", lambda path: ((20, 40), 1))
    found = try_whole(photo)
    assert found == try_header(photo) and found.shape == (0, 0)
    assert isinstance(try_pixels(photo, found.layout), Fault)


def test_limit_of_pixels_of_each_format_holds(photo, monkeypatch):
    path = photo.with_suffix(".gif")
    Image.open(photo).save(path)
    monkeypatch.setattr("utils.data.images.MAX_PIXELS", 1000)  # a GIF may have 500
    monkeypatch.setattr(file_contents, "MAX_PIXELS_AT_ONCE", 333)
    assert isinstance(try_whole(path), Fault)
    assert try_whole(photo).layout.size == (40, 20)
