import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from utils.data.images import read_image
from utils.data.png import without_metadata
from utils.errors import UserError

PIXELS = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)


@pytest.fixture
def photo(tmp_path):
    """A PNG with EXIF orientation 6, a text, and a colour profile of which libpng warns."""
    text, exif = PngInfo(), Image.Exif()
    text.add_text("Comment", "a cat")
    exif[0x0112] = 6
    path = tmp_path / "photo.png"
    Image.fromarray(PIXELS).save(path, icc_profile=bytes(200), pnginfo=text, exif=exif)
    return path


def test_pixels_and_orientation_stay_without_a_warning(photo, capfd):
    np.testing.assert_array_equal(read_image(photo), np.rot90(PIXELS, -1))
    assert capfd.readouterr() == ("", "")
    data = without_metadata(photo.read_bytes())
    assert b"iCCP" not in data and b"tEXt" not in data and b"eXIf" in data
    assert data.endswith(b"IEND" + bytes.fromhex("ae426082"))


def test_damaged_and_truncated_files_are_errors_of_one_line(photo, capfd):
    data = photo.read_bytes()
    middle = data.index(b"IDAT") + 1000
    flipped = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
    for content in (flipped, data[:-1], data[:middle], data[:9]):
        photo.write_bytes(content)
        with pytest.raises(UserError, match="damaged, truncated or not an image"):
            read_image(photo)
    assert capfd.readouterr() == ("", "")
