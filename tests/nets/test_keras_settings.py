import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np

import nets.keras_settings  # noqa: F401


def build_and_print():
    """Prints the logits and losses of a detector, and the types of its weights, as JSON."""
    import tensorflow as tf

    from nets.detector import Detector

    keras.utils.set_random_seed(1)
    detector = Detector("mobilenetv1", 2, "v4-tiny", (64, 64), 0.25)
    images = tf.constant(np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), np.uint8))
    boxes, labels = tf.constant([[[8.0, 8, 40, 50]]]), tf.constant([[1]])
    losses = detector.compute_loss(images, boxes, labels)
    logits = detector(tf.cast(images, tf.float32))
    found = {
        "logits": logits.numpy().tolist(),
        "losses": {name: float(value) for name, value in losses.items()},
        "types": sorted({str(weight.dtype) for weight in detector.weights}),
        "epsilon": keras.config.epsilon(),
    }
    print(json.dumps(found))


def test_settings_of_the_user_are_not_used(tmp_path, capsys):
    settings = {
        "backend": "jax",
        "floatx": "float16",
        "epsilon": 1e-3,
        "image_data_format": "channels_first",
    }
    (tmp_path / "keras.json").write_text(json.dumps(settings))
    environment = os.environ | {"KERAS_HOME": str(tmp_path), "KERAS_BACKEND": "torch"}
    code = "import nets, tests.nets.test_keras_settings as test; test.build_and_print()"
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    build_and_print()
    expected = json.loads(capsys.readouterr().out)
    assert found["types"] == expected["types"] == ["float32"]
    assert found["epsilon"] == expected["epsilon"] == 1e-7
    np.testing.assert_allclose(found["logits"], expected["logits"], rtol=1e-5, atol=1e-6)
    for name, value in expected["losses"].items():
        np.testing.assert_allclose(found["losses"][name], value, rtol=1e-5)
