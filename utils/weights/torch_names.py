"""Translates tensors of timm, torchvision and EfficientNet-PyTorch into those of our layers.

Some families of backbones name their layers as timm and torchvision do. The others use the names of
keras.applications, and their registration gives the names (`LayerNames`). The order of the tensors
in a file is ignored, since .safetensors files sort them.
"""

import re
from collections.abc import Iterable

import numpy as np

from nets.pretrained import LayerNames
from utils.layer_tensors import LayerTensors

# The tensors of a torch module in the order of the weights of a Keras layer.
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

# efficientnet_pytorch/model.py of github.com/lukemelas/EfficientNet-PyTorch: MBConvBlock.
EFFICIENTNET_PYTORCH = {
    "_expand_conv": ("expand", 0),
    "_bn0": ("expand", 1),
    "_depthwise_conv": ("depthwise", 0),
    "_bn1": ("depthwise", 1),
    "_se_reduce": ("squeeze", 0),
    "_se_expand": ("squeeze", 1),
    "_project_conv": ("project", 0),
    "_bn2": ("project", 1),
}


def modules_of(tensors: dict[str, np.ndarray]) -> set[str]:
    """Returns the names of the modules that the tensors of a state dict belong to."""
    return {name.rpartition(".")[0] for name in tensors}


def translate(
    tensors: dict[str, np.ndarray], names: LayerNames | None
) -> tuple[LayerTensors, list[tuple[str, str]]]:
    """Translates torch tensors into our names and layouts.

    Args:
        tensors: Tensors of a state dict, by name.
        names: Names of the layers of the backbone; None if they are the names of the modules.

    Returns:
        The tensors, and the names of those that no layer uses, each with the reason. The counters
        `num_batches_tracked` are in neither.
    """
    layers = layers_of(modules_of(tensors), names)
    translated, skipped = {}, []
    for name, values in tensors.items():
        module, _, part = name.rpartition(".")
        if part == "num_batches_tracked":
            continue  # a counter of torch's training, which is no weight
        if module not in layers or part not in TORCH_PARTS:
            skipped.append((name, "not part of this network"))
        else:
            key = f"{layers[module]}/{TORCH_PARTS.index(part)}"
            translated[key] = (name, _from_torch_layout(values))
    return translated, skipped


def layers_of(modules: Iterable[str], names: LayerNames | None) -> dict[str, str]:
    """Finds the layer that takes the tensors of each torch module.

    Args:
        modules: Names in a state dict, without the last part such as ".weight".
        names: Names of the layers of the backbone; None if they are the names of the modules.

    Returns:
        Names of layers by module; modules without a layer, such as those of a classifier, are left
        out.
    """
    modules = set(modules)
    if names is None:
        return {module: module for module in modules}
    readers = {
        "timm": _from_timm,
        "efficientnet_pytorch": _from_efficientnet_pytorch,
        "torchvision": _from_torchvision,
    }
    return readers[library_of(modules)](modules, names)


def library_of(modules: Iterable[str]) -> str:
    """Returns the library that uses these names, a key into the conventions of a backbone."""
    if "conv_stem" in modules:
        return "timm"
    return "efficientnet_pytorch" if "_conv_stem" in modules else "torchvision"


def _from_timm(modules: set[str], names: LayerNames) -> dict[str, str]:
    layers = dict(zip(("conv_stem", "bn1"), names.stem, strict=True))
    blocks: dict[tuple[int, int], set[str]] = {}
    for module in modules:
        if found := re.fullmatch(r"blocks\.(\d+)\.(\d+)\.(.+)", module):
            blocks.setdefault((int(found[1]), int(found[2])), set()).add(found[3])
    top = ["conv_head", "bn2", "classifier"]
    for index, ((stage, block), parts) in enumerate(sorted(blocks.items())):
        prefix = f"blocks.{stage}.{block}"
        if "conv" in parts:  # timm counts MobileNetV3's last convolution as a block
            top = [f"{prefix}.conv", f"{prefix}.bn1", "conv_head", "classifier"]
            continue
        roles = TIMM_RESIDUAL if "conv_pwl" in parts else TIMM_SEPARABLE
        name = _block_name(names, stage, block, index)
        for part, (role, position) in roles.items():
            layers[f"{prefix}.{part}"] = getattr(names, role)[position].format(name)
    if len(names.top) == 1:
        top = ["classifier"]
    # The file may be of another network with more or fewer layers; loading reports what is missing.
    layers.update(zip(top, names.top, strict=False))
    return {module: layer for module, layer in layers.items() if module in modules}


def _from_efficientnet_pytorch(modules: set[str], names: LayerNames) -> dict[str, str]:
    layers = dict(zip(("_conv_stem", "_bn0"), names.stem, strict=True))
    layers.update(zip(("_conv_head", "_bn1", "_fc"), names.top, strict=True))
    blocks = [(stage, block) for stage, count in enumerate(names.repeats) for block in range(count)]
    for index, (stage, block) in enumerate(blocks):
        name = _block_name(names, stage, block, index)
        for part, (role, position) in EFFICIENTNET_PYTORCH.items():
            layers[f"_blocks.{index}.{part}"] = getattr(names, role)[position].format(name)
    return {module: layer for module, layer in layers.items() if module in modules}


def _from_torchvision(modules: set[str], names: LayerNames) -> dict[str, str]:
    """Maps by position: torchvision/models/mobilenetv2.py, mobilenetv3.py, efficientnet.py."""
    blocks: dict[tuple[int, int], list[str]] = {}
    outside = []
    for module in sorted(modules, key=_by_numbers):
        if found := re.fullmatch(r"features\.(\d+)\.(?:(\d+)\.block|block|conv)\..+", module):
            blocks.setdefault((int(found[1]), int(found[2] or 0)), []).append(module)
        else:
            outside.append(module)
    outside.sort(key=lambda module: module.startswith("classifier"))  # the classifier comes last
    layers = dict(zip(outside, (*names.stem, *names.top), strict=False))
    for index, ((stage, block), parts) in enumerate(sorted(blocks.items())):
        name = _block_name(names, stage - 1, block, index)
        squeeze = [part for part in parts if part.endswith((".fc1", ".fc2"))]
        # Each convolution is followed by its normalization.
        others = [part for part in parts if part not in squeeze]
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
    """Sort key that puts features.10 after features.9."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in module.split(".")]


def _from_torch_layout(values: np.ndarray) -> np.ndarray:
    if values.ndim == 2:  # out, in -> in, out
        return values.T
    if values.ndim == 4 and values.shape[1] == 1:  # depthwise: channel, 1, H, W -> H, W, channel, 1
        return values.transpose(2, 3, 0, 1)
    if values.ndim == 4:  # out, in, H, W -> H, W, in, out
        return values.transpose(2, 3, 1, 0)
    return values
