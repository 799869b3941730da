"""Runs ONNX files in ONNX Runtime, or in OpenCV where that is not installed."""

import os
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from utils.cores import physical_cores
from utils.errors import UserError
from utils.inference.engines.onnx_metadata import read_text
from utils.inference.engines.session import (
    RuntimeSettings,
    Session,
    check_shapes,
    expected_dtype,
    expected_shapes,
    failures,
)
from utils.inference.metadata import REMEDY, Metadata
from utils.text import counted

if TYPE_CHECKING:
    import onnxruntime

__all__ = ["OnnxSession", "open_session", "read_text", "session_options"]

# ONNX Runtime would send usage events to mobile.events.data.microsoft.com.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
ERRORS_ONLY = 3  # level of ONNX Runtime's log
DTYPES = {"float32": "tensor(float)", "int32": "tensor(int32)"}  # names of ONNX Runtime


def open_session(path: Path, metadata: Metadata, settings: RuntimeSettings) -> Session:
    """Loads a model; see `utils.inference.model`.

    Raises:
        UserError: The file is damaged or contradicts its metadata, or it needs ONNX Runtime, which
            is not installed.
    """
    if find_spec("onnxruntime"):
        return OnnxSession(path, metadata, settings)
    from utils.inference.engines.opencv import OpenCVSession

    print(
        f"note: {path} runs in OpenCV, which is slower than ONNX Runtime: "
        "pip install -r requirements-export.txt",
        file=sys.stderr,
    )
    return OpenCVSession(path, metadata, settings)


def session_options(threads: int) -> "onnxruntime.SessionOptions":
    """Returns options of ONNX Runtime for a number of threads; it logs only errors."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = ERRORS_ONLY
    return options


class OnnxSession:
    """A model in ONNX Runtime, on the processor; see `Session`."""

    def __init__(self, path: Path, metadata: Metadata, settings: RuntimeSettings):
        import onnxruntime
        from onnxruntime.capi import onnxruntime_pybind11_state as errors

        threads = settings.threads or physical_cores()
        try:
            session = onnxruntime.InferenceSession(
                str(path), session_options(threads), providers=["CPUExecutionProvider"]
            )
            tensors = {each.name: each for each in (*session.get_inputs(), *session.get_outputs())}
        except (
            errors.Fail,
            errors.InvalidArgument,
            errors.InvalidGraph,
            errors.InvalidProtobuf,
            errors.NotImplemented,
            errors.RuntimeException,
            UnicodeDecodeError,  # of a name, or of a message that quotes one
        ) as error:
            raise UserError(f"{path} cannot be read by ONNX Runtime, {REMEDY}: {error}") from error
        shapes = {name: _free_as_none(each.shape) for name, each in tensors.items()}
        check_shapes(path, metadata, shapes)

        self.description = f"ONNX Runtime {onnxruntime.__version__}, {counted(threads, 'thread')}"
        self._path = path
        self._session = session
        # The runtime reads and writes these arrays, so that nothing is copied.
        self._binding = session.io_binding()
        arrays = {}
        batch = metadata.batch or settings.batch_size
        for name, shape in expected_shapes(metadata).items():
            kind, dtype = tensors[name].type, expected_dtype(name)
            if kind != DTYPES[dtype.name]:
                raise UserError(f"{path} has {name} in {kind} instead of {dtype}, {REMEDY}")
            arrays[name] = array = np.zeros((batch, *shape[1:]), dtype)
            bind = self._binding.bind_input if name == "images" else self._binding.bind_output
            bind(name, "cpu", 0, dtype, array.shape, array.ctypes.data)
        self.images = arrays.pop("images")
        self._outputs = arrays

    def run(self) -> Mapping[str, np.ndarray]:
        """Runs the model, see `Session`."""
        with failures(self._path, RuntimeError, UnicodeDecodeError):
            self._session.run_with_iobinding(self._binding)
        return self._outputs


def _free_as_none(shape: list[int | str | None]) -> tuple[int | None, ...]:
    return tuple(side if isinstance(side, int) else None for side in shape)
