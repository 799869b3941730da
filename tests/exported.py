"""Small trained-like detectors for tests of exports, and what their files must compute."""

import functools
from dataclasses import replace

import keras
import numpy as np

from nets.backbones import resolve
from nets.detector import Detector
from nets.inference_network import inference_network
from utils.config import Recipe, RunConfig
from utils.inference.metadata import Metadata
from utils.run import Run, RunDirectory

CLASSES = ["cat", "dog", "red car"]


def make_detector(backbone="mobilenetv1", version="v4", size=(64, 96), **options) -> Detector:
    """Makes a narrow detector whose statistics, offsets and logits vary, as after training."""
    options = {"width": min(resolve(backbone).widths), **options}
    keras.utils.set_random_seed(7)
    detector = Detector(backbone, len(CLASSES), version, size, **options)
    vary(detector)
    return detector


@functools.cache
def small_detector(version="v4") -> Detector:
    """Makes a detector of several tests once per process. Tests must not change it."""
    return make_detector(version=version)


@functools.cache
def small_network(version="v4") -> keras.Model:
    """Makes the inference network of `small_detector` once per process."""
    return inference_network(small_detector(version))


def vary(detector: Detector) -> None:
    """Sets the normalizations as if they had been trained on random images."""
    random = np.random.default_rng(5)
    images = random.uniform(0, 255, (4, *detector.input_size, 3)).astype(np.float32)
    norms = [
        layer
        for layer in [*detector.backbone.layers, *detector.layers]
        if isinstance(layer, keras.layers.BatchNormalization)
    ]
    for norm in norms:
        norm.momentum = 0.0
    detector(images, training=True)  # the moving statistics are now those of the images
    for norm in norms:
        norm.beta.assign(random.normal(0, 0.3, norm.beta.shape))
        norm.gamma.assign(random.uniform(0.7, 1.3, norm.gamma.shape))
    for layer in detector.layers:
        if layer.name.endswith("_logits"):
            layer.kernel.assign(random.normal(0, 0.05, layer.kernel.shape))
            layer.bias.assign(random.normal(0, 1, layer.bias.shape))


def make_run(path, **options) -> Run:
    """Writes a run directory with such a detector, and returns the run."""
    detector = make_detector(**options)
    config = RunConfig(
        detector.backbone_name,
        detector.width,
        detector.convention,
        detector.version,
        detector.input_size,
        Recipe(),
        data="VOCdevkit",
    )
    directory = RunDirectory(path)
    directory.describe(config, CLASSES)
    directory.save_best_weights(detector, CLASSES)
    return Run(path, config, CLASSES, detector)


def random_canvases(detector: Detector, count=2) -> np.ndarray:
    """Makes images (count, H, W, 3) float32 with flat and noisy areas."""
    random = np.random.default_rng(3)
    height, width = detector.input_size
    coarse = random.uniform(0, 255, (count, height // 16, width // 16, 3))
    return np.float32(np.round(coarse.repeat(16, axis=1).repeat(16, axis=2)))


def metadata_of(detector: Detector, **changes) -> Metadata:
    """Describes a detector, with some fields of the metadata changed."""
    described = Metadata(
        detector.backbone_name,
        detector.width,
        detector.version.name,
        tuple(CLASSES),
        detector.version.anchors,
        detector.input_size,
        weights="ab",
    )
    return replace(described, **changes)


def keras_outputs(detector: Detector, canvases: np.ndarray) -> dict[str, np.ndarray]:
    """Boxes as fractions and scores that an exported file must compute."""
    boxes, scores = (part.numpy() for part in detector.predict_boxes(canvases))
    height, width = detector.input_size
    return {"boxes": boxes / np.float32([width, height] * 2), "scores": scores}


def assert_close(found, expected, size, pixels=0.01, score=1e-4) -> None:
    """Asserts that boxes and scores are those of Keras.

    Boxes may be far larger than the image, since their sides are exponentials; then the error may
    be larger, too: `pixels` in a hundred.
    """
    assert found.keys() == expected.keys()
    assert np.ptp(expected["scores"]) > 0.05
    scale = np.float32([*size[::-1]] * 2)
    boxes = (outputs["boxes"] * scale for outputs in (found, expected))
    np.testing.assert_allclose(*boxes, rtol=pixels / 100, atol=pixels)
    np.testing.assert_allclose(found["scores"], expected["scores"], atol=score)


def exporter(write, folder, version="v4-tiny", **fields):
    """Returns a function that exports `small_detector` under a name and returns the path."""

    def export(name, **options):
        metadata = metadata_of(small_detector(version), **{**fields, **options})
        write(small_network(version), metadata, folder / name)
        return folder / name

    return export


def assert_predictions_of_keras(session, detector) -> None:
    """Asserts that a session computes what the detector does, for a full batch."""
    session.images[:] = random_canvases(detector, len(session.images))
    expected = keras_outputs(detector, session.images)
    found = session.run()
    assert found.keys() == {"boxes", "scores"}
    pixels = np.float32([*detector.input_size[::-1]] * 2)
    np.testing.assert_allclose(found["boxes"] * pixels, expected["boxes"] * pixels, atol=0.01)
    np.testing.assert_allclose(found["scores"], expected["scores"], atol=1e-4)
