"""Small files that would need much time or memory."""

import json
import zlib
from pathlib import PurePath

import cv2
import h5py
import numpy as np
import pytest
from PIL import Image

from tests.foreignset import add_coco, add_picture
from tests.fuzzing import judge, limits
from tests.vocset import add_image, add_list
from utils.data.classes import read_classes
from utils.data.encoding import encode_image
from utils.data.formats.coco import read_coco
from utils.data.formats.paths import find_path
from utils.data.formats.rle import outline_box
from utils.data.formats.yolo_layout import find_layout
from utils.data.images import MAX_PIXELS, decode_image, read_image, read_image_header
from utils.data.imagesets import list_images
from utils.data.jpeg import count_scanned_pixels
from utils.data.vocxml import MAX_BYTES, parse_xml
from utils.errors import UserError
from utils.hdf5 import read_values
from utils.inference.engines import litert, onnx_metadata
from utils.weights.tensorfiles import read_torch

pytestmark = pytest.mark.timeout(60)

LAUGHS = "".join(f'<!ENTITY a{n + 1} "{f"&a{n};" * 10}">' for n in range(9))
ENTITIES = f'<!DOCTYPE a [<!ENTITY a0 "ha">{LAUGHS}]><annotation>&a9;</annotation>'
INCLUDED = '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotation>&x;</annotation>'


def refused(read, *args):
    """Asserts that a reader refuses its input within the limits; returns the message."""
    with limits(), pytest.raises(UserError) as error:
        read(*args)
    return str(error.value)


@pytest.mark.parametrize("text", [ENTITIES, INCLUDED], ids=["bomb", "file"])
def test_entities_in_an_annotation(tmp_path, text):
    (tmp_path / "a.xml").write_text(text)
    assert "EntitiesForbidden" in refused(parse_xml, tmp_path / "a.xml")


@pytest.mark.parametrize("encoding", ["punycode", "idna", "PunyCode"])
def test_encodings_that_take_quadratic_time(tmp_path, encoding):
    path = tmp_path / "a.xml"
    path.write_bytes(f'<?xml version="1.0" encoding="{encoding}"?>-'.encode() + b"a" * 500_000)
    assert "is not supported" in refused(parse_xml, path)


def test_annotation_that_is_too_large(tmp_path):
    with (tmp_path / "a.xml").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    assert "more than 33,554,432 bytes" in refused(parse_xml, tmp_path / "a.xml")


def chunk(kind, data):
    return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")


def test_image_of_more_pixels_than_its_bytes_say(tmp_path):
    side = int(MAX_PIXELS**0.5) + 1
    header = side.to_bytes(4, "big") * 2 + b"\x08\x02\0\0\0"
    path = tmp_path / "a.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b""))
    assert "more than 178,956,970 pixels" in refused(read_image_header, path)


@pytest.mark.parametrize("kind", ["AVIF", "JPEG2000", "GIF"])
def test_image_of_a_format_that_needs_much_memory(tmp_path, kind, monkeypatch):
    monkeypatch.setattr("utils.data.images.MAX_PIXELS", 2 * 64 * 64 - 1)
    path = tmp_path / "a"
    Image.new("RGB", (64, 64)).save(path, kind)
    assert "64x64 is more than" in refused(read_image_header, path)


def test_progressive_jpeg_with_many_scans(tmp_path):
    options = [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]
    data = cv2.imencode(".jpg", np.zeros((4000, 4000), np.uint8), options)[1].tobytes()
    last = data[data.rindex(b"\xff\xda") : -2]
    assert count_scanned_pixels(data) == data.count(b"\xff\xda") * 4000 * 4000
    path = tmp_path / "a.jpg"
    path.write_bytes(data[:-2] + last * 10_000 + data[-2:])
    assert path.stat().st_size < 10**6
    assert "too many scans" in refused(read_image, path)


def test_image_of_another_size_than_its_header_said(tmp_path):
    path = tmp_path / "a.jpg"
    Image.new("RGB", (31, 20)).save(path)
    assert read_image(path, size=(20, 31)).shape == (20, 31, 3)
    assert "orientation is ambiguous" in refused(read_image, path, None, (31, 20))


def test_reducing_takes_the_same_pixels_in_strips(monkeypatch):
    image = np.random.default_rng(0).integers(0, 256, (45, 31, 3), np.uint8)
    whole = decode_image(np.frombuffer(encode_image(image, ".png"), np.uint8), PurePath("a"), 8)
    monkeypatch.setattr("utils.data.images.STRIP", 16)
    strips = decode_image(np.frombuffer(encode_image(image, ".png"), np.uint8), PurePath("a"), 8)
    assert whole.shape == (6, 4, 3)
    np.testing.assert_array_equal(strips, whole)


def test_line_of_an_image_set_with_many_spaces(tmp_path):
    add_image(tmp_path / "VOC2007", "a")
    line = "x/a" + " " * 100_000 + "b"
    add_list(tmp_path / "VOC2007", "train", ["a", line])
    refs = judge(list_images, tmp_path, "train")
    assert len(refs) == 2 and refs[0].image_id == "a"


def test_many_classes_of_which_two_are_the_same(tmp_path):
    path = tmp_path / "classes.txt"
    path.write_text("".join(f"c{number}\n" for number in range(200_000)) + "c199999\n")
    assert "'c199999' occurs twice" in refused(read_classes, path)


def test_path_of_many_parts(tmp_path):
    with limits():
        assert find_path("a/" * 500_000, [tmp_path]) is None


def test_count_of_a_mask_with_many_digits():
    with limits():
        assert outline_box({"size": [60, 80], "counts": "o" * 1_000_000}) is None


def test_numbers_that_no_float_can_hold(tmp_path):
    add_picture(tmp_path / "images" / "a.png")
    images = [{"id": 1, "file_name": "a.png", "width": 10**400, "height": 10**400}]
    path = add_coco(tmp_path / "annotations" / "a.json", images, [{"bbox": [1, 1, 10**400, 5]}])
    assert [fault.kind for fault in judge(read_coco, path.parents[1]).faults] == ["no box"]


def test_ids_that_are_nested_deeply(tmp_path):
    add_picture(tmp_path / "images" / "a.png")
    path = add_coco(tmp_path / "annotations" / "a.json", ["a.png"], [{"bbox": [1, 1, 5, 5]}])
    nested = "[" * 900 + "]" * 900
    text = path.read_text().replace('"category_id": 1', f'"category_id": {nested}')
    path.write_text(text)
    assert [each.kind for each in judge(read_coco, path.parents[1]).faults] == ["unknown class"]


ALIASES = "".join(f"a{n + 1}: &a{n + 1} [{f'*a{n},' * 9}]\n" for n in range(9))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train: images\nnc: 999999999999\n", "has no class names"),
        (f"train: images\nnc: {'9' * 5000}\n", "has no class names"),
        (f"train: images\nnames:\n  ? {'9' * 5000}\n  : cat\n", "keys that are not numbers"),
        (f"a0: &a0 x\n{ALIASES}path: *a9\nnc: *a9\ntrain: images\n", "has no class names"),
        (f"names: {'[' * 1000}", "not YAML"),
    ],
    ids=["count", "digits", "key", "aliases", "depth"],
)
def test_descriptions_of_yolo(tmp_path, text, message):
    add_picture(tmp_path / "images" / "a.png")
    (tmp_path / "data.yaml").write_text(text)
    assert message in refused(find_layout, tmp_path)


def test_path_of_aliases_is_ignored(tmp_path):
    add_picture(tmp_path / "images" / "a.png")
    text = f"a0: &a0 x\n{ALIASES}path: *a9\nnc: 1\ntrain: images\n"
    (tmp_path / "data.yaml").write_text(text)
    assert len(judge(find_layout, tmp_path).sets["train"]) == 1


@pytest.mark.parametrize("key", ['"a\\0b"', '"\\ud800"', "x" * 1000], ids=["null", "half", "long"])
def test_names_of_sets_that_no_file_can_have(tmp_path, key):
    add_picture(tmp_path / "images" / "a.png")
    (tmp_path / "train.txt").write_text("images/a.png\n")
    (tmp_path / "data.yaml").write_text(f"nc: 1\n? {key}\n: train.txt\n")
    [name] = judge(find_layout, tmp_path).sets
    (tmp_path / f"{name}.txt").touch()


def flatbuffer(entries, name):
    """A LiteRT file whose metadata is `entries` times the same entry with a name."""
    model = 16  # a table with an offset to its vtable, and the field 6, the metadata
    vtable, vector = 32, 64
    data = bytearray(vector + 4 + 4 * entries + 64 + len(name))
    entry = vector + 4 + 4 * entries + 16
    data[0:8] = model.to_bytes(4, "little") + b"TFL3"
    data[model : model + 4] = (model - vtable).to_bytes(4, "little", signed=True)
    data[model + 4 : model + 8] = (vector - model - 4).to_bytes(4, "little")
    data[vtable : vtable + 2] = (4 + 2 * 7).to_bytes(2, "little")
    data[vtable + 16 : vtable + 18] = (4).to_bytes(2, "little")
    data[vector : vector + 4] = entries.to_bytes(4, "little")
    offsets = np.arange(entries, dtype="<u4") * 4 + vector + 4
    data[vector + 4 : vector + 4 + 4 * entries] = (entry - offsets).astype("<u4").tobytes()
    data[entry : entry + 4] = (12).to_bytes(4, "little", signed=True)  # its vtable is before it
    data[entry - 12 : entry - 6] = b"\x06\0\x08\0\x04\0"
    data[entry + 4 : entry + 8] = (4).to_bytes(4, "little")
    data[entry + 8 : entry + 12] = len(name).to_bytes(4, "little")
    data[entry + 12 : entry + 12 + len(name)] = name
    return bytes(data)


def test_litert_model_with_many_long_names(tmp_path):
    path = tmp_path / "a.tflite"
    path.write_bytes(flatbuffer(50_000, b"x" * 1_000_000))
    with limits():
        assert litert.read_text(path) is None


def test_onnx_model_with_millions_of_fields(tmp_path):
    path = tmp_path / "a.onnx"
    path.write_bytes(b"\x08\x01" * 2_000_000)
    assert "is no ONNX file" in refused(onnx_metadata.read_text, path)


def test_tensor_of_more_values_than_its_file(tmp_path):
    torch = pytest.importorskip("torch")
    path = tmp_path / "a.pth"
    torch.save({"a.weight": torch.ones(1, dtype=torch.float16).expand(10**5, 10**5)}, path)
    assert "fewer values than its shape" in refused(read_torch, path)


@pytest.mark.parametrize(
    "values", [np.array([1 + 2j]), np.array([b"a"]), np.zeros(2, [("a", "f4")])]
)
def test_values_of_h5_that_are_no_real_numbers(tmp_path, values):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = values
        with pytest.raises(ValueError, match="no real numbers"):
            read_values(file["x"], file)


def test_json_of_a_coco_file_nested_deeply(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"images": []})[:-1] + ', "annotations": ' + "[" * 100_000)
    assert "damaged or not JSON" in refused(read_coco, path)
