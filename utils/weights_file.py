"""Files of weights that describe themselves.

Weights give wrong results without an error if they are used with another padding or pixel scaling
than they were trained with. So each file carries one JSON document, in HDF5 as the root attribute
`swapyolo`, in a `.safetensors` as the entry `swapyolo` of its metadata:

    {"format": 1, "header": {...}, "digest": "..."}

The header says how to build the network. The digest detects any change of header or tensors.
"""

import dataclasses
import hashlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import h5py
import numpy as np

from nets.conventions import Convention
from nets.detector import Detector
from nets.versions import YoloVersion, with_anchors
from utils.errors import UserError
from utils.files import written_whole
from utils.hdf5 import all_groups, open_hdf5, read_values
from utils.json_records import from_json, parse_json
from utils.layer_tensors import REMEDY, LayerTensors, reading

FORMAT = 1
ENTRY = "swapyolo"
DIGEST_BYTES = 16

Header = TypeVar("Header")


class _NamedBuffer(io.BytesIO):
    """A file in memory with a name, by which Keras recognizes the format.

    If HDF5 itself writes to a disk that is full, it crashes the process with a segmentation fault
    (seen with HDF5 of h5py 3.14 at most sizes of the remaining space).
    """

    def __init__(self, name: str):
        super().__init__()
        self._name = name

    def __str__(self) -> str:
        return self._name


@dataclass(frozen=True)
class DetectorHeader:
    """How to build the detector of a file of weights.

    Attributes:
        backbone: Registered name of the backbone.
        width: Width multiplier of the backbone.
        convention: Padding, epsilon and pixel scaling that the weights assume.
        yolo: The YOLO version, with its anchors.
        input_size: Height and width in pixels that the detector was trained with. The weights can
            also be used with another size.
        num_classes: Number of classes.
        classes: Names of the classes, by label; empty if they are not known.
        anchors_assumed: Whether the anchors were not stated by the file that the weights were
            converted from, so that the anchors of the run may differ.
    """

    backbone: str
    width: float
    convention: Convention
    yolo: YoloVersion
    input_size: tuple[int, int]
    num_classes: int
    classes: tuple[str, ...] = ()
    anchors_assumed: bool = False


def header_of(detector: Detector, classes: Sequence[str] = ()) -> DetectorHeader:
    """Describes a detector.

    Args:
        detector: The detector.
        classes: Names of its classes, by label; empty if they are not known.
    """
    return DetectorHeader(
        backbone=detector.backbone_name,
        width=detector.width,
        convention=detector.convention,
        yolo=with_anchors(detector.version, detector.anchors),  # float32, as in anchors.txt
        input_size=detector.input_size,
        num_classes=detector.num_classes,
        classes=tuple(classes),
    )


def save_detector(path: Path, detector: Detector, header: DetectorHeader) -> None:
    """Writes the weights of a detector as Keras does, without its optimizer, with a header.

    Args:
        path: The `.weights.h5` to write or replace.
        detector: The detector.
        header: Its header, see `header_of`.
    """
    buffer = _NamedBuffer(path.name)
    optimizer = getattr(detector, "optimizer", None)
    detector.optimizer = None  # Keras would also save its variables
    try:
        detector.save_weights(buffer)
    finally:
        detector.optimizer = optimizer
    with h5py.File(buffer, "r+") as file:
        file.attrs[ENTRY] = make_document(header, read_tensors(file)[0])
    with written_whole(path, durable=True) as (part,):
        part.write_bytes(buffer.getbuffer())


def read_detector(path: Path) -> tuple[DetectorHeader | None, LayerTensors]:
    """Reads a `.weights.h5`, and verifies header and tensors if there is a header.

    Args:
        path: A file of `save_detector`, or another one that Keras 3 wrote.

    Returns:
        The header, None if the file has none; and the tensors under the names of the layers.

    Raises:
        UserError: The file is damaged or cannot be read.
    """
    with reading(path), open_hdf5(path) as file:
        text, tensors, by_key = file.attrs.get(ENTRY), *read_tensors(file)
    header = None if text is None else read_document(DetectorHeader, text, tensors, path)
    return header, by_key


def read_tensors(file: h5py.File) -> tuple[dict[str, np.ndarray], LayerTensors]:
    """Reads the tensors of a `.weights.h5` of Keras 3, which stores names of layers as attributes.

    Args:
        file: The open file.

    Returns:
        All tensors, by path and name of the layer; and the same tensors under the names of the
        layers.

    Raises:
        ValueError: Values are missing or in another file.
    """
    tensors, by_key = {}, {}

    for path, group in all_groups(file):
        layer = group.attrs.get("name", "")
        for index, item in group.items():
            if isinstance(item, h5py.Dataset):
                name = f"{path}/{index} ({layer})"
                tensors[name] = values = read_values(item, file)
                by_key[f"{layer}/{index}"] = (name, values)

    return tensors, by_key


def require_same(found: DetectorHeader | None, described: DetectorHeader, path: Path) -> None:
    """Checks that weights belong to the detector that their run directory describes.

    Args:
        found: Header of the weights; None if they have none, so that nothing can be compared.
        described: Header of the detector that was built from the other files of the directory.
        path: The file of the weights.

    Raises:
        UserError: They contradict each other; names the first value.
    """
    if found is None:
        return
    in_weights, in_run = dict(_values(found)), dict(_values(described))
    free = {"input_size", "anchors_assumed"}
    if found.anchors_assumed:
        free.add("yolo.anchors")
    if not found.classes:
        free.add("classes")
    for key in in_weights | in_run:
        ours, theirs = in_weights.get(key), in_run.get(key)
        if key.partition("[")[0] not in free and ours != theirs:
            raise UserError(
                f"{path} contradicts the other files of its run: {key} is {ours!r} in the weights "
                f"and {theirs!r} beside them, restore the file that was changed"
            )


def make_document(header: Any, tensors: Mapping[str, np.ndarray]) -> str:
    """Returns the document of a file as JSON.

    Args:
        header: A frozen dataclass.
        tensors: All tensors of the file, by name.
    """
    fields = dataclasses.asdict(header)
    return json.dumps({"format": FORMAT, "header": fields, "digest": _digest(fields, tensors)})


def read_document(
    kind: type[Header], text: Any, tensors: Mapping[str, np.ndarray], path: Path
) -> Header:
    """Reads the document of a file, and verifies header and tensors.

    Args:
        kind: Class of the header.
        text: The document.
        tensors: All tensors of the file, by name.
        path: The file, for error messages.

    Raises:
        UserError: The file is damaged or of a later format.
    """
    document = parse_json(text, f"{path}: {ENTRY}", REMEDY)
    if document.get("format") != FORMAT:
        raise UserError(
            f"{path} has format {document.get('format')!r}, this version of the project reads "
            f"{FORMAT}: use the version that wrote the file"
        )
    if document.get("digest") != _digest(document.get("header"), tensors):
        raise UserError(f"{path} is damaged: its content has another digest, {REMEDY}")
    return from_json(kind, document.get("header"), f"{path}: header")


def _digest(header: Any, tensors: Mapping[str, np.ndarray]) -> str:
    """BLAKE2b of a header and tensors.

    It covers the header as JSON with sorted keys, then the tensors sorted by name, each as name,
    data type, shape and the bytes in row-major order.
    """
    digest = hashlib.blake2b(json.dumps(header, sort_keys=True).encode(), digest_size=DIGEST_BYTES)
    for name in sorted(tensors):
        values = tensors[name]
        fields = f"\0{name}\0{values.dtype.str}\0{values.shape}\0"
        digest.update(fields.encode(errors="surrogateescape"))  # names in a damaged file
        digest.update(np.ascontiguousarray(values).data)
    return digest.hexdigest()


def _values(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Yields all single values of a dataclass, under keys such as `yolo.anchors[0][1][0]`."""
    if dataclasses.is_dataclass(value):
        for entry in dataclasses.fields(value):
            name = f"{key}.{entry.name}" if key else entry.name
            yield from _values(getattr(value, entry.name), name)
    elif isinstance(value, tuple):
        for index, item in enumerate(value):
            yield from _values(item, f"{key}[{index}]")
    else:
        yield key, value
