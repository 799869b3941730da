import errno

import h5py
import keras
import numpy as np
import pytest
from safetensors.numpy import save_file

from nets.backbones import build_backbone, build_classifier, resolve
from nets.conventions import DARKNET
from tests.weights_checks import assert_refused, assert_same, load, make_detector, values_of
from utils.errors import UserError
from utils.run import RunDirectory
from utils.weights import loading
from utils.weights.backbone_file import BackboneHeader, save_backbone
from utils.weights.loading import load_weights, open_weights
from utils.weights_file import header_of, read_detector, save_detector


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A detector and the file of its weights."""
    detector = make_detector(seed=1, convention=DARKNET)
    path = tmp_path_factory.mktemp("run") / "best.weights.h5"
    RunDirectory(path.parent).save_best_weights(detector)
    return detector, path


@pytest.fixture(scope="module")
def target():
    return make_detector(seed=2)


def test_detector_loads_all_of_its_own_weights(saved):
    detector, path = saved
    other = make_detector(seed=3)
    report = load(other, path, width=0.25)
    assert report.skipped == []
    assert set(report.loaded) == set(values_of(detector))
    assert_same(values_of(other), values_of(detector))


def test_file_copied_from_its_run_keeps_its_convention(saved, tmp_path):
    path = tmp_path / "copy.weights.h5"
    path.write_bytes(saved[1].read_bytes())
    weights = open_weights(str(path), "mobilenetv1", 0.25)
    assert (weights.convention, weights.library) == (DARKNET, None)
    with pytest.raises(UserError, match="has weights of mobilenetv1, use --backbone mobilenetv1"):
        open_weights(str(path), "shufflenetv2")


def test_file_that_does_not_say_what_it_assumes_is_refused(tmp_path, run_config):
    with h5py.File(tmp_path / "a.weights.h5", "w") as file:  # as Keras 3 writes it
        file["layers/conv2d/vars/0"] = np.zeros((3, 3, 3, 8), np.float32)
        file["layers/conv2d/vars"].attrs["name"] = "conv1"
    with pytest.raises(UserError, match=r"a\.weights\.h5 does not say .*, copy the config\.json"):
        open_weights(str(tmp_path / "a.weights.h5"), "mobilenetv1")
    RunDirectory(tmp_path).describe(run_config, ["cat"])  # as in runs of earlier versions
    weights = open_weights(str(tmp_path / "a.weights.h5"), "mobilenetv1")
    assert weights.convention == run_config.convention


def test_changed_backbone_file_is_refused(tmp_path):
    backbone = build_backbone("mobilenetv1", (32, 32, 3), width=0.25)
    path = tmp_path / "backbone.safetensors"
    save(backbone, path)
    data = bytearray(path.read_bytes())
    data[-102] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"backbone\.safetensors is damaged: .* another digest"):
        open_weights(str(path), "mobilenetv1")


def test_file_is_read_once(saved, monkeypatch, tmp_path):
    detector, path = saved
    (tmp_path / "copy.weights.h5").write_bytes(path.read_bytes())
    reads = []

    def read(path, read_detector=loading.read_detector):
        reads.append(path)
        return read_detector(path)

    monkeypatch.setattr(loading, "read_detector", read)
    weights = open_weights(str(tmp_path / "copy.weights.h5"), "mobilenetv1", 0.25)
    (tmp_path / "copy.weights.h5").unlink()
    assert weights.contents is weights.contents
    assert weights.tensors
    for seed in (3, 4):
        other = make_detector(seed=seed)
        load_weights(other, weights)
        assert_same(values_of(other), values_of(detector))
    assert len(reads) == 1


def test_other_classes_leave_the_last_convolutions_unchanged(saved):
    detector, path = saved
    other = make_detector(num_classes=5, seed=3)
    before = values_of(other)
    report = load(other, path, width=0.25)
    skipped = {f"head_p{n}_logits/{part}" for n in (3, 4, 5) for part in ("kernel", "bias")}
    assert dict(report.skipped) == dict.fromkeys(skipped, "of another shape in the file")
    kept = {name: values for name, values in before.items() if name in skipped}
    assert_same(values_of(other), values_of(detector) | kept)
    assert "6 not loaded, of another shape in the file: head_p3_logits/" in report.message


def test_classes_in_another_order_leave_the_last_convolutions_unchanged(tmp_path):
    detector, other = make_detector(num_classes=2), make_detector(num_classes=2, seed=3)
    path = tmp_path / "a.weights.h5"
    save_detector(path, detector, header_of(detector, ("cat", "dog")))
    before, weights = values_of(other), open_weights(str(path), "mobilenetv1", 0.25)
    report = load_weights(other, weights, ("dog", "cat"))
    skipped = {f"head_p{n}_logits/{part}" for n in (3, 4, 5) for part in ("kernel", "bias")}
    assert dict(report.skipped) == dict.fromkeys(skipped, "of other classes in the file")
    kept = {name: values for name, values in before.items() if name in skipped}
    assert_same(values_of(other), values_of(detector) | kept)
    for classes in (("cat", "dog"), ()):  # the same, and unknown ones
        assert not load_weights(other, weights, classes).skipped


def test_file_of_a_backbone_fills_the_backbone_of_a_detector(tmp_path):
    keras.utils.set_random_seed(5)
    backbone = build_backbone("mobilenetv1", (32, 32, 3), width=0.25)
    save(backbone, tmp_path / "backbone.safetensors")
    detector = make_detector()
    report = load(detector, tmp_path / "backbone.safetensors", width=0.25)
    assert set(report.loaded) == set(values_of(backbone))
    assert {reason for _, reason in report.skipped} == {"not in the file"}
    assert_same(values_of(detector.backbone), values_of(backbone))


def test_classifier_and_backbone_exchange_weights_by_layer_name(tmp_path):
    classifier = build_classifier("mobilenetv1", (32, 32, 3), 0.25, classes=3)
    backbone = build_backbone("mobilenetv1", (32, 32, 3), 0.25)
    save(backbone, tmp_path / "backbone.safetensors")
    message = "conv_preds/kernel is not in the file"
    assert_refused(classifier, tmp_path / "backbone.safetensors", message)
    write_as_keras_2(classifier, tmp_path / "classifier.h5")
    report = load(backbone, tmp_path / "classifier.h5")
    assert len(report.loaded) == len(backbone.weights)
    assert dict(report.skipped) == {
        "conv_preds/kernel": "not part of this network",
        "conv_preds/bias": "not part of this network",
    }
    shared = {name: values_of(classifier)[name] for name in values_of(backbone)}
    assert_same(values_of(backbone), shared)


def test_files_of_keras_applications_are_loaded(tmp_path):
    keras.utils.set_random_seed(5)
    source = keras.applications.MobileNet((32, 32, 3), 0.25, include_top=False, weights=None)
    write_as_keras_2(source, tmp_path / "no_top.h5")
    (tmp_path / "config.json").write_text("{}")  # belongs to something else
    pixels = np.random.default_rng(0).uniform(0, 255, (1, 32, 32, 3)).astype("float32")
    backbone = build_backbone("mobilenetv1", (32, 32, 3), width=0.25)
    report = load(backbone, tmp_path / "no_top.h5", width=0.25)
    # 1 + 2 * 13 convolutions, each followed by a normalization of four weights
    assert len(report.loaded) == (1 + 4) * (1 + 2 * 13)
    assert report.skipped == []
    assert_same(values_of(backbone), values_of(source))
    np.testing.assert_allclose(backbone(pixels)[-1], source(pixels / 127.5 - 1), atol=1e-5)


def save(backbone, path):
    header = BackboneHeader("mobilenetv1", 0.25, resolve("mobilenetv1").conventions["keras"], "")
    save_backbone(path, backbone, header)


def write_as_keras_2(model, path):
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [layer.name for layer in model.layers]
        for layer in model.layers:
            group = file.create_group(layer.name)
            group.attrs["weight_names"] = [weight.path for weight in layer.weights]
            for weight in layer.weights:
                group[weight.path] = weight.numpy()


def test_error_for_another_width_names_the_tensor(tmp_path, target):
    wide = build_backbone("mobilenetv1", (32, 32, 3), width=0.5)
    save(wide, tmp_path / "wide.safetensors")
    assert_refused(
        target,
        tmp_path / "wide.safetensors",
        r"conv1/0 is \(3, 3, 3, 16\) in the file, \(3, 3, 3, 8\) in the network",
    )


def test_error_for_another_backbone_names_the_tensor(tmp_path, target):
    write_as_keras_2(build_backbone("shufflenetv2", (32, 32, 3), width=0.5), tmp_path / "s.h5")
    assert_refused(target, tmp_path / "s.h5", "does not fit mobilenetv1: .* not in the file")


def test_damaged_files_change_nothing(saved, tmp_path, target):
    whole = saved[1].read_bytes()
    for size in (0, 100, len(whole) // 2):
        (tmp_path / "cut.weights.h5").write_bytes(whole[:size])
        assert_refused(target, tmp_path / "cut.weights.h5", "cut.weights.h5 is damaged")
    assert_refused(target, tmp_path / "none.weights.h5", "no weights file")
    (tmp_path / "photo.jpg").write_bytes(b"")
    assert_refused(target, tmp_path / "photo.jpg", "has an unknown format")


def test_file_without_permission_is_not_called_damaged(saved, target, monkeypatch):
    def refuse(*args, **options):
        raise PermissionError(errno.EACCES, "Unable to open file")  # h5py names no file

    monkeypatch.setattr(h5py, "File", refuse)
    assert_refused(target, saved[1], r"no permission to read .*best\.weights\.h5")
    with pytest.raises(UserError, match=r"no permission to read .*best\.weights\.h5"):
        read_detector(saved[1])


def test_files_without_tensors_are_refused(tmp_path, target):
    with h5py.File(tmp_path / "empty.h5", "w") as file:
        file.attrs["layer_names"] = []
    save_file({}, tmp_path / "empty.safetensors")
    for file in ("empty.h5", "empty.safetensors"):
        backbone = "mobilenetv2" if file.endswith("safetensors") else "mobilenetv1"
        assert_refused(target, tmp_path / file, f"does not fit {backbone}", backbone)


@pytest.mark.parametrize("source", ["", "."])
def test_empty_file_name_is_a_user_error(source):
    with pytest.raises(UserError, match="no weights file"):
        open_weights(source, "mobilenetv1")


def test_error_for_a_number_that_is_not_finite_names_the_tensor(tmp_path, target):
    backbone = build_backbone("mobilenetv1", (32, 32, 3), width=0.25)
    kernel = backbone.get_layer("conv_pw_1").kernel
    kernel.assign(np.full(kernel.shape, np.nan))
    save(backbone, tmp_path / "nan.safetensors")
    assert_refused(target, tmp_path / "nan.safetensors", "conv_pw_1/0 holds NaN")
    kernel.assign(np.full(kernel.shape, np.inf))
    write_as_keras_2(backbone, tmp_path / "nan.h5")
    assert_refused(target, tmp_path / "nan.h5", "conv_pw_1/kernel holds NaN")


def test_source_determines_the_convention(tmp_path):
    write_as_keras_2(keras.Sequential(), tmp_path / "no_top.h5")
    path = tmp_path / "no_top.h5"
    keras_own = resolve("mobilenetv2").conventions["keras"]
    for source in ("auto", "imagenet"):
        assert open_weights(source, "mobilenetv2").convention == keras_own
        for name in ("efficientnet_lite0", "ghostnet", "shufflenetv2"):
            spec = resolve(name)
            convention = spec.conventions[spec.pretrained.library]
            assert open_weights(source, name).convention == convention
            assert convention.padding == "torch"
    darknet = resolve("darknet53").conventions["darknet"]
    assert open_weights("auto", "darknet53").convention == darknet
    assert open_weights("none", "ghostnet").convention == resolve("ghostnet").conventions["keras"]
    assert open_weights("none", "darknet53").convention == darknet
    assert open_weights(str(path), "mobilenetv2").convention == keras_own
    with pytest.raises(UserError, match="keras, which publishes no weights of darknet53"):
        open_weights(str(path), "darknet53")
