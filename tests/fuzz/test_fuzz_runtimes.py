"""Damaged models in the runtimes that run them, each time in a process of its own.

A crash of a runtime is not ours, see SECURITY.md; a traceback or a hang would be.
"""

import multiprocessing
from importlib import import_module

import keras
import pytest

from tests.fuzz.test_fuzz_exported import METADATA, PREDICTIONS
from tests.fuzzing import SECONDS, changed_xml, check_line, damaged, judge
from utils.errors import UserError
from utils.inference.engines.session import RuntimeSettings
from utils.inference.model import load_model
from utils.text import one_line

SETTINGS = RuntimeSettings(threads=1)
# Per format, the name of the model, the file that is damaged, and the runtime.
RUNTIMES = {
    "onnx": ("a.onnx", "a.onnx", "onnxruntime"),
    "litert": ("a.tflite", "a.tflite", "ai_edge_litert.interpreter"),
    "openvino": ("a", "a/detector.xml", "openvino"),
    "openvino weights": ("a", "a/detector.bin", "openvino"),
}
# What the server of processes imports. It starts once, for all formats, and skips what is not
# installed. OpenVINO would send usage events, see `import_openvino`.
PRELOADED = ["tests.fuzz.test_fuzz_runtimes", "onnxruntime", "ai_edge_litert.interpreter"]


def make_network():
    """Makes a network with the shapes of a detector."""
    height, width = METADATA.input_size
    images = keras.Input((height, width, 3), batch_size=1, name="images")
    pixels = keras.layers.Rescaling([1 / 255] * 3, [0.0] * 3)(images)
    outputs = {}
    for name, values in (("boxes", 4), ("scores", len(METADATA.classes))):
        channels = PREDICTIONS * values // 2  # there are two cells
        cells = keras.layers.Conv2D(channels, 1, 32, activation="sigmoid")(pixels)
        outputs[name] = keras.layers.Reshape((PREDICTIONS, values))(cells)
    return keras.Model(images, outputs)


def open_in_child(path, pipe):
    """Opens a model and runs it; sends the error line, or nothing."""
    try:
        load_model(path, SETTINGS).open().run()
    except UserError as error:
        pipe.send(one_line(str(error)))
    except OSError as error:
        if error.errno is None:
            raise
        pipe.send(str(error.errno))
    else:
        pipe.send("")


def run_in_child(context, path):
    """Returns what a process sends that opens and runs a model; None if the runtime crashed."""
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=open_in_child, args=(path, sender))
    child.start()
    sender.close()
    child.join(6 * SECONDS)
    if child.exitcode is None:
        child.kill()
        pytest.fail("hangs")
    if child.exitcode < 0:
        return None
    assert child.exitcode == 0, "traceback"
    return receiver.recv()


@pytest.mark.parametrize("kind", RUNTIMES)
def test_damaged_models(fuzz, tmp_path, kind):
    name, file, runtime = RUNTIMES[kind]
    pytest.importorskip(runtime)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    path, file = tmp_path / name, tmp_path / file
    import_module(f"utils.export.{kind.split()[0]}").write(make_network(), METADATA, path)
    whole = file.read_bytes()
    assert run_in_child(context, path) == ""

    def check(data):
        file.write_bytes(data)
        if judge(load_model, path, SETTINGS) is None:
            return
        if line := run_in_child(context, path):
            check_line(line)

    data = damaged([whole])
    fuzz(check, data=changed_xml(whole.decode()) | data if file.suffix == ".xml" else data)
