"""Runs LiteRT models by ai-edge-litert, on its XNNPACK kernels."""

import ctypes
import mmap
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from utils.cores import physical_cores
from utils.errors import UserError
from utils.inference.engines.flatbuffer import DamagedError, Table
from utils.inference.engines.session import (
    RuntimeSettings,
    check_shapes,
    failures,
)
from utils.inference.metadata import ENTRY, REMEDY, Metadata
from utils.packages import missing_package
from utils.regular_files import check_regular
from utils.streams import silent_stderr
from utils.text import counted

if TYPE_CHECKING:
    from ai_edge_litert.interpreter import Interpreter

IDENTIFIER = b"TFL3"  # at byte 4 of the file
BUFFERS, METADATA = 4, 6  # fields of a model in LiteRT's schema
NAME, BUFFER = 0, 1  # fields of an entry of the metadata
DATA = 0  # field of a buffer


def read_text(path: Path) -> str | None:
    """Reads the metadata of a model, without its runtime.

    Args:
        path: The model.

    Returns:
        The document; None if the model has none.

    Raises:
        UserError: The file is no LiteRT model, or damaged.
    """
    check_regular(path)
    with path.open("rb") as file:
        if file.read(8)[4:] != IDENTIFIER:
            raise UserError(f"{path} is no LiteRT model: use a file of export.py")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            try:
                return _read_entry(Table.root(data))
            except (DamagedError, UnicodeDecodeError) as error:
                raise _damaged(path) from error


def _read_entry(model: Table) -> str | None:
    for entry in model.tables(METADATA):
        if entry.text(NAME, longest=len(ENTRY)) == ENTRY:
            return model.table(BUFFERS, entry.unsigned(BUFFER)).bytes(DATA).decode()
    return None


def open_session(path: Path, metadata: Metadata, settings: RuntimeSettings) -> "LiteRTSession":
    """Loads a model.

    The number of images per call is that of the model.

    Args:
        path: The model.
        metadata: Its metadata.
        settings: How to use the machine.

    Raises:
        UserError: The runtime is not installed, or the model is damaged or contradicts its
            metadata.
    """
    try:
        with silent_stderr():
            from ai_edge_litert.interpreter import Interpreter
    except ModuleNotFoundError as error:
        raise missing_package(path, "ai-edge-litert") from error
    threads = settings.threads or physical_cores()
    try:
        with silent_stderr():
            interpreter = Interpreter(str(path), num_threads=threads)
            interpreter.allocate_tensors()
        details = [*interpreter.get_input_details(), *interpreter.get_output_details()]
    except (ValueError, RuntimeError) as error:  # which of them depends on what is damaged
        raise _damaged(path) from error
    tensors = {detail["name"]: detail for detail in details}
    shapes = {name: tuple(detail["shape"].tolist()) for name, detail in tensors.items()}
    check_shapes(path, metadata, shapes)
    for name, detail in tensors.items():
        if detail["dtype"] != np.float32:
            raise UserError(f"{path} has {name} in {detail['dtype'].__name__}, {REMEDY}")
    description = f"LiteRT {version('ai-edge-litert')}, {counted(threads, 'thread')}"
    if metadata.precision == "int16x8":
        description += ", reference kernels: int16x8 takes seconds per image"
    try:
        return LiteRTSession(path, interpreter, tensors, description)
    except ValueError as error:  # a tensor has no memory
        raise _damaged(path) from error


class LiteRTSession:
    """A `Session` of LiteRT.

    Args:
        path: The model.
        interpreter: The model in its runtime, with tensors allocated.
        tensors: What LiteRT says about the input and the outputs, by name.
        description: Runtime and its settings, in words.
    """

    def __init__(
        self,
        path: Path,
        interpreter: "Interpreter",
        tensors: Mapping[str, dict[str, Any]],
        description: str,
    ):
        self.description = description
        arrays = {
            name: _view(interpreter, detail["index"], detail["shape"])
            for name, detail in tensors.items()
        }
        self.images = arrays.pop("images")
        self.images[:] = 0  # LiteRT does not clear its memory, which can hold NaN
        self._outputs = arrays
        self._interpreter = interpreter
        self._path = path

    def run(self) -> Mapping[str, np.ndarray]:
        """Runs the model on `images`, see `Session`."""
        with failures(self._path, RuntimeError):
            self._interpreter.invoke()
        return self._outputs


def _view(interpreter: "Interpreter", index: int, shape: np.ndarray) -> np.ndarray:
    """Returns the memory of an input or an output as an array.

    The arrays that `Interpreter.tensor` returns must be dropped before each run, since tensors may
    move. Inputs and outputs do not move unless they are resized or allocated again.
    """
    address = interpreter.tensor(index)().ctypes.data
    kind = type("Memory", (ctypes.c_float * int(np.prod(shape)),), {})
    memory = kind.from_address(address)
    memory.owner = interpreter  # lives at least as long as the array
    return np.ctypeslib.as_array(memory).reshape(shape)


def _damaged(path: Path) -> UserError:
    return UserError(f"{path} is damaged: copy it again, or {REMEDY}")
