import dataclasses
import socket

import keras
import numpy as np
import pytest
from safetensors.numpy import save_file

from nets.backbones import build_backbone, registry, resolve
from tests.weights_checks import assert_same, load, make_detector, values_of
from utils.errors import UserError
from utils.weights import imagenet
from utils.weights.loading import open_weights


@pytest.fixture(scope="module")
def target():
    return make_detector(seed=2)


@pytest.fixture
def change_spec(monkeypatch):
    """Replaces fields of a registered backbone for the duration of a test."""

    def change(name, **fields):
        spec = dataclasses.replace(resolve(name), **fields)
        monkeypatch.setitem(registry._SPECS, name, spec)

    return change


def test_without_a_network_imagenet_fails_and_auto_warns(monkeypatch, tmp_path, target):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))

    def no_such_host(*_, **__):
        raise socket.gaierror("no such host")

    monkeypatch.setattr(socket, "getaddrinfo", no_such_host)
    with pytest.raises(UserError, match=r"no ImageNet weights for mobilenetv1: .*no such host"):
        load(target, "imagenet", width=0.25)
    before = values_of(target)
    report = load(target, "auto", width=0.25)
    assert report.loaded == []
    assert "random weights" in report.message
    assert "no such host" in report.message
    assert_same(values_of(target), before)


def test_weights_of_keras_applications_fill_the_backbone(monkeypatch, target):
    source = keras.applications.MobileNet((32, 32, 3), 0.25, include_top=False, weights=None)

    def download(input_shape, alpha, include_top, weights):
        assert (alpha, include_top, weights) == (0.25, False, "imagenet")
        print("Downloading")
        return source

    monkeypatch.setattr(keras.applications, "MobileNet", download)
    report = load(target, "auto", width=0.25)
    assert (report.source, report.skipped) == ("imagenet", [])
    assert set(report.loaded) == set(values_of(target.backbone))
    assert_same(values_of(target.backbone), values_of(source))


def tensors_as_in_timm(backbone):
    """The tensors of a GhostNet, whose layers are named like timm's modules, in torch's layout."""
    parts = ("weight", "bias", "running_mean", "running_var")
    return {
        f"{layer.name}.{part}": np.ascontiguousarray(
            value.transpose(2, 3, 0, 1)
            if value.shape[-1:] == (1,)
            else value.transpose(3, 2, 0, 1)
            if value.ndim == 4
            else value
        )
        for layer in backbone.layers
        for part, value in zip(parts, layer.get_weights(), strict=False)
    }


def test_weights_of_timm_fill_the_backbone(monkeypatch, change_spec, tmp_path):
    source = build_backbone("ghostnet", (32, 32, 3), 0.5)
    save_file(tensors_as_in_timm(source), tmp_path / "ghostnet_050.safetensors")
    published = resolve("ghostnet").pretrained
    change_spec("ghostnet", pretrained=dataclasses.replace(published, urls={0.5: "the address"}))
    monkeypatch.setattr(
        imagenet, "fetch", {"the address": tmp_path / "ghostnet_050.safetensors"}.get
    )
    detector = make_detector(backbone="ghostnet", width=0.5, convention="timm")
    report = load(detector, "auto", "ghostnet", 0.5)
    assert (report.source, report.skipped) == ("imagenet", [])
    assert set(report.loaded) == set(values_of(detector.backbone))
    assert_same(values_of(detector.backbone), values_of(source))


@pytest.mark.parametrize("source", ["auto", "imagenet"])
def test_opening_downloads_nothing(monkeypatch, source):
    class DownloadStarted(Exception):
        pass

    def download(*_, **__):
        raise DownloadStarted

    monkeypatch.setattr(keras.applications, "MobileNetV2", download)
    monkeypatch.setattr(imagenet, "fetch", download)
    for backbone in ("mobilenetv2", "ghostnet"):
        weights = open_weights(source, backbone)
        assert weights.convention == resolve(backbone).conventions[weights.library]
        with pytest.raises(DownloadStarted):
            weights.contents  # noqa: B018


def test_unpublished_weights_are_an_error_or_a_warning(change_spec, target):
    message = "no ImageNet weights are published for ghostnet of width 0.5, use width 1, a file"
    with pytest.raises(UserError, match=message):
        load(target, "imagenet", "ghostnet", 0.5)
    assert message in load(target, "auto", "ghostnet", 0.5).message
    change_spec("mobilenetv1", pretrained=None)
    message = "no ImageNet weights to download for mobilenetv1"
    with pytest.raises(UserError, match=message):
        load(target, "imagenet")
    assert message in load(target, "auto").message
    assert load(target, "none", "ghostnet").message == "weights: random"
