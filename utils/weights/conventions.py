"""Finds the convention of a file of weights: in the file, beside it, or by its format."""

import dataclasses
from pathlib import Path

from nets.backbones import BackboneSpec
from nets.conventions import Convention
from utils.config import from_json, read_json
from utils.errors import UserError
from utils.run import read_convention
from utils.weights_file import DetectorHeader


def run_convention(header: DetectorHeader | None, spec: BackboneSpec, path: Path) -> Convention:
    """Returns the convention of a detector that was trained or converted by this project.

    Args:
        header: Header of the file; None for files of earlier versions.
        spec: The backbone that is to be filled.
        path: The `.weights.h5`.

    Raises:
        UserError: The file has no header and is not in the directory of a run, or has the weights
            of another backbone.
    """
    if header:
        require_backbone(header.backbone, spec, path)
        return header.convention
    if convention := read_convention(path.parent):
        return convention
    raise UserError(
        f"{path} does not say which padding and pixel scaling its weights assume, copy the "
        "config.json of its run to the same folder"
    )


def published_convention(library: str, spec: BackboneSpec, path: Path) -> Convention:
    """Returns the convention of a file of another library.

    Args:
        library: Library that published the file, a key into the conventions of the backbone.
        spec: Its backbone.
        path: The file. A config.json from the Hugging Face hub beside a file of timm determines
            the pixel scaling.

    Raises:
        UserError: The library has no such backbone, or the config.json is damaged.
    """
    if library not in spec.conventions:
        raise UserError(
            f"{path} is a file of {library}, which publishes no weights of {spec.name}, "
            "use another file"
        )
    convention = spec.conventions[library]
    if library == "timm":
        return _scaled_by_config(convention, path.with_name("config.json"))
    return convention


def require_backbone(name: str, spec: BackboneSpec, path: Path) -> None:
    """Checks that a file has the weights of a backbone.

    Raises:
        UserError: It has those of another one, `name`.
    """
    if name != spec.name:
        raise UserError(f"{path} has weights of {name}, use --backbone {name}")


def _scaled_by_config(convention: Convention, config: Path) -> Convention:
    """The convention with the pixel scaling of a config.json of the Hugging Face hub, if any."""
    if not config.is_file():
        return convention
    where = f"{config}: pretrained_cfg"
    scale = read_json(config, "get it again").get("pretrained_cfg", {})
    if not isinstance(scale, dict):
        raise UserError(f"{where} is not a JSON object, get the file again")
    of_255 = {}
    for key in ("mean", "std"):
        if key in scale:
            values = from_json(tuple[float, float, float], scale[key], f"{where}: {key}")
            of_255[key] = tuple(255 * value for value in values)
    try:
        return dataclasses.replace(convention, **of_255)
    except ValueError as error:
        raise UserError(f"{where}: {error}, get the file again") from error
