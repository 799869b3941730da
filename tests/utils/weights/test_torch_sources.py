"""Backbones of timm and torchvision, run by themselves, against ours with the same tensors."""

import itertools
import json
import sys
import types

import keras
import numpy as np
import pytest
from safetensors.numpy import save_file

from nets.backbones import build_backbone
from utils.weights.downloads import PUBLISHED
from utils.weights.loading import convention_of, load_weights
from utils.weights.torch_names import is_timm, layers_of

TOLERANCE = 1e-4

# Our name and width, theirs, and where the features are: stages of timm's `blocks`, entries of
# torchvision's `features`, or names of modules.
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
SIZES = ((416, 416), (320, 256))
# Run by default, at the smaller size: one of each family and library. All others are marked slow.
USUAL = {
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
}


def cases(models, library):
    for model, size in itertools.product(models, SIZES):
        marks = () if model[2] in USUAL and size == SIZES[1] else pytest.mark.slow
        name = f"{library}-{model[2]}-{size[0]}x{size[1]}"
        yield pytest.param(library, *model, size, id=name, marks=marks)


@pytest.fixture(scope="module")
def torch():
    # torchvision's compiled operators want the torch that they were built for, and describing them
    # fails with another; no backbone uses them.
    sys.modules.setdefault("torchvision._meta_registrations", types.ModuleType("none"))
    return pytest.importorskip("torch", reason="torch, the oracle of these, is not installed")


def make_theirs(library, name):
    if library == "timm":
        return pytest.importorskip("timm").create_model(name).eval()
    return getattr(pytest.importorskip("torchvision.models"), name)().eval()


def randomize(torch, model, low=0.5):
    """Values under which features stay of the order of 1, statistics of normalization included.

    `low` is the least of what a normalization multiplies with, and a third of the greatest.
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
    """Their three features (B, H, W, C) of our pixels, which are scaled as the convention says."""
    found = []
    modules = (
        [getattr(model, f"stage{tap}") for tap in taps]
        if hasattr(model, "stage2")
        else [(model.blocks if hasattr(model, "blocks") else model.features)[tap] for tap in taps]
    )
    hooks = [
        module.register_forward_hook(lambda module, given, output: found.append(output))
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
    [*cases(TIMM, "timm"), *cases(TORCHVISION, "torchvision")],
)
def test_features_equal_those_of_the_source(
    torch, tmp_path, library, ours, width, theirs, taps, size
):
    source = make_theirs(library, theirs)
    randomize(torch, source, 0.25 if ours == "ghostnet" else 0.5)  # its sums of halves grow
    path = tmp_path / "model.safetensors"
    save_file({name: tensor.numpy() for name, tensor in source.state_dict().items()}, path)
    convention = convention_of(str(path), ours)
    backbone = build_backbone(ours, (*size, 3), width, convention)
    report = load_weights(backbone, str(path), ours, width)
    assert len(report.loaded) == len(backbone.weights)
    pixels = np.random.default_rng(0).uniform(0, 255, (1, *size, 3)).astype("float32")
    expected = features_of(torch, source, taps, pixels, convention)
    for feature, their_feature in zip(backbone(pixels), expected, strict=True):
        assert 0.03 < their_feature.std() < 30, "features too small or too large to tell anything"
        np.testing.assert_allclose(feature, their_feature, atol=TOLERANCE, rtol=0)
    keras.backend.clear_session(free_memory=True)


@pytest.mark.parametrize(
    ("config", "mean"),
    [(None, 123.675), ({"pretrained_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3}}, 127.5)],
)
def test_a_config_beside_a_timm_file_says_how_pixels_are_scaled(tmp_path, config, mean):
    path = tmp_path / "model.safetensors"
    save_file({"conv_stem.weight": np.zeros((16, 3, 3, 3), np.float32)}, path)
    if config:
        (tmp_path / "config.json").write_text(json.dumps(config))
    assert convention_of(str(path), "mobilenetv2").mean[0] == pytest.approx(mean)


def test_downloads_are_what_the_sources_publish_for_the_convention(torch):
    timm, models = pytest.importorskip("timm"), pytest.importorskip("torchvision.models")
    for width, url in PUBLISHED["shufflenetv2"].items():
        name = f"shufflenet_v2_x{width:.1f}".replace(".", "_")
        assert url == models.get_model_weights(name).DEFAULT.url
    for name, pattern in {
        "efficientnet_lite0": "efficientnet_lite0",
        "ghostnet": "ghostnet_*",
    }.items():
        (tag,) = timm.list_pretrained(pattern)
        (url,) = PUBLISHED[name].values()
        assert url == f"https://huggingface.co/timm/{tag}/resolve/main/model.safetensors"
        convention = convention_of("imagenet", name)
        config = timm.get_pretrained_cfg(tag)
        for scale, ours in ((config.mean, convention.mean), (config.std, convention.std)):
            assert ours == pytest.approx([255 * value for value in scale])


@pytest.mark.parametrize("backbone", ["mobilenetv2", "mobilenetv3_large", "efficientnetb0"])
@pytest.mark.parametrize("last", ["conv", "conv_pwl"])
def test_names_of_another_network_are_translated_as_far_as_they_go(backbone, last):
    modules = {"conv_stem", "bn1", "blocks.0.0.conv_dw", "blocks.0.0.bn1", f"blocks.1.0.{last}"}
    assert layers_of(modules, backbone).keys() <= modules


def test_names_are_translated_whatever_their_order():
    modules = [
        "features.10.conv.2",
        "classifier.1",
        "features.0.1",
        "features.2.conv.0.0",
        "features.0.0",
    ]
    assert not is_timm(modules)
    assert layers_of(modules, "mobilenetv2")["features.0.0"] == "Conv1"
