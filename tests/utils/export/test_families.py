"""All families of backbones and all versions compute in every format what Keras computes."""

from importlib import import_module

import numpy as np
import pytest

from nets.inference_network import inference_network
from tests.exported import keras_outputs, make_detector, metadata_of, random_canvases
from utils.export.formats import FORMATS, ExportSettings
from utils.inference.engines.session import RuntimeSettings
from utils.inference.model import load_model

DETECTORS = [
    ("mobilenetv2", "v3"),
    ("mobilenetv3_small", "v4-tiny"),
    ("ghostnet", "v3-tiny"),
    ("shufflenetv2", "v4"),
    ("efficientnetb0", "v3-tiny"),
    ("cspdarknet_tiny", "v4-tiny"),
    ("cspdarknet53", "v3-spp"),
]


@pytest.mark.parametrize(("backbone", "version"), DETECTORS)
@pytest.mark.slow
def test_every_format_computes_what_keras_computes(backbone, version, tmp_path):
    detector = make_detector(backbone, version)
    network = inference_network(detector)
    canvases = random_canvases(detector)
    expected = keras_outputs(detector, canvases)
    for name in FORMATS:
        settings = ExportSettings(name, batch=len(canvases))
        path = tmp_path / settings.file_name
        module = import_module(f"utils.export.{name}")
        module.write(network, metadata_of(detector, batch=settings.batch), path)
        session = load_model(path, RuntimeSettings(precision="float32")).open()
        session.images[:] = canvases
        found = session.run()
        np.testing.assert_allclose(found["scores"], expected["scores"], atol=1e-4, err_msg=name)
        # Of boxes that reach far out of the image, only what is inside of it counts.
        boxes = [np.clip(each["boxes"], 0, 1) * [96, 64, 96, 64] for each in (found, expected)]
        np.testing.assert_allclose(*boxes, atol=0.01, err_msg=name)
