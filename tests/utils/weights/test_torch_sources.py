"""Backbones of torch libraries, run by these libraries, against ours with their tensors."""

import itertools
import json
import sys
import types

import keras
import numpy as np
import pytest
from safetensors.numpy import save_file

from nets.backbones import build_backbone, resolve
from utils.errors import UserError
from utils.weights.loading import load_weights, open_weights
from utils.weights.torch_names import layers_of, library_of, translate

TOLERANCE = 1e-4

# Our name and width, their name, and their features: indices into timm's `blocks`, torchvision's
# `features` or EfficientNet-PyTorch's `_blocks`, or numbers of stages.
TIMM = [
    ("mobilenetv1", 1.0, "mobilenetv1_100", (2, 3, 4)),
    *[
        ("mobilenetv2", w, f"mobilenetv2_{100 * w:03.0f}", (2, 4, 6))
        for w in (0.35, 0.5, 0.75, 1, 1.4)
    ],
    ("mobilenetv3_large", 0.75, "mobilenetv3_large_075", (2, 4, 5)),
    ("mobilenetv3_large", 1.0, "mobilenetv3_large_100", (2, 4, 5)),
    ("mobilenetv3_small", 0.75, "mobilenetv3_small_075", (1, 3, 4)),
    ("mobilenetv3_small", 1.0, "mobilenetv3_small_100", (1, 3, 4)),
    *[("ghostnet", w, f"ghostnet_{100 * w:03.0f}", (4, 6, 8)) for w in (0.5, 1, 1.3)],
    *[(f"efficientnetb{n}", 1.0, f"efficientnet_b{n}", (2, 4, 6)) for n in range(8)],
    ("efficientnet_lite0", 1.0, "efficientnet_lite0", (2, 4, 6)),
    ("efficientnet_lite0", 1.0, "tf_efficientnet_lite0", (2, 4, 6)),
    ("efficientnetb0", 1.0, "tf_efficientnet_b0", (2, 4, 6)),
    ("mobilenetv3_small", 1.0, "tf_mobilenetv3_small_100", (1, 3, 4)),
]
TORCHVISION = [
    ("mobilenetv2", 1.0, "mobilenet_v2", (6, 13, 17)),
    ("mobilenetv3_large", 1.0, "mobilenet_v3_large", (6, 12, 15)),
    ("mobilenetv3_small", 1.0, "mobilenet_v3_small", (3, 8, 11)),
    *[
        ("shufflenetv2", w, f"shufflenet_v2_x{w:.1f}".replace(".", "_"), (2, 3, 4))
        for w in (0.5, 1, 1.5, 2)
    ],
    *[(f"efficientnetb{n}", 1.0, f"efficientnet_b{n}", (3, 5, 7)) for n in range(8)],
]
# B1 has other numbers of blocks, B2 also other widths.
EFFICIENTNET_PYTORCH = [
    ("efficientnetb0", 1.0, "efficientnet-b0", (4, 10, 15)),
    ("efficientnetb1", 1.0, "efficientnet-b1", (7, 15, 22)),
    ("efficientnetb2", 1.0, "efficientnet-b2", (7, 15, 22)),
    ("efficientnet_lite0", 1.0, "efficientnet-lite0", (4, 10, 15)),
]
SIZES = ((416, 416), (320, 256))
# One of each family and library runs by default, at the smaller size; all others are marked slow.
DEFAULT = {
    "mobilenetv1_100",
    "mobilenetv2_035",
    "mobilenetv3_large_100",
    "mobilenetv3_small_075",
    "ghostnet_050",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "shufflenet_v2_x0_5",
    "efficientnet_b0",
    "efficientnet_lite0",
    "tf_efficientnet_lite0",
    "efficientnet-b1",
    "efficientnet-lite0",
}


def cases(models, library):
    for model, size in itertools.product(models, SIZES):
        marks = () if model[2] in DEFAULT and size == SIZES[1] else pytest.mark.slow
        name = f"{library}-{model[2]}-{size[0]}x{size[1]}"
        yield pytest.param(library, *model, size, id=name, marks=marks)


@pytest.fixture(scope="module")
def torch():
    # torchvision's compiled operators can only be registered with the torch they were built for; no
    # backbone uses them.
    sys.modules.setdefault("torchvision._meta_registrations", types.ModuleType("none"))
    return pytest.importorskip("torch", reason="torch, the oracle of these tests, is not installed")


def make_theirs(library, name):
    if library == "timm":
        return pytest.importorskip("timm").create_model(name).eval()
    if library == "efficientnet_pytorch":
        # Without a size, it pads for the size of each input, as TensorFlow does.
        network = pytest.importorskip("efficientnet_lite_pytorch").EfficientNet
        return network.from_name(name, image_size=None).eval()
    return getattr(pytest.importorskip("torchvision.models"), name)().eval()


def randomize(torch, model, low=0.5):
    """Sets random weights and statistics that keep features of the order of 1.

    The scales of normalizations lie in low..3 * low.
    """
    generator = torch.Generator().manual_seed(0)
    for name, tensor in model.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 1.5, generator=generator)
        elif name.endswith("weight") and tensor.ndim == 1:
            tensor.uniform_(low, 3 * low, generator=generator)
        elif tensor.ndim > 1:
            tensor.normal_(0, tensor[0].numel() ** -0.5, generator=generator)
        elif tensor.ndim == 1:
            tensor.normal_(0, 0.3, generator=generator)


def features_of(torch, model, taps, pixels, convention):
    """Their three features (B, H, W, C) of pixels 0..255, scaled as the convention says."""
    found = []
    if hasattr(model, "stage2"):
        modules = [getattr(model, f"stage{tap}") for tap in taps]
    else:
        (name,) = {"blocks", "_blocks", "features"} & {name for name, _ in model.named_children()}
        modules = [getattr(model, name)[tap] for tap in taps]
    hooks = [
        module.register_forward_hook(lambda module, inputs, output: found.append(output))
        for module in modules
    ]
    scaled = (pixels - np.array(convention.mean)) / np.array(convention.std)
    with torch.no_grad():
        model(torch.from_numpy(scaled.astype("float32").transpose(0, 3, 1, 2)))
    for hook in hooks:
        hook.remove()
    return [output.numpy().transpose(0, 2, 3, 1) for output in found]


@pytest.mark.parametrize(
    ("library", "ours", "width", "theirs", "taps", "size"),
    [
        *cases(TIMM, "timm"),
        *cases(TORCHVISION, "torchvision"),
        *cases(EFFICIENTNET_PYTORCH, "efficientnet_pytorch"),
    ],
)
def test_features_equal_those_of_the_library(
    torch, tmp_path, library, ours, width, theirs, taps, size
):
    source = make_theirs(library, theirs)
    randomize(torch, source, 0.25 if ours == "ghostnet" else 0.5)  # its sums of halves grow
    path = tmp_path / "model.safetensors"
    save_file({name: tensor.numpy() for name, tensor in source.state_dict().items()}, path)
    (tmp_path / "config.json").write_text(json.dumps({"architecture": theirs}))
    weights = open_weights(str(path), ours, width)
    assert weights.library == library
    backbone = build_backbone(ours, (*size, 3), width, weights.convention)
    report = load_weights(backbone, weights)
    assert len(report.loaded) == len(backbone.weights)
    pixels = np.random.default_rng(0).uniform(0, 255, (1, *size, 3)).astype("float32")
    expected = features_of(torch, source, taps, pixels, weights.convention)
    for feature, their_feature in zip(backbone(pixels), expected, strict=True):
        assert 0.03 < their_feature.std() < 30, "features too small or too large to compare"
        np.testing.assert_allclose(feature, their_feature, atol=TOLERANCE, rtol=0)
    keras.backend.clear_session(free_memory=True)


@pytest.mark.parametrize(
    ("scale", "message"),
    [
        ({"std": [0, 0.5, 0.5]}, "std is .* must be greater than 0"),
        ({"std": [0.5, -0.5, 0.5]}, "std is .* must be greater than 0"),
        ({"mean": [float("nan")] * 3}, "mean is nan, it must be a finite number"),
        ({"mean": [0.5]}, "mean has 1 numbers"),
        ({"mean": "0.5"}, "mean is '0.5'"),
        ([], "not a JSON object"),
    ],
)
def test_unusable_pixel_scaling_beside_a_timm_file_is_an_error(tmp_path, scale, message):
    path = tmp_path / "model.safetensors"
    save_file({"conv_stem.weight": np.zeros((16, 3, 3, 3), np.float32)}, path)
    (tmp_path / "config.json").write_text(json.dumps({"pretrained_cfg": scale}))
    with pytest.raises(UserError, match=rf"config\.json: pretrained_cfg.*{message}"):
        open_weights(str(path), "mobilenetv2")


def test_counters_of_torch_are_not_reported():
    tensors = {
        "conv1.weight": np.zeros((8, 3, 3, 3), np.float32),
        "bn1.num_batches_tracked": np.array(7),
        "fc.weight": np.zeros((2, 8), np.float32),
    }
    translated, skipped = translate(tensors, None)
    assert translated.keys() == {"conv1/0", "fc/0"}
    assert skipped == []


@pytest.mark.parametrize(
    ("config", "mean"),
    [(None, 123.675), ({"pretrained_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3}}, 127.5)],
)
def test_config_beside_a_timm_file_determines_pixel_scaling(tmp_path, config, mean):
    path = tmp_path / "model.safetensors"
    save_file({"conv_stem.weight": np.zeros((16, 3, 3, 3), np.float32)}, path)
    if config:
        (tmp_path / "config.json").write_text(json.dumps(config))
    convention = open_weights(str(path), "mobilenetv2").convention
    assert convention.mean[0] == pytest.approx(mean)


def test_timm_file_from_tensorflow_needs_its_config(tmp_path):
    path = tmp_path / "tf_mobilenetv3_large_100.safetensors"
    save_file({"conv_stem.weight": np.zeros((16, 3, 3, 3), np.float32)}, path)
    with pytest.raises(UserError, match=r"weights from TensorFlow.*copy its config\.json"):
        open_weights(str(path), "mobilenetv3_large")


def test_addresses_are_those_that_the_libraries_publish(torch):
    timm, models = pytest.importorskip("timm"), pytest.importorskip("torchvision.models")
    for width, url in resolve("shufflenetv2").pretrained.urls.items():
        name = f"shufflenet_v2_x{width:.1f}".replace(".", "_")
        assert url == models.get_model_weights(name).DEFAULT.url
    for name, pattern in {
        "efficientnet_lite0": "efficientnet_lite0",
        "ghostnet": "ghostnet_*",
    }.items():
        (tag,) = timm.list_pretrained(pattern)
        (url,) = resolve(name).pretrained.urls.values()
        assert url == f"https://huggingface.co/timm/{tag}/resolve/main/model.safetensors"
        convention = open_weights("imagenet", name).convention
        config = timm.get_pretrained_cfg(tag)
        for scale, ours in ((config.mean, convention.mean), (config.std, convention.std)):
            assert ours == pytest.approx([255 * value for value in scale])


@pytest.mark.parametrize("backbone", ["mobilenetv2", "mobilenetv3_large", "efficientnetb0"])
@pytest.mark.parametrize("last", ["conv", "conv_pwl"])
def test_names_of_another_network_are_translated_where_possible(backbone, last):
    modules = {"conv_stem", "bn1", "blocks.0.0.conv_dw", "blocks.0.0.bn1", f"blocks.1.0.{last}"}
    assert layers_of(modules, resolve(backbone).layer_names).keys() <= modules


def test_order_of_names_does_not_matter():
    modules = [
        "features.10.conv.2",
        "classifier.1",
        "features.0.1",
        "features.2.conv.0.0",
        "features.0.0",
    ]
    assert library_of(modules) == "torchvision"
    names = resolve("mobilenetv2").layer_names
    assert layers_of(modules, names)["features.0.0"] == "Conv1"
