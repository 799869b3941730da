import copy
import dataclasses
import struct
import subprocess
import sys
from importlib import import_module

import keras
import pytest

from tests.fake_runtime import make_metadata
from utils.errors import UserError
from utils.inference import metadata as metadata_module
from utils.inference.engines.litert import open_session, read_text
from utils.inference.engines.session import RuntimeSettings
from utils.inference.model import load_model

pytest.importorskip("ai_edge_litert")
litert = import_module("utils.export.litert")
litert_file = import_module("utils.export.litert_file")

METADATA = make_metadata(classes=("cat", "dog"), input_size=(32, 32), batch=2)
PREDICTIONS = 63  # 3 anchors in each of 4x4 + 2x2 + 1 cells


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """A network with the outputs of a detector, all of which are the sum of the red channel."""
    images = keras.Input((32, 32, 3), name="images")
    means = keras.layers.GlobalAveragePooling2D(keepdims=True)(images)
    outputs = {}
    for name, columns in (("boxes", 4), ("scores", 2)):
        conv = keras.layers.Conv2D(PREDICTIONS * columns, 1, name=f"{name}_conv")
        flat = keras.layers.Reshape((PREDICTIONS, columns))(conv(means))
        outputs[name] = keras.layers.Identity(name=name)(flat)
        kernel, bias = conv.get_weights()
        kernel[:], kernel[:, :, 0] = 0, 32 * 32
        conv.set_weights([kernel, bias])
    path = tmp_path_factory.mktemp("engine") / "detector.tflite"
    litert.write(keras.Model(images, outputs), METADATA, path)
    return path


def rewritten(path, folder, metadata):
    """Writes the same model with other metadata."""
    model = litert_file.read(path.read_bytes())
    model.metadata = None
    if metadata:
        litert_file.add_metadata(model, metadata)
    (folder / "other.tflite").write_bytes(litert_file.pack(model))
    return folder / "other.tflite"


def test_session_reads_its_own_images(path):
    session = load_model(path, RuntimeSettings(threads=1)).open()
    assert session.images.shape == (2, 32, 32, 3)
    session.images[:] = 0
    session.images[1, :2, :3, 0] = 1
    outputs = session.run()
    assert outputs["boxes"].shape == (2, PREDICTIONS, 4)
    assert set(outputs["scores"][0].ravel()) == {0}
    assert set(outputs["scores"][1].ravel()) == {6}
    session.images[1, 0, 0, 0] = 5
    assert set(session.run()["boxes"][1].ravel()) == {10}


def test_first_images_are_black_whatever_the_memory_holds(path, monkeypatch):
    engine = import_module("utils.inference.engines.litert")
    view = engine._view

    def unclear(*args):
        array = view(*args)
        array[:] = float("nan")
        return array

    monkeypatch.setattr(engine, "_view", unclear)
    assert (load_model(path, RuntimeSettings()).open().images == 0).all()


def test_arrays_stay_valid_without_the_session(path):
    images = load_model(path, RuntimeSettings()).open().images
    images[:] = 7
    assert images.sum() == 7 * images.size


def test_description_names_runtime_and_threads(path):
    session = load_model(path, RuntimeSettings(threads=2)).open()
    assert session.description.startswith("LiteRT 2.")
    assert session.description.endswith(", 2 threads")


def test_batch_of_the_file_stands(path):
    session = load_model(path, RuntimeSettings(batch_size=8)).open()
    assert len(session.images) == 2


def test_no_messages_and_no_tensorflow(path):
    code = (
        "import sys; from pathlib import Path;"
        "from utils.inference.engines.session import RuntimeSettings;"
        "from utils.inference.model import load_model;"
        "load_model(Path(sys.argv[1]), RuntimeSettings()).open().run();"
        "print({'tensorflow', 'keras'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", code, path]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("set()\n", "")


@pytest.mark.parametrize("share", [0.0, 0.0001, 0.5, 0.999])
def test_truncated_file(path, tmp_path, share):
    data = path.read_bytes()
    short = tmp_path / "short.tflite"
    short.write_bytes(data[: int(share * len(data))])
    with pytest.raises(UserError, match=r"short\.tflite is (damaged|no LiteRT model)"):
        load_model(short, RuntimeSettings()).open()


def test_truncated_behind_the_metadata(path, tmp_path):
    short = tmp_path / "short.tflite"
    short.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"short\.tflite is damaged: copy it again"):
        open_session(short, METADATA, RuntimeSettings())


def rename_an_input(graph):
    graph.tensors[graph.inputs[0]].name = b"\xffimages"


def leave_an_output_without_memory(graph):
    output = copy.copy(graph.tensors[graph.outputs[0]])
    graph.tensors.append(output)  # no operation has this result
    graph.outputs = [len(graph.tensors) - 1, *graph.outputs[1:]]


@pytest.mark.parametrize("damage", [rename_an_input, leave_an_output_without_memory])
def test_model_that_the_runtime_opens_can_be_damaged(path, tmp_path, damage):
    model = litert_file.read(path.read_bytes())
    damage(model.subgraphs[0])
    (tmp_path / "a.tflite").write_bytes(litert_file.pack(model))
    with pytest.raises(UserError, match=r"a\.tflite is damaged: copy it again"):
        load_model(tmp_path / "a.tflite", RuntimeSettings(threads=1)).open()


def test_every_damaged_offset_is_one_line(path, tmp_path):
    data = bytearray(path.read_bytes())
    assert len(data) < 20_000
    damaged = tmp_path / "damaged.tflite"
    for position in range(8, len(data), 12):
        changed = data.copy()
        struct.pack_into("<I", changed, position, 0xFFFFFFF0)
        damaged.write_bytes(changed)
        try:
            read_text(damaged)
        except UserError as error:
            assert "\n" not in str(error)


def test_foreign_file(tmp_path):
    foreign = tmp_path / "foreign.tflite"
    foreign.write_bytes(b"PK\3\4" + bytes(100))
    with pytest.raises(UserError, match=r"foreign\.tflite is no LiteRT model"):
        read_text(foreign)


def test_model_without_metadata(path, tmp_path):
    other = rewritten(path, tmp_path, None)
    assert read_text(other) is None
    with pytest.raises(UserError, match="has no swapyolo metadata"):
        load_model(other, RuntimeSettings())


def test_newer_format(path, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(metadata_module, "FORMAT", 2)
        other = rewritten(path, tmp_path, METADATA)
    with pytest.raises(UserError, match="metadata of format 2"):
        load_model(other, RuntimeSettings())


@pytest.mark.parametrize(
    ("options", "expected"),
    [({"input_size": (64, 32)}, r"\[2, 64, 32, 3\]"), ({"batch": None}, r"\[None, 32, 32, 3\]")],
)
def test_contradicting_metadata(path, tmp_path, options, expected):
    other = rewritten(path, tmp_path, dataclasses.replace(METADATA, **options))
    message = rf"images has shape \[2, 32, 32, 3\] and should have {expected}"
    with pytest.raises(UserError, match=message):
        load_model(other, RuntimeSettings()).open()


def test_missing_runtime(path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(UserError, match="needs ai-edge-litert, which is not installed"):
        load_model(path, RuntimeSettings()).open()
    assert read_text(path) is not None
