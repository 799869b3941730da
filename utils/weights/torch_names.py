"""From the tensors of timm and torchvision to layers, by name.

GhostNet's layers are named as in timm and ShuffleNetV2's as in torchvision; the other families bear
the names of keras.applications, which this table translates. The order of tensors in a file plays
no part: a .safetensors sorts them as it likes.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from utils.weights.tensorfiles import LayerTensors

Pair = tuple[str, str]  # names of a convolution and of its normalization


@dataclass(frozen=True)
class LayerNames:
    """What a family calls its layers, `{}` standing for the name of the block.

    Attributes:
        stem: the first convolution.
        block: names of a block by `stage` and `block` of its stage, both from 0, and by `index`
            over all stages.
        first: name of the first block where it differs.
        expand: the pointwise convolution that a block widens with.
        depthwise: its depthwise convolution.
        project: the pointwise convolution that it ends with.
        squeeze: the two convolutions of squeeze and excitation.
        top: layers of the classifier, in order.
    """

    stem: Pair
    block: str
    depthwise: Pair
    project: Pair
    first: str = ""
    expand: Pair = ("", "")
    squeeze: Pair = ("", "")
    top: tuple[str, ...] = ()


MOBILENETV3 = LayerNames(
    stem=("conv", "conv_bn"),
    block="expanded_conv_{index}",
    first="expanded_conv",
    expand=("{}_expand", "{}_expand_bn"),
    depthwise=("{}_depthwise", "{}_depthwise_bn"),
    project=("{}_project", "{}_project_bn"),
    squeeze=("{}_squeeze_excite_conv", "{}_squeeze_excite_conv_1"),
    top=("conv_1", "conv_1_bn", "conv_2", "logits"),
)
EFFICIENTNET = LayerNames(
    stem=("stem_conv", "stem_bn"),
    block="block{stage}{letter}",
    expand=("{}_expand_conv", "{}_expand_bn"),
    depthwise=("{}_dwconv", "{}_bn"),
    project=("{}_project_conv", "{}_project_bn"),
    squeeze=("{}_se_reduce", "{}_se_expand"),
    top=("top_conv", "top_bn", "predictions"),
)
FAMILIES = {
    "mobilenetv1": LayerNames(
        stem=("conv1", "conv1_bn"),
        block="{number}",
        depthwise=("conv_dw_{}", "conv_dw_{}_bn"),
        project=("conv_pw_{}", "conv_pw_{}_bn"),
        top=("conv_preds",),
    ),
    "mobilenetv2": LayerNames(
        stem=("Conv1", "bn_Conv1"),
        block="block_{index}",
        first="expanded_conv",
        expand=("{}_expand", "{}_expand_BN"),
        depthwise=("{}_depthwise", "{}_depthwise_BN"),
        project=("{}_project", "{}_project_BN"),
        top=("Conv_1", "Conv_1_bn", "predictions"),
    ),
    "mobilenetv3_large": MOBILENETV3,
    "mobilenetv3_small": MOBILENETV3,
    **{f"efficientnetb{number}": EFFICIENTNET for number in range(8)},
    "efficientnet_lite0": EFFICIENTNET,
}

# A torch module's tensors in the order of a Keras layer's weights.
TORCH_PARTS = ("weight", "bias", "running_mean", "running_var")

# timm/models/_efficientnet_blocks.py: InvertedResidual, and DepthwiseSeparableConv without it.
TIMM_RESIDUAL = {
    "conv_pw": ("expand", 0),
    "bn1": ("expand", 1),
    "conv_dw": ("depthwise", 0),
    "bn2": ("depthwise", 1),
    "se.conv_reduce": ("squeeze", 0),
    "se.conv_expand": ("squeeze", 1),
    "conv_pwl": ("project", 0),
    "bn3": ("project", 1),
}
TIMM_SEPARABLE = {
    "conv_dw": ("depthwise", 0),
    "bn1": ("depthwise", 1),
    "se.conv_reduce": ("squeeze", 0),
    "se.conv_expand": ("squeeze", 1),
    "conv_pw": ("project", 0),
    "bn2": ("project", 1),
}


def modules_of(tensors: dict[str, np.ndarray]) -> set[str]:
    """The modules that the tensors of a state dict belong to."""
    return {name.rpartition(".")[0] for name in tensors}


def translate(
    tensors: dict[str, np.ndarray], backbone: str
) -> tuple[LayerTensors, list[tuple[str, str]]]:
    """Tensors of torch in our names and layouts.

    Args:
        tensors: of a state dict, by name.
        backbone: name of the backbone that they are meant for.

    Returns:
        The tensors, and those that no layer has a use for, each with the reason.
    """
    layers = layers_of(modules_of(tensors), backbone)
    translated, skipped = {}, []
    for name, values in tensors.items():
        module, _, part = name.rpartition(".")
        if part == "num_batches_tracked":
            skipped.append((name, "counters for training on"))
        elif module not in layers or part not in TORCH_PARTS:
            skipped.append((name, "not part of this network"))
        else:
            key = f"{layers[module]}/{TORCH_PARTS.index(part)}"
            translated[key] = (name, _from_torch_layout(values))
    return translated, skipped


def layers_of(modules: Iterable[str], backbone: str) -> dict[str, str]:
    """Layers by the torch modules that hold their tensors.

    Args:
        modules: names in a state dict, without ".weight" and the like.
        backbone: name of the backbone whose layers are meant.

    Returns:
        The modules that have a layer; others, such as those of a classifier, are left out.
    """
    modules = set(modules)
    names = FAMILIES.get(backbone)
    if names is None:
        return {module: module for module in modules}
    return (_from_timm if is_timm(modules) else _from_torchvision)(modules, names)


def is_timm(modules: Iterable[str]) -> bool:
    """Whether these are modules of timm rather than of torchvision."""
    return "conv_stem" in modules


def _from_timm(modules: set[str], names: LayerNames) -> dict[str, str]:
    layers = dict(zip(("conv_stem", "bn1"), names.stem, strict=True))
    blocks: dict[tuple[int, int], set[str]] = {}
    for module in modules:
        if found := re.fullmatch(r"blocks\.(\d+)\.(\d+)\.(.+)", module):
            blocks.setdefault((int(found[1]), int(found[2])), set()).add(found[3])
    top = ["conv_head", "bn2", "classifier"]
    for index, ((stage, block), parts) in enumerate(sorted(blocks.items())):
        prefix = f"blocks.{stage}.{block}"
        if "conv" in parts:  # MobileNetV3's last convolution is a block of its own in timm
            top = [f"{prefix}.conv", f"{prefix}.bn1", "conv_head", "classifier"]
            continue
        roles = TIMM_RESIDUAL if "conv_pwl" in parts else TIMM_SEPARABLE
        name = _block_name(names, stage, block, index)
        for part, (role, position) in roles.items():
            layers[f"{prefix}.{part}"] = getattr(names, role)[position].format(name)
    if len(names.top) == 1:
        top = ["classifier"]
    # Of another network it may have more or less: what does not fit is told when it is loaded.
    layers.update(zip(top, names.top, strict=False))
    return {module: layer for module, layer in layers.items() if module in modules}


def _from_torchvision(modules: set[str], names: LayerNames) -> dict[str, str]:
    """By position, see torchvision/models: mobilenetv2.py, mobilenetv3.py, efficientnet.py."""
    blocks: dict[tuple[int, int], list[str]] = {}
    outside = []
    for module in sorted(modules, key=_by_numbers):
        if found := re.fullmatch(r"features\.(\d+)\.(?:(\d+)\.block|block|conv)\..+", module):
            blocks.setdefault((int(found[1]), int(found[2] or 0)), []).append(module)
        else:
            outside.append(module)
    outside.sort(key=lambda module: module.startswith("classifier"))  # which comes last
    layers = dict(zip(outside, (*names.stem, *names.top), strict=False))
    for index, ((stage, block), parts) in enumerate(sorted(blocks.items())):
        name = _block_name(names, stage - 1, block, index)
        squeeze = [part for part in parts if part.endswith((".fc1", ".fc2"))]
        others = [part for part in parts if part not in squeeze]  # each convolution, then its norm
        roles = ("expand", "depthwise", "project")[-(len(others) // 2) :]
        templates = [template for role in roles for template in getattr(names, role)]
        pairs = (*zip(others, templates, strict=False), *zip(squeeze, names.squeeze, strict=False))
        layers.update((part, template.format(name)) for part, template in pairs)
    return layers


def _block_name(names: LayerNames, stage: int, block: int, index: int) -> str:
    if index == 0 and names.first:
        return names.first
    letter = chr(ord("a") + block)
    return names.block.format(stage=stage + 1, letter=letter, index=index, number=index + 1)


def _by_numbers(module: str) -> list[tuple[int, str]]:
    """So that features.10 comes after features.9."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in module.split(".")]


def _from_torch_layout(values: np.ndarray) -> np.ndarray:
    if values.ndim == 2:  # out, in -> in, out
        return values.T
    if values.ndim == 4 and values.shape[1] == 1:  # depthwise: channel, 1, H, W -> H, W, channel, 1
        return values.transpose(2, 3, 0, 1)
    if values.ndim == 4:  # out, in, H, W -> H, W, in, out
        return values.transpose(2, 3, 1, 0)
    return values
