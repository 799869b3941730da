"""The engine of OpenVINO, on a model that averages the pixels."""

import dataclasses
import importlib.util
import sys

import numpy as np
import pytest

from tests.fake_runtime import make_metadata
from utils.errors import UserError
from utils.export.openvino import save
from utils.inference.engines.openvino import import_openvino, read_text
from utils.inference.engines.session import RuntimeSettings
from utils.inference.metadata import from_text
from utils.inference.model import load_model

# Importing OpenVINO by pytest.importorskip would send its usage events.
pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("openvino") is None, reason="openvino is not installed"
)
METADATA = make_metadata(classes=('<cat> & "dog"', "狗"), input_size=(64, 64))
PREDICTIONS = 3 * (8 * 8 + 4 * 4 + 2 * 2)
OFFSETS = np.float32(np.arange(PREDICTIONS * 4).reshape(1, PREDICTIONS, 4))


def write(path, metadata=METADATA):
    openvino = import_openvino()
    from openvino import opset15 as ops

    images = ops.parameter([-1, *metadata.input_size, 3])
    images.output(0).set_names({"images"})
    mean = ops.unsqueeze(ops.reduce_mean(images, np.int32([1, 2, 3])), np.int32([1, 2]))
    values = {"boxes": ops.add(mean, OFFSETS), "scores": ops.multiply(mean, OFFSETS[..., :2])}
    results = []
    for name, value in values.items():
        results.append(ops.result(value))
        results[-1].output(0).set_names({name})
    save(openvino.Model(results, [images], "mean"), metadata, path)
    return path


@pytest.fixture
def model(tmp_path):
    return write(tmp_path / "model")


def open_model(path, **settings):
    return load_model(path, RuntimeSettings(**settings)).open()


def test_each_run_reads_the_images_that_were_written_into_the_buffer(model):
    session = open_model(model, batch_size=2, precision="float32")
    assert (session.images.shape, session.images.dtype) == ((2, 64, 64, 3), np.float32)
    for values in ([1, 2], [5, 3]):
        session.images[:] = np.reshape(values, (2, 1, 1, 1))
        means = np.reshape(values, (2, 1, 1))
        found = session.run()
        np.testing.assert_allclose(found["boxes"], means + OFFSETS, rtol=1e-6)
        np.testing.assert_allclose(found["scores"], means * OFFSETS[..., :2], rtol=1e-6)


def test_description_says_what_is_used(model):
    description = open_model(model, threads=1, precision="float32").description
    assert description.startswith("OpenVINO 20")
    assert description.endswith(", float32, 1 thread")


def test_metadata_survives_any_character(model):
    assert from_text(read_text(model), model) == METADATA
    assert from_text(read_text(model / "detector.xml"), model) == METADATA


@pytest.mark.parametrize("size", [5000, 7000])  # too small for the weights, and for the XML
def test_a_full_disk_is_an_error_of_the_file_system(tmp_path, size):
    """Limits the size of files, so that writes fail as on a full disk."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    long = dataclasses.replace(METADATA, classes=("x" * 5000, "y"))  # the XML is the larger file
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        with pytest.raises(OSError, match="No space left on device"):
            write(tmp_path / "model", long)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_missing_runtime_is_one_line(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(UserError, match=r"needs openvino, .*: pip install -r requirements-export"):
        open_model(model)


def replaced(old, new):
    def change(folder):
        xml = folder / "detector.xml"
        text = xml.read_text(encoding="utf-8")
        assert old in text
        xml.write_text(text.replace(old, new), encoding="utf-8")

    return change


def cut(name):
    def change(folder):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 2])

    return change


def with_text(text):
    return lambda folder: (folder / "detector.xml").write_text(text)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / "detector.bin").unlink(), r"has no detector\.bin beside"),
        (cut("detector.bin"), "OpenVINO cannot read .*: Incorrect weights"),
        (cut("detector.xml"), "is damaged: no element found|is damaged: unclosed token"),
        (with_text(""), "is damaged: no element found"),
        (with_text("<annotation/>"), "has no swapyolo metadata"),
        (with_text('<!DOCTYPE a [<!ENTITY b "c">]><net>&b;</net>'), "is damaged: Entities"),
        (replaced("ReduceMean", "ReduceSome"), "OpenVINO cannot read .*ReduceSome"),
        (replaced("input_size&quot;: [64, 64", "input_size&quot;: [64, 96"), "images has shape"),
        (replaced("format&quot;: 1", "format&quot;: 2"), "metadata of format 2"),
        (replaced("batch&quot;: null", "batch&quot;: 0"), "batch is 0, it must be at least 1"),
        (replaced("pad_value&quot;: 128", "pad_value&quot;: 0"), "pad_value is 0 and range is"),
        (replaced('names="boxes"', 'names="other"'), "has no input or output named boxes"),
    ],
)
def test_damaged_models_are_refused_in_one_line(model, change, message):
    change(model)
    with pytest.raises(UserError, match=message) as caught:
        open_model(model)
    assert "\n" not in str(caught.value)
