"""The weights of a backbone in one self-describing file: a `.safetensors` with a header."""

from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
from safetensors import safe_open
from safetensors.numpy import save

from nets.conventions import Convention
from utils.files import written_whole
from utils.json_records import from_json, parse_json
from utils.layer_tensors import REMEDY, reading, weights_by_key
from utils.weights_file import ENTRY, make_document, read_document

OLD_FORMAT = "swapyolo backbone"  # of files without a digest


@dataclass(frozen=True)
class BackboneHeader:
    """How to build the backbone of a file of weights.

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
        header: Its header.
    """
    tensors = {
        key: np.ascontiguousarray(weight.numpy()) for key, weight in weights_by_key(model).items()
    }
    with written_whole(path) as (part,):
        # save_file would make a file that only its owner can read.
        part.write_bytes(save(tensors, {ENTRY: make_document(header, tensors)}))


def read_backbone(path: Path) -> tuple[BackboneHeader, dict[str, np.ndarray]] | None:
    """Reads and verifies a file that `save_backbone` wrote.

    Returns:
        The header, and the tensors by "layer/index"; None for any other file.

    Raises:
        UserError: The file is damaged.
    """
    if path.suffix != ".safetensors" or not path.is_file():
        return None
    with reading(path), safe_open(path, framework="np") as file:
        metadata = file.metadata() or {}
        if ENTRY not in metadata and metadata.get("format") != OLD_FORMAT:
            return None
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if ENTRY in metadata:
        return read_document(BackboneHeader, metadata[ENTRY], tensors, path), tensors
    header = parse_json(metadata.get("header", ""), f"{path}: header", REMEDY)
    return from_json(BackboneHeader, header, f"{path}: header"), tensors
