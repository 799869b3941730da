import keras
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import convert_weights
from nets.backbones import build_backbone, resolve
from utils.backbone_file import read_header
from utils.cli import run
from utils.errors import UserError
from utils.weights import convention_of, load_weights

PARTS = {4: ("weight", "bias", "running_mean", "running_var"), 2: ("weight", "bias")}


@pytest.fixture(scope="module")
def backbone():
    keras.utils.set_random_seed(7)
    return build_backbone("ghostnet", (64, 64, 3), 0.5, "torch")


@pytest.fixture
def timm_file(backbone, tmp_path):
    """The backbone as timm keeps it: its layers have timm's names."""
    tensors = {}
    for layer in backbone.layers:
        values = layer.get_weights()
        for part, value in zip(PARTS.get(len(values), ("weight",)), values, strict=False):
            if value.ndim == 4:
                depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
                value = value.transpose((2, 3, 0, 1) if depthwise else (3, 2, 0, 1))
            tensors[f"{layer.name}.{part}"] = np.ascontiguousarray(value)
    path = tmp_path / "ghostnet_050.safetensors"
    save_file(tensors, path)
    return path


def convert(*words):
    run(convert_weights.main, convert_weights.build_parser(), list(map(str, words)))


def refuse(capsys, *words):
    with pytest.raises(SystemExit) as ended:
        convert(*words)
    assert ended.value.code == 2
    return capsys.readouterr().err


def test_a_converted_file_carries_tensors_and_convention(backbone, timm_file, tmp_path, capsys):
    out = tmp_path / "out" / "ghost.safetensors"
    words = ("--from", "timm", "--backbone", "ghostnet", "--width", "0.5", "--out", out)
    convert(timm_file, *words)
    printed = capsys.readouterr().out
    assert f"{len(backbone.weights)} tensors loaded" in printed
    assert f"--backbone ghostnet --width 0.5 --weights {out}" in printed
    header = read_header(out)
    assert (header.backbone, header.width) == ("ghostnet", 0.5)
    assert header.convention == resolve("ghostnet").conventions["torch"]
    assert convention_of(str(out), "ghostnet") == header.convention

    again = build_backbone("ghostnet", (64, 64, 3), 0.5, header.convention)
    load_weights(again, str(out), "ghostnet")
    for ours, theirs in zip(again.weights, backbone.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_what_does_not_fit_is_refused_and_nothing_written(timm_file, tmp_path, capsys):
    out = tmp_path / "ghost.safetensors"
    ghost = ("--backbone", "ghostnet", "--out", out)
    assert "named as timm's" in refuse(capsys, timm_file, "--from", "torchvision", *ghost)
    assert "no width 0.7" in refuse(capsys, timm_file, "--from", "timm", "--width", "0.7", *ghost)
    assert "does not fit ghostnet" in refuse(capsys, timm_file, "--from", "timm", *ghost)
    missing = refuse(capsys, tmp_path / "none.safetensors", "--from", "timm", *ghost)
    assert "none.safetensors" in missing
    assert ".safetensors" in refuse(
        capsys, timm_file, "--from", "timm", "--backbone", "ghostnet", "--out", tmp_path / "a.h5"
    )
    timm_file.write_bytes(timm_file.read_bytes()[:-10])
    assert "is damaged" in refuse(capsys, timm_file, "--from", "timm", *ghost)
    assert not out.exists()


def test_a_tensor_of_another_shape_is_named(timm_file, tmp_path, capsys):
    tensors = load_file(timm_file)
    tensors["bn1.weight"] = np.ones(3, np.float32)
    save_file(tensors, timm_file)
    words = ("--from", "timm", "--backbone", "ghostnet", "--width", "0.5")
    assert "bn1.weight is (3,)" in refuse(
        capsys, timm_file, *words, "--out", tmp_path / "a.safetensors"
    )


def test_a_file_for_another_backbone_is_refused(timm_file, tmp_path):
    out = tmp_path / "ghost.safetensors"
    convert(timm_file, "--from", "timm", "--backbone", "ghostnet", "--width", "0.5", "--out", out)
    other = build_backbone("mobilenetv1", (64, 64, 3), 0.25)
    with pytest.raises(UserError, match="has weights of ghostnet"):
        load_weights(other, str(out), "mobilenetv1")
