"""A backbone's weights in one file that says what they are of: a `.safetensors` with metadata."""

import dataclasses
import json
from pathlib import Path

import keras
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from nets.conventions import Convention
from utils.errors import UserError
from utils.files import written_whole
from utils.weights.transfer import weights_by_key

FORMAT = "swapyolo backbone"


@dataclasses.dataclass(frozen=True)
class BackboneHeader:
    """What the tensors of a file belong to.

    Attributes:
        backbone: registered name.
        width: its width factor.
        convention: padding, epsilon and pixel scaling that the weights were trained with.
        source: the file that they came from.
    """

    backbone: str
    width: float
    convention: Convention
    source: str


def save_backbone(path: Path, model: keras.Model, header: BackboneHeader) -> None:
    """Writes the weights of a backbone, by layer and position, whole or not at all."""
    tensors = {
        key: np.ascontiguousarray(weight.numpy()) for key, weight in weights_by_key(model).items()
    }
    metadata = {"format": FORMAT, "header": json.dumps(dataclasses.asdict(header))}
    with written_whole(path) as (part,):
        save_file(tensors, part, metadata)


def read_header(path: Path) -> BackboneHeader | None:
    """What a `.safetensors` of `save_backbone` says of itself; None for any other file.

    Raises:
        UserError: the file is damaged.
    """
    if path.suffix != ".safetensors" or not path.is_file():
        return None
    try:
        with safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
        if metadata.get("format") != FORMAT:
            return None
        header = json.loads(metadata["header"])
        convention = header["convention"]
        for key in ("mean", "std"):
            convention[key] = tuple(convention[key])
        return BackboneHeader(**{**header, "convention": Convention(**convention)})
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is damaged ({error}), get it again") from error
