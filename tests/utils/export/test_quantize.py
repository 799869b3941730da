import dataclasses
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from tests.fake_run import make_run
from tests.fake_runtime import make_metadata
from tests.vocset import add_image, add_list
from utils.errors import JobError, UserError
from utils.export import quantize
from utils.export.accuracy import Accuracy
from utils.export.formats import ExportSettings, QuantizationSettings
from utils.inference.metadata import from_text, to_text

INT8 = ExportSettings("onnx", "int8")
REFERENCE = Accuracy(0.8, 0.5)
LAYERS = [f"conv{number}" for number in range(8)]


class Stub:
    """A quantizer whose files are only metadata; it fails at the file number `fails_at`."""

    fails_at = 0
    error: type[BaseException] = JobError

    def __init__(self, network, metadata, images):
        self.images = images
        self.files = 0

    def write(self, metadata, path):
        self.files += 1
        path.write_text(to_text(metadata))
        if self.files == self.fails_at:
            raise self.error("failed")


@pytest.fixture
def run(tmp_path, run_config):
    """A run with images, without a network."""
    data = tmp_path / "data"
    for name in ("a", "b", "v"):
        add_image(data / "VOC2007", name, [("cat", (2, 3, 30, 40))])
    add_list(data / "VOC2007", "train", ["a", "b"])
    add_list(data / "VOC2007", "val", ["v"])
    (tmp_path / "run").mkdir()
    run = make_run(tmp_path / "run", None, ["cat"])
    config = dataclasses.replace(
        run_config, data=str(data), input_size=(64, 64), train_set=None, val_set=None
    )
    return dataclasses.replace(run, config=config)


@pytest.fixture
def export(run, monkeypatch):
    """Exports the run; a file loses 0.1 of 0.5 unless its first `needed` layers are in float."""
    monkeypatch.setattr(Stub, "fails_at", 0)
    monkeypatch.setitem(sys.modules, "utils.export.onnx_int8", SimpleNamespace(Quantizer=Stub))
    monkeypatch.setattr(quantize, "inference_network", lambda detector: None)
    monkeypatch.setattr(quantize, "_predictor", lambda path: from_text(path.read_text(), path))
    monkeypatch.setattr(type(run), "predictor", lambda *_: None)
    session = SimpleNamespace(images=np.zeros((1, 64, 64, 3)), run=None)
    model = SimpleNamespace(open=lambda: session)
    monkeypatch.setattr(quantize, "load_model", lambda *_: model)
    monkeypatch.setattr(quantize, "median_ms", lambda *_: {0: 10.0, 1: 12.5})
    monkeypatch.setattr(quantize, "rank_convolutions", lambda *_: dict.fromkeys(LAYERS, 1.0))

    def call(needed=0, settings=INT8, nms=False, reference=REFERENCE, **options):
        def accuracy(metadata, samples, classes):
            assert [sample.image_id for sample in samples] == ["v"]
            if metadata is None:
                return reference
            assert not metadata.nms
            floats = len(metadata.quantization.float_layers)
            return Accuracy(0.79, 0.5 if floats >= needed else 0.4)

        monkeypatch.setattr(quantize, "measure_accuracy", accuracy)
        metadata = make_metadata(precision=settings.precision, nms=nms)
        path = run.path / "export/m.onnx"
        quantize.export_quantized(run, settings, QuantizationSettings(2, **options), metadata, path)
        return from_text(path.read_text(), path)

    return call


def files_in(run):
    return [path.name for path in (run.path / "export").iterdir()]


def test_file_that_keeps_its_map(run, export, capsys):
    found = export()
    assert found.quantization.calibration.count == 2
    assert found.quantization.float_layers == ()
    assert files_in(run) == ["m.onnx"]
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[1:] == [
        "calibrating on 2 images",
        "Keras: mAP50 0.8000, mAP 0.5000 on 1 validation image",
        "trial 1: 0 convolutions in float, mAP50 0.7900, mAP 0.5000, mAP lost 0.0000",
        "in float: no convolution",
        "mAP50 lost 0.0100, mAP lost 0.0000 on 1 validation image; 0.00 MB",
    ]


def test_layers_in_float_and_their_price(run, export, capsys):
    found = export(needed=2)
    assert found.quantization.float_layers == ("conv0", "conv1")
    assert files_in(run) == ["m.onnx"]
    assert capsys.readouterr().err.splitlines()[-3:-1] == [
        "in float: conv0, conv1",
        "12.5 ms per call instead of 10.0 ms with all convolutions quantized (+25%)",
    ]


def test_suppression_is_added_after_measuring(run, export):
    found = export(needed=1, nms=True)
    assert found.nms
    assert found.quantization.float_layers == ("conv0",)
    assert files_in(run) == ["m.onnx"]


def test_any_loss_is_not_measured(run, export, capsys):
    found = export(needed=8, max_loss=1.0)
    assert found.quantization.float_layers == ()
    assert "note: the loss of mAP is not measured (--max-loss 1)" in capsys.readouterr().err


def test_unreachable_limit_leaves_nothing(run, export):
    with pytest.raises(JobError, match=r"--max-loss 0\.1,"):
        export(needed=8)
    assert files_in(run) == []


@pytest.mark.parametrize("error", [JobError, KeyboardInterrupt, MemoryError])
@pytest.mark.parametrize("number", [1, 3])
def test_failure_leaves_nothing(run, export, monkeypatch, error, number):
    monkeypatch.setattr(Stub, "error", error)
    monkeypatch.setattr(Stub, "fails_at", number)
    with pytest.raises(error):
        export(needed=3)
    assert files_in(run) == []


def test_existing_file_stays(run, export):
    path = run.path / "export/m.onnx"
    path.parent.mkdir()
    path.write_text("mine")
    with pytest.raises(UserError, match="already exists"):
        export()
    assert path.read_text() == "mine"


def test_validation_images_that_are_missing(run, export):
    (run.path.parent / "data/VOC2007/JPEGImages/v.png").unlink()
    with pytest.raises(UserError, match=r"none of the 1 validation image of .* --data"):
        export()
    assert not (run.path / "export").exists()


def test_map_that_is_undefined(run, export):
    with pytest.raises(UserError, match="mAP is undefined on the 1 validation image"):
        export(reference=Accuracy(None, None))
    assert files_in(run) == []


@pytest.mark.parametrize(("precision", "bits"), [("int8", 8), ("int16x8", 16)])
def test_bits_of_activations(export, monkeypatch, precision, bits):
    def rank(network, canvases, activation_bits):
        assert (canvases.dtype, activation_bits) == (np.uint8, bits)
        return dict.fromkeys(LAYERS, 1.0)

    monkeypatch.setattr(quantize, "rank_convolutions", rank)
    name = "utils.export.litert_int8"
    monkeypatch.setitem(sys.modules, name, SimpleNamespace(Quantizer=Stub))
    assert export(needed=1, settings=ExportSettings("litert", precision, 1)).precision == precision
