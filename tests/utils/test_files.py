import errno
from pathlib import Path

import numpy as np
import pytest

from utils.data.images import read_image
from utils.files import OutputFolder, write_image


def test_names_are_unique_within_a_run_and_replace_those_of_an_earlier_one(tmp_path):
    folder = OutputFolder(tmp_path / "new" / "out")
    assert folder.path("a", ".jpg") == tmp_path / "new" / "out" / "a.jpg"
    assert folder.path("a", ".png").name == "a.png"
    assert folder.path("a", ".jpg").name == "a-2.jpg"
    assert folder.path("A", ".jpg").name == "A-3.jpg"
    (tmp_path / "new" / "out" / "a.jpg").touch()
    assert OutputFolder(tmp_path / "new" / "out").path("a", ".jpg").name == "a.jpg"


def test_older_files_stay_where_that_is_wished(tmp_path):
    (tmp_path / "a.png").touch()
    assert OutputFolder(tmp_path, replace=False).path("a", ".png").name == "a-2.png"


def test_sources_are_spared(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = OutputFolder(tmp_path)
    folder.spare([Path("a.jpg")])
    assert folder.path("a", ".jpg").name == "a-2.jpg"


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".webp"])
def test_images_come_back_as_they_were(tmp_path, suffix):
    ramp = np.linspace(0, 255, 64, dtype=np.uint8)
    image = np.stack([np.tile(ramp, (48, 1)), np.tile(ramp[:48, None], (1, 64))] * 2, -1)[..., :3]
    path = tmp_path / f"图{suffix}"
    write_image(path, image)
    tolerance = 6 if suffix == ".jpg" else 0
    np.testing.assert_allclose(read_image(path).astype(int), image, atol=tolerance)
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_leaves_the_old_file_and_names_it(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    path.write_bytes(b"old")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space") as caught:
        write_image(path, np.zeros((4, 4, 3), np.uint8))
    assert caught.value.filename == str(path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
