import keras
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import convert_weights
from nets.backbones import build_backbone, resolve
from tests import darknet_networks
from utils.cli import run
from utils.errors import UserError
from utils.weights.backbone_file import read_header
from utils.weights.loading import convention_of, load_weights

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


def test_a_file_that_is_there_is_not_replaced(timm_file, tmp_path, capsys):
    before = timm_file.read_bytes()
    words = ("--from", "timm", "--backbone", "ghostnet", "--width", "0.5", "--out", timm_file)
    assert "is there already" in refuse(capsys, timm_file, *words)
    assert timm_file.read_bytes() == before


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


@pytest.fixture(scope="module")
def darknet_files(tmp_path_factory):
    """The .cfg and .weights of a yolov3-tiny of two classes, and a file of their names."""
    folder = tmp_path_factory.mktemp("darknet")
    (folder / "classes.txt").write_text("cat\ndog\n")
    return *darknet_networks.write(folder, darknet_networks.yolov3_tiny, (64, 64), 2), (
        folder / "classes.txt"
    )


def test_darknets_files_become_a_run_and_a_run_becomes_darknets_files(
    darknet_files, tmp_path, capsys
):
    cfg, weights, classes = darknet_files
    words = ("--from", "darknet", "--cfg", cfg, "--classes", classes)
    convert(weights, *words, "--out", tmp_path / "run")
    assert "darknet_tiny v3-tiny, width 1, 2 classes" in capsys.readouterr().out

    convert(tmp_path / "run", "--out", tmp_path / "new" / "tiny.weights")
    assert "cv2.dnn.readNetFromDarknet" in capsys.readouterr().out
    assert (tmp_path / "new" / "tiny.names").read_text() == "cat\ndog\n"
    # Behind the header, which counts images, all tensors as they were.
    again = (tmp_path / "new" / "tiny.weights").read_bytes()
    assert again[20:] == weights.read_bytes()[20:]
    words = ("--from", "darknet", "--cfg", tmp_path / "new" / "tiny.cfg", "--classes", classes)
    convert(tmp_path / "new" / "tiny.weights", *words, "--out", tmp_path / "again")
    for name in ("anchors.txt", "classes.txt"):
        assert (tmp_path / "again" / name).read_text() == (tmp_path / "run" / name).read_text()


def test_the_backbone_of_darknets_files_becomes_a_file_for_training(
    darknet_files, tmp_path, capsys
):
    cfg, weights, _ = darknet_files
    out = tmp_path / "tiny.safetensors"
    words = ("--from", "darknet", "--cfg", cfg, "--backbone", "darknet_tiny", "--out", out)
    convert(weights, *words)
    assert f"--backbone darknet_tiny --width 1 --weights {out}" in capsys.readouterr().out
    convention = convention_of(str(out), "darknet_tiny")
    assert convention == resolve("darknet_tiny").conventions["darknet"]
    backbone = build_backbone("darknet_tiny", (64, 64, 3), convention=convention)
    load_weights(backbone, str(out), "darknet_tiny")
    beta, gamma = np.frombuffer(weights.read_bytes()[20:148], "<f4").reshape(2, 16)
    np.testing.assert_array_equal(backbone.get_layer("conv1_bn").gamma, gamma)
    np.testing.assert_array_equal(backbone.get_layer("conv1_bn").beta, beta)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("a.weights", "--out", "run"), "--from is missing"),
        (("a.weights", "--from", "darknet", "--out", "run"), "use --from darknet --cfg FILE"),
        (("a.pth", "--from", "timm", "--cfg", "a.cfg", "--out", "b"), "use --from darknet --cfg"),
        (("a.weights", "--from", "darknet", "--cfg", "a.cfg", "--out", "b"), "by --classes FILE"),
        (("a.pth", "--from", "timm", "--out", "a.safetensors"), "add --backbone NAME"),
        (("a.h5", "--from", "yolo4-mobilenet", "--width", "1", "--out", "b"), "drop --backbone"),
        ((".", "--from", "timm", "--out", "a.weights"), "give --out alone"),
        ((".", "--out", "a.safetensors"), "name a FILE.weights"),
        ((".", "--out", "a.weights"), "no config.json in"),
    ],
)
def test_flags_that_do_not_belong_together_are_refused(words, message, tmp_path, capsys):
    words = [tmp_path if word == "." else word for word in words]
    error = refuse(capsys, *words)
    assert message in error
    assert error.count("\n") == 1
