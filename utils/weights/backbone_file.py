"""The weights of a backbone in one self-describing file: a `.safetensors` with metadata."""

import dataclasses
import json
from pathlib import Path

import keras
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from nets.conventions import Convention
from utils.config import from_json
from utils.errors import UserError
from utils.files import written_whole
from utils.weights.layer_tensors import weights_by_key

FORMAT = "swapyolo backbone"


@dataclasses.dataclass(frozen=True)
class BackboneHeader:
    """The metadata of a backbone file.

    Attributes:
        backbone: Registered name of the backbone.
        width: Width multiplier.
        convention: Padding, epsilon and pixel scaling that the weights were trained with.
        source: Name of the file that the weights were converted from.
    """

    backbone: str
    width: float
    convention: Convention
    source: str


def save_backbone(path: Path, model: keras.Model, header: BackboneHeader) -> None:
    """Writes the weights of a backbone, named "layer/index".

    Args:
        path: The `.safetensors` to write, in an existing folder.
        model: The backbone.
        header: Its metadata.
    """
    tensors = {
        key: np.ascontiguousarray(weight.numpy()) for key, weight in weights_by_key(model).items()
    }
    metadata = {"format": FORMAT, "header": json.dumps(dataclasses.asdict(header))}
    with written_whole(path) as (part,):
        save_file(tensors, part, metadata)


def read_backbone_header(path: Path) -> BackboneHeader | None:
    """Reads the header of a file that `save_backbone` wrote; None for any other file.

    Raises:
        UserError: The file is damaged.
    """
    if path.suffix != ".safetensors" or not path.is_file():
        return None
    try:
        with safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
        if metadata.get("format") != FORMAT:
            return None
        header = json.loads(metadata["header"])
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise UserError(f"{path} is damaged ({error}), get it again") from error
    return from_json(BackboneHeader, header, str(path))
