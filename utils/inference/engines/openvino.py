"""Runs models of OpenVINO, without sending its usage events."""

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any
from xml.etree.ElementTree import Element, ParseError

import defusedxml.ElementTree
import numpy as np
from defusedxml import DefusedXmlException

from utils.cores import physical_cores
from utils.errors import UserError
from utils.inference.engines.session import (
    RuntimeSettings,
    check_shapes,
    failures,
    reason_of,
)
from utils.inference.metadata import ENTRY, Metadata
from utils.packages import missing_package
from utils.regular_files import check_regular
from utils.text import counted

DEVICE = "CPU"
MODEL = "detector.xml"
PRECISIONS = {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}  # names of OpenVINO
NAMES = {name: precision for precision, name in PRECISIONS.items()}


class OpenVinoSession:
    """A `Session` on a request of a compiled model."""

    def __init__(self, path: Path, compiled: Any, description: str):
        self.description = description
        self._path = path
        self._request = compiled.create_infer_request()
        # Views of the memory of the request.
        self.images = self._request.get_tensor("images").data
        self._names = [output.any_name for output in compiled.outputs]

    def run(self) -> Mapping[str, np.ndarray]:
        """Runs the model on `images`, see `Session`."""
        with failures(self._path, RuntimeError):
            self._request.infer(share_outputs=True)
        return {name: self._request.get_tensor(name).data for name in self._names}


def import_openvino() -> ModuleType:
    """Imports OpenVINO without its telemetry, which would send usage events to the network.

    Everything that uses OpenVINO or nncf calls it before it imports them.

    Raises:
        ModuleNotFoundError: OpenVINO is not installed.
    """
    # Both have a stub for environments without this package, and import it only once.
    sys.modules.setdefault("openvino_telemetry", None)
    import openvino

    return openvino


def read_text(path: Path) -> str | None:
    """Reads the metadata of a model; None if it has none. This needs no OpenVINO.

    Args:
        path: The folder, or the XML file in it.

    Raises:
        UserError: The file is damaged.
    """
    xml = find_xml(path)
    check_regular(xml)
    try:
        with xml.open("rb") as file:
            return _find_entry(defusedxml.ElementTree.iterparse(file, ("start", "end")))
    except (ParseError, DefusedXmlException, ValueError) as error:
        raise UserError(f"{xml} is damaged: {error}; export the run again") from error


def _find_entry(events: Iterable[tuple[str, Element]]) -> str | None:
    """Returns the value of net/rt_info/swapyolo; None if there is none.

    The nodes of layers are dropped as soon as they end, so that large networks need no memory.
    """
    parents: list[str] = []
    for event, node in events:
        if event == "start":
            parents.append(node.tag)
            continue
        parents.pop()
        if node.tag == ENTRY and parents == ["net", "rt_info"]:
            return node.get("value")
        node.clear()
    return None


def find_xml(path: Path) -> Path:
    """Returns the XML file of a folder, which may not exist, or the path itself if it is a file."""
    if not path.is_dir():
        return path
    model = path / MODEL
    return model if model.is_file() else min(path.glob("*.xml"), default=model)


def open_session(path: Path, metadata: Metadata, settings: RuntimeSettings) -> OpenVinoSession:
    """Compiles a model for the processor.

    Raises:
        UserError: OpenVINO is not installed, or the model is damaged or contradicts its metadata.
    """
    try:
        openvino = import_openvino()
    except ModuleNotFoundError as error:
        raise missing_package(path, "openvino") from error
    xml = find_xml(path)
    weights = xml.with_suffix(".bin")
    if not weights.is_file():
        raise UserError(f"{path} has no {weights.name} beside {xml.name}: export the run again")
    core = openvino.Core()
    try:
        model = core.read_model(xml, weights)
        check_shapes(path, metadata, _shapes(model))
        batch = metadata.batch or settings.batch_size
        model.reshape({"images": [batch, *metadata.input_size, 3]})
        compiled = core.compile_model(model, DEVICE, _properties(settings))
    except RuntimeError as error:
        raise UserError(
            f"OpenVINO cannot read {path}: {reason_of(error)}; export the run again"
        ) from error
    return OpenVinoSession(path, compiled, _describe(openvino, compiled, metadata, settings))


def _properties(settings: RuntimeSettings) -> dict[str, Any]:
    """Returns the properties with which a model is compiled."""
    precision = {}
    if settings.precision != "auto":
        precision = {"INFERENCE_PRECISION_HINT": PRECISIONS[settings.precision]}
    return {
        # One call at a time, so that all threads work on it.
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        # A thread that may not leave its core waits whenever another program uses that core.
        "ENABLE_CPU_PINNING": False,
        "INFERENCE_NUM_THREADS": settings.threads or physical_cores(),
        **precision,
    }


def _describe(
    openvino: ModuleType, compiled: Any, metadata: Metadata, settings: RuntimeSettings
) -> str:
    """Returns the runtime, and the precision and the threads that it really uses, in words."""
    name = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    precision = NAMES.get(name, name)
    if settings.precision not in ("auto", precision):
        precision += f" (this processor has no {settings.precision})"
    if metadata.precision == "int8":
        precision = f"int8 and {precision}"
    threads = compiled.get_property("INFERENCE_NUM_THREADS")
    version = openvino.__version__.split("-")[0]
    return f"OpenVINO {version}, {precision}, {counted(threads, 'thread')}"


def _shapes(model: Any) -> dict[str, tuple[int | None, ...]]:
    """Returns the shapes of inputs and outputs by name, with None for free dimensions."""
    return {
        name: tuple(
            each.get_length() if each.is_static else None for each in port.get_partial_shape()
        )
        for port in [*model.inputs, *model.outputs]
        for name in port.get_names()
    }
