"""Finds the convention of a file of weights: in the file, beside it, or by its format."""

import dataclasses
from pathlib import Path

from nets.backbones import BackboneSpec
from nets.conventions import KERAS, Convention
from utils.errors import UserError
from utils.json_records import from_json, read_json
from utils.run import read_convention
from utils.weights_file import DetectorHeader

FROM_TENSORFLOW = "tf_"  # prefix of timm's names of networks with the padding of TensorFlow


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
            the pixel scaling, and whether the weights come from TensorFlow.

    Raises:
        UserError: The library has no such backbone, or the config.json is damaged or missing for
            weights from TensorFlow.
    """
    if library not in spec.conventions:
        raise UserError(
            f"{path} is a file of {library}, which publishes no weights of {spec.name}, "
            "use another file"
        )
    convention = spec.conventions[library]
    if library == "timm":
        return _timm_convention(convention, path)
    return convention


def require_backbone(name: str, spec: BackboneSpec, path: Path) -> None:
    """Checks that a file has the weights of a backbone.

    Raises:
        UserError: It has those of another one, `name`.
    """
    if name != spec.name:
        raise UserError(f"{path} has weights of {name}, use --backbone {name}")


def _timm_convention(convention: Convention, path: Path) -> Convention:
    """The convention with what a config.json of the Hugging Face hub beside a file says, if any."""
    config = path.with_name("config.json")
    if not config.is_file():
        if path.name.startswith(FROM_TENSORFLOW):
            raise UserError(
                f"{path} has weights from TensorFlow, whose pixel scaling differs: copy its "
                "config.json from the Hugging Face hub to the same folder"
            )
        return convention
    where = f"{config}: pretrained_cfg"
    content = read_json(config, "get it again")
    if str(content.get("architecture")).startswith(FROM_TENSORFLOW):
        convention = dataclasses.replace(
            convention, padding=KERAS.padding, bn_epsilon=KERAS.bn_epsilon
        )
    scale = content.get("pretrained_cfg", {})
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
