"""Runs ONNX files in OpenCV, which every installation has."""

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np

from utils.cores import physical_cores
from utils.errors import UserError
from utils.inference.engines.session import (
    RuntimeSettings,
    check_shapes,
    expected_shapes,
)
from utils.inference.metadata import Metadata
from utils.text import counted


class OpenCVSession:
    """A model in OpenCV, see `Session`.

    Raises:
        UserError: OpenCV cannot run the model.
    """

    def __init__(self, path: Path, metadata: Metadata, settings: RuntimeSettings):
        shapes = expected_shapes(metadata)
        batch = metadata.batch or settings.batch_size
        threads = settings.threads or physical_cores()
        self.images = np.zeros((batch, *shapes.pop("images")[1:]), np.float32)
        self.description = f"OpenCV {cv2.__version__}, {counted(threads, 'thread')}"
        self._names = list(shapes)
        cv2.setNumThreads(threads)
        logs = cv2.utils.logging
        level = logs.setLogLevel(logs.LOG_LEVEL_SILENT)
        try:
            self._network = cv2.dnn.readNetFromONNX(str(path), engine=cv2.dnn.ENGINE_NEW)
            if _has_integer_sigmoids(self._network):
                raise UserError(
                    f"{path} has sigmoids in INT8, which OpenCV {cv2.__version__} computes "
                    "wrongly: install ONNX Runtime (pip install -r requirements-export.txt)"
                )
            outputs = self.run()
        except cv2.error as error:
            raise UserError(
                f"{path} cannot be run by OpenCV, install ONNX Runtime (pip install -r "
                f"requirements-export.txt) or export the run again: {error.err}"
            ) from error
        finally:
            logs.setLogLevel(level)
        found = {"images": (metadata.batch, *self.images.shape[1:])}
        check_shapes(path, metadata, found | {key: out.shape for key, out in outputs.items()})

    def run(self) -> Mapping[str, np.ndarray]:
        """Runs the model, see `Session`."""
        self._network.setInput(self.images, "images")
        outputs = self._network.forward(self._names)
        return dict(zip(self._names, outputs, strict=True))


def _has_integer_sigmoids(network: cv2.dnn.Net) -> bool:
    """Whether integers represent the output of a sigmoid, as in EfficientNet.

    Then OpenCV 5.0.0 subtracts the zero point of the sigmoid's input twice.
    """
    names = network.getLayerNames()
    types = {name: network.getLayer(number).type for number, name in enumerate(names)}
    return any(kind == "Sigmoid" and f"{name}/quantized" in types for name, kind in types.items())
