import h5py
import keras
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import convert_weights
from nets.backbones import build_backbone, resolve
from nets.conventions import DARKNET
from tests import darknet_networks
from utils.cli import run
from utils.errors import UserError
from utils.weights.backbone_file import read_backbone
from utils.weights.loading import load_weights, open_weights
from utils.weights_file import read_detector

PARTS = {4: ("weight", "bias", "running_mean", "running_var"), 2: ("weight", "bias")}


@pytest.fixture(scope="module")
def backbone():
    keras.utils.set_random_seed(7)
    return build_backbone("ghostnet", (64, 64, 3), 0.5, "timm")


@pytest.fixture
def timm_file(backbone, tmp_path):
    """The backbone in a file of timm, which has the same names of layers."""
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


def error_of(capsys, *words):
    with pytest.raises(SystemExit) as exited:
        convert(*words)
    assert exited.value.code == 2
    return capsys.readouterr().err


def test_converted_file_holds_tensors_and_convention(backbone, timm_file, tmp_path, capsys):
    out = tmp_path / "out" / "ghost.safetensors"
    words = ("--from", "timm", "--backbone", "ghostnet", "--width", "0.5", "--out", out)
    convert(timm_file, *words)
    printed = capsys.readouterr().out
    assert f"{len(backbone.weights)} tensors loaded" in printed
    assert f"--backbone ghostnet --width 0.5 --weights {out}" in printed
    (tmp_path / "plain").touch()
    assert out.stat().st_mode == (tmp_path / "plain").stat().st_mode  # others can read it
    header, _ = read_backbone(out)
    assert (header.backbone, header.width) == ("ghostnet", 0.5)
    assert header.convention == resolve("ghostnet").conventions["timm"]
    weights = open_weights(str(out), "ghostnet")
    assert (weights.convention, weights.library) == (header.convention, None)

    again = build_backbone("ghostnet", (64, 64, 3), 0.5, header.convention)
    load_weights(again, weights)
    for ours, theirs in zip(again.weights, backbone.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_unsuitable_files_are_refused_and_nothing_is_written(timm_file, tmp_path, capsys):
    out = tmp_path / "ghost.safetensors"
    ghost = ("--backbone", "ghostnet", "--out", out)
    assert "named as in timm, use --from timm" in error_of(
        capsys, timm_file, "--from", "torchvision", *ghost
    )
    assert "no width 0.7" in error_of(capsys, timm_file, "--from", "timm", "--width", "0.7", *ghost)
    assert "does not fit ghostnet" in error_of(capsys, timm_file, "--from", "timm", *ghost)
    missing = error_of(capsys, tmp_path / "none.safetensors", "--from", "timm", *ghost)
    assert "none.safetensors" in missing
    assert ".safetensors" in error_of(
        capsys, timm_file, "--from", "timm", "--backbone", "ghostnet", "--out", tmp_path / "a.h5"
    )
    timm_file.write_bytes(timm_file.read_bytes()[:-10])
    assert "is damaged" in error_of(capsys, timm_file, "--from", "timm", *ghost)
    assert not out.exists()


@pytest.mark.parametrize("name", ["auto", "imagenet", "none"])
def test_source_is_always_a_file(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ("--from", "timm", "--backbone", "ghostnet", "--out", "ghost.safetensors")
    assert f"no weights file '{name}'" in error_of(capsys, name, *words)


def test_files_that_train_loads_directly_are_not_converted(backbone, timm_file, tmp_path, capsys):
    words = ("--from", "timm", "--backbone", "ghostnet", "--width", "0.5")
    convert(timm_file, *words, "--out", tmp_path / "ghost.safetensors")
    with h5py.File(tmp_path / "ghost.h5", "w") as file:
        file.attrs["layer_names"] = []  # as in files of keras.applications
    for file in ("ghost.safetensors", "ghost.h5"):
        out = tmp_path / "again.safetensors"
        error = error_of(capsys, tmp_path / file, *words, "--out", out)
        assert f"{file} needs no conversion" in error
        assert not out.exists()


def test_existing_file_is_not_replaced(timm_file, tmp_path, capsys):
    before = timm_file.read_bytes()
    words = ("--from", "timm", "--backbone", "ghostnet", "--width", "0.5", "--out", timm_file)
    assert "already exists" in error_of(capsys, timm_file, *words)
    assert timm_file.read_bytes() == before


def test_error_for_another_shape_names_the_tensor(timm_file, tmp_path, capsys):
    tensors = load_file(timm_file)
    tensors["bn1.weight"] = np.ones(3, np.float32)
    save_file(tensors, timm_file)
    words = ("--from", "timm", "--backbone", "ghostnet", "--width", "0.5")
    assert "bn1.weight is (3,)" in error_of(
        capsys, timm_file, *words, "--out", tmp_path / "a.safetensors"
    )


def test_file_of_another_backbone_is_refused(timm_file, tmp_path):
    out = tmp_path / "ghost.safetensors"
    convert(timm_file, "--from", "timm", "--backbone", "ghostnet", "--width", "0.5", "--out", out)
    with pytest.raises(UserError, match="has weights of ghostnet, use --backbone ghostnet"):
        open_weights(str(out), "mobilenetv1")


@pytest.fixture(scope="module")
def darknet_files(tmp_path_factory):
    """The .cfg and .weights of a yolov3-tiny with two classes, and the file of their names."""
    folder = tmp_path_factory.mktemp("darknet")
    (folder / "classes.txt").write_text("cat\ndog\n")
    return *darknet_networks.write(folder, darknet_networks.yolov3_tiny, (64, 64), 2), (
        folder / "classes.txt"
    )


def test_darknet_files_survive_the_conversion_to_a_run_and_back(darknet_files, tmp_path, capsys):
    cfg, weights, classes = darknet_files
    words = ("--from", "darknet", "--cfg", cfg, "--classes", classes)
    convert(weights, *words, "--out", tmp_path / "run")
    assert "darknet_tiny v3-tiny, width 1, 2 classes" in capsys.readouterr().out
    header, _ = read_detector(tmp_path / "run" / "best.weights.h5")
    assert (header.backbone, header.classes) == ("darknet_tiny", ("cat", "dog"))
    assert (header.convention, header.anchors_assumed) == (DARKNET, False)

    convert(tmp_path / "run", "--out", tmp_path / "new" / "tiny.weights")
    assert "cv2.dnn.readNetFromDarknet" in capsys.readouterr().out
    assert (tmp_path / "new" / "tiny.names").read_text() == "cat\ndog\n"
    # Everything after the header, which counts images, is the same.
    again = (tmp_path / "new" / "tiny.weights").read_bytes()
    assert again[20:] == weights.read_bytes()[20:]
    words = ("--from", "darknet", "--cfg", tmp_path / "new" / "tiny.cfg", "--classes", classes)
    convert(tmp_path / "new" / "tiny.weights", *words, "--out", tmp_path / "again")
    for name in ("anchors.txt", "classes.txt"):
        assert (tmp_path / "again" / name).read_text() == (tmp_path / "run" / name).read_text()


def test_backbone_of_darknet_files_becomes_a_file_for_training(darknet_files, tmp_path, capsys):
    cfg, weights, _ = darknet_files
    out = tmp_path / "tiny.safetensors"
    words = ("--from", "darknet", "--cfg", cfg, "--backbone", "darknet_tiny", "--out", out)
    convert(weights, *words)
    assert f"--backbone darknet_tiny --width 1 --weights {out}" in capsys.readouterr().out
    opened = open_weights(str(out), "darknet_tiny")
    assert opened.convention == resolve("darknet_tiny").conventions["darknet"]
    backbone = build_backbone("darknet_tiny", (64, 64, 3), convention=opened.convention)
    load_weights(backbone, opened)
    beta, gamma = np.frombuffer(weights.read_bytes()[20:148], "<f4").reshape(2, 16)
    np.testing.assert_array_equal(backbone.get_layer("conv1_bn").gamma, gamma)
    np.testing.assert_array_equal(backbone.get_layer("conv1_bn").beta, beta)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("a.weights", "--out", "run"), "--from is missing"),
        (("a.weights", "--from", "darknet", "--out", "run"), "use --from darknet --cfg FILE"),
        (("a.pth", "--from", "timm", "--cfg", "a.cfg", "--out", "b"), "use --from darknet --cfg"),
        (("a.weights", "--from", "darknet", "--cfg", "a.cfg", "--out", "b"), "add --classes FILE"),
        (("a.pth", "--from", "timm", "--out", "a.safetensors"), "add --backbone NAME"),
        (("a.h5", "--from", "yolo4-mobilenet", "--width", "1", "--out", "b"), "drop --backbone"),
        ((".", "--from", "timm", "--out", "a.weights"), "give --out alone"),
        ((".", "--out", "a.safetensors"), "name a FILE.weights"),
        ((".", "--out", "a.weights"), "no config.json in"),
    ],
)
def test_incompatible_flags_are_refused(words, message, tmp_path, capsys):
    source = tmp_path / words[0]
    if words[0] != ".":
        source.touch()
    words = [source, *words[1:]]
    error = error_of(capsys, *words)
    assert message in error
    assert error.count("\n") == 1


def test_a_missing_file_is_named_before_flags_that_it_needs(tmp_path, capsys):
    error = error_of(capsys, tmp_path / "a.h5", "--out", tmp_path / "run")
    assert f"no weights file '{tmp_path / 'a.h5'}' and no such run" in error
