"""Describes the network of a run as the metadata of exported models does."""

import hashlib

from nets.detector import Detector
from utils.inference.metadata import Metadata, Preprocessing
from utils.run import Run


def describe_run(run: Run) -> Metadata:
    """Returns the metadata of the network of a run in Keras."""
    config = run.config
    return Metadata(
        backbone=config.backbone,
        width=config.width,
        yolo=config.yolo.name,
        classes=tuple(run.classes),
        anchors=config.yolo.anchors,
        input_size=config.input_size,
        weights=digest_of(run.detector),
        preprocessing=Preprocessing(resize=config.resize),
    )


def digest_of(detector: Detector) -> str:
    """Returns the BLAKE2b of the weights of a detector, in their order."""
    digest = hashlib.blake2b(digest_size=16)
    for variable in detector.variables:
        digest.update(variable.numpy().tobytes())
    return digest.hexdigest()
