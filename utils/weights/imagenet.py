"""ImageNet weights of a backbone, downloaded from the library that publishes them."""

import contextlib
import socket
import sys
from collections.abc import Iterator

import keras

from nets.backbones import BackboneSpec
from nets.pretrained import KerasApplication, TorchFiles
from utils.errors import JobError, UserError, disk_failure
from utils.layer_tensors import LayerTensors, weights_by_key
from utils.weights.downloads import CONNECT_SECONDS, fetch
from utils.weights.tensorfiles import read_torch
from utils.weights.torch_names import translate


def read_imagenet(spec: BackboneSpec, width: float) -> tuple[LayerTensors, list[tuple[str, str]]]:
    """Reads the published weights of a backbone; downloads them at the first call.

    Args:
        spec: The backbone.
        width: One of its width multipliers.

    Returns:
        The tensors, and the names of those that no layer uses, each with the reason.

    Raises:
        UserError: No weights of this width are published, or they cannot be downloaded.
        JobError: The disk is full or fails.
    """
    check_published(spec, width)
    if isinstance(spec.pretrained, KerasApplication):
        return _read_application(spec, spec.pretrained.name, width), []
    with _connection_timeout():
        path = fetch(spec.pretrained.urls[width])
    return translate(read_torch(path), spec.layer_names)


def check_published(spec: BackboneSpec, width: float) -> None:
    """Checks that there are weights to download; needs no network.

    Raises:
        UserError: No weights of this backbone and width are published.
    """
    if spec.pretrained is None:
        raise UserError(f"no ImageNet weights to download for {spec.name}, use a file or none")
    if isinstance(spec.pretrained, TorchFiles) and width not in spec.pretrained.urls:
        widths = ", ".join(f"{known:g}" for known in spec.pretrained.urls)
        raise UserError(
            f"no ImageNet weights are published for {spec.name} of width {width:g}, "
            f"use width {widths}, a file or none"
        )


def _read_application(spec: BackboneSpec, application: str, width: float) -> LayerTensors:
    options = {"alpha": width} if len(spec.widths) > 1 else {}
    build = getattr(keras.applications, application)
    try:
        with _connection_timeout(), contextlib.redirect_stdout(sys.stderr):
            source = build(
                input_shape=(224, 224, 3), include_top=False, weights="imagenet", **options
            )
    except Exception as error:
        # Keras raises a bare Exception if a download fails, and the socket an OSError.
        if type(error) is not Exception and not isinstance(error, OSError):
            raise
        message = f"no ImageNet weights for {spec.name}: {error}"
        if disk_failure(error):
            raise JobError(message) from error
        advice = "download the file elsewhere for --weights FILE, or use --weights none"
        raise UserError(f"{message}; {advice}") from error
    return {key: (weight.path, weight.numpy()) for key, weight in weights_by_key(source).items()}


@contextlib.contextmanager
def _connection_timeout() -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(CONNECT_SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
