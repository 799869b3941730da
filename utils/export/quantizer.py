"""What turns a network into a file with integer convolutions."""

from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Protocol

import numpy as np

from utils.inference.metadata import Calibration, Metadata


@dataclass(frozen=True)
class CalibrationSet:
    """The images on which the ranges of the activations are measured.

    Attributes:
        canvases: (N, H, W, 3) uint8, letterboxed as in prediction.
    """

    canvases: np.ndarray

    @cached_property
    def calibration(self) -> Calibration:
        """Number and digest of the images."""
        digest = blake2b(np.ascontiguousarray(self.canvases).data, digest_size=16)
        return Calibration(len(self.canvases), digest.hexdigest())


class Quantizer(Protocol):
    """Quantizes one network for one format.

    It is built as `Quantizer(network, metadata, images)` from an `inference_network`, and measures
    the ranges once, so that several files can be written.
    """

    def write(self, metadata: Metadata, path: Path) -> None:
        """Writes the model.

        Args:
            metadata: The metadata to write; `quantization.float_layers` names the convolutions that
                stay in float, by their names in the network.
            path: File or folder to write.

        Raises:
            JobError: A convolution that should be quantized is not.
        """
        ...
