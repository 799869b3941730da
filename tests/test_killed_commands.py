"""Export, evaluation, conversion and prediction: outputs are whole or not there after any kill."""

import json
import os
import random
import re
import shutil
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from tests import darknet_networks
from tests.exported import CLASSES, make_run
from tests.killed_commands import Kill, run_command
from tests.vocset import add_image, add_list
from utils.inference.engines.session import RuntimeSettings
from utils.inference.model import load_model
from utils.run import RunDirectory, load_run

KILLS = 5
RECORDS, JOB = "r.jsonl", "r.jsonl.job.json"
OUT = Path("out")
EXPORT = "export --run run --format"
CONVERT = "convert_weights tiny/yolov3_tiny.weights --from darknet --cfg tiny/yolov3_tiny.cfg"
PREDICT = "predict VOCdevkit/VOC2007/JPEGImages --run run --conf 0.1"
# Ends of files that contain times, or are not always the same to the byte.
VOLATILE = (".json", ".html", "results.txt", ".onnx", ".tflite", ".xml", ".bin", ".pb", ".h5")
AGE = 3600  # seconds of old files


@dataclass(frozen=True)
class Command:
    """A command that writes to the folder `out`.

    Attributes:
        words: Name of the script, and its flags.
        key: The file or folder in `out` that says that the output is complete.
        model: Whether the key is an exported model.
        before: Other flags with which an earlier result is made, which is replaced; None if the
            command replaces nothing.
        separate: Whether each file is of use without the others.
    """

    words: str
    key: str
    model: bool = False
    before: str | None = None
    separate: bool = False


COMMANDS = {
    "onnx": Command(f"{EXPORT} onnx --out out/m.onnx", "m.onnx", model=True),
    "onnx-int8": Command(
        f"{EXPORT} onnx --precision int8 --max-loss 0.99 --out out/m.onnx", "m.onnx", model=True
    ),
    "litert": Command(f"{EXPORT} litert --out out/m.tflite", "m.tflite", model=True),
    "openvino": Command(f"{EXPORT} openvino --out out/m", "m", model=True),
    "saved_model": Command(f"{EXPORT} saved_model --out out/m", "m", model=True),
    "web": Command(f"{EXPORT} web --out out/m", "m", model=True),
    "get_map": Command("get_map --run run --out out", "results.json", before="--set small"),
    "backbone": Command(
        f"{CONVERT} --backbone darknet_tiny --out out/b.safetensors", "b.safetensors"
    ),
    "run": Command(f"{CONVERT} --classes tiny/classes.txt --out out/run", "run"),
    "darknet": Command("convert_weights darknet --out out/d.weights", "d.weights"),
    "voc_annotation": Command(
        "voc_annotation --train-set test --faults faults.csv --out out",
        "2007_val.txt",
        before="--seed 5",
    ),
    "kmeans": Command(
        "kmeans_for_anchors --train-set test --out out/a.txt", "a.txt", before="--input-size 64"
    ),
    "predict": Command(
        f"{PREDICT} --out out --save voc --save txt --save csv",
        "detections.csv",
        before="",
        separate=True,
    ),
    "jsonl": Command(f"{PREDICT} --jsonl out/{RECORDS} --resume", JOB, separate=True),
}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """Data, a run, and the files and the run of a detector of Darknet."""
    folder = tmp_path_factory.mktemp("inputs")
    voc = folder / "VOCdevkit" / "VOC2007"
    names = [f"image{number}" for number in range(8)]
    for number, name in enumerate(names):
        box = (4, 4, 30 + 4 * number, 50)
        add_image(voc, name, [(CLASSES[number % 3], box), (CLASSES[2], (30, 8, 70, 50))])
    for name, listed in (("test", names), ("small", names[:3])):
        add_list(voc, name, listed)
    run = make_run(folder / "run", version="v4-tiny", size=(64, 96))
    images = [f"VOC2007/{name}" for name in names]
    RunDirectory(run.path).write_images({"train": images, "val": images})
    (folder / "tiny").mkdir()
    darknet_networks.write(folder / "tiny", darknet_networks.yolov3_tiny, (64, 64), 2)
    (folder / "tiny" / "classes.txt").write_text("cat\ndog\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        words = COMMANDS["run"].words.replace("out/run", "darknet")
        assert not run_command(words.split(), OUT, Path("log")), Path("log").read_text()
    return folder


@pytest.fixture
def place(inputs, tmp_path, monkeypatch):
    shutil.copytree(inputs, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    OUT.mkdir()
    return tmp_path


def finish(command, flags=""):
    """Runs a command to its end; returns the processor time and the number of changes."""
    code = run_command(f"{command.words} {flags}".split(), OUT, Path("log"))
    log = Path("log").read_text()
    assert code == 0, log
    used, changes = re.findall(r"^used (\S+), changes (\d+)$", log, re.MULTILINE)[-1]
    return float(used), int(changes)


def contents():
    """Contents of all files in the output that are not hidden, by path."""
    paths = {path.relative_to(OUT): path for path in OUT.rglob("*") if path.is_file()}
    return {
        name.as_posix(): path.read_bytes()
        for name, path in paths.items()
        if not any(part.startswith(".") for part in name.parts)
    }


def is_complete(command):
    key = OUT / command.key
    return key.exists() and (key.name != JOB or json.loads(key.read_bytes())["complete"])


def make_earlier(command):
    """Makes an earlier result in the folder `earlier`, to be replaced, and empties the output."""
    shutil.rmtree(OUT)
    OUT.mkdir()
    if command.before is not None:
        finish(command, command.before)
    elif command.key.endswith(".onnx"):
        (OUT / "config.pbtxt").write_text("of another model")
    OUT.rename("earlier")


def prepare(command, rng):
    """Takes the earlier result, or what the kill before has left; returns the old files."""
    if not OUT.exists() or is_complete(command) or rng.random() < 0.5:
        shutil.rmtree(OUT, ignore_errors=True)
        shutil.copytree("earlier", OUT)
    for path in OUT.rglob("*"):
        changed = time.time() - AGE
        os.utime(path, (changed, changed))
    return contents()


def check(command, whole, old):
    """Checks that each file is whole, and that all are of one job."""
    found = contents()
    new = {name for name in found if time.time() - (OUT / name).stat().st_mtime < AGE / 2}
    assert {name: found[name] for name in found.keys() - new} == {
        name: old[name] for name in found.keys() - new
    }
    for name in new:
        if name == RECORDS:
            assert whole[name].startswith(found[name])
        elif not name.endswith(VOLATILE):
            assert found[name] == whole[name], f"{name} is not whole"
        elif name.endswith(".json"):
            json.loads(found[name])
        else:
            assert len(found[name]) > 0.8 * len(whole[name]), f"{name} is not whole"
    if command.separate:
        return
    assert not new or new == found.keys(), f"new and old files: {sorted(new)} of {sorted(found)}"
    if is_complete(command):
        assert found.keys() == (whole if new else old).keys()
        if command.model:
            model = load_model(OUT / command.key, RuntimeSettings())
            assert np.isfinite(model.open().run()["boxes"]).all()
        elif command.key == "run":
            load_run(OUT / command.key)


def random_kill(rng, is_writing, seconds, changes):
    """Kills at one of the changes in the output folder or soon after it, or else at any time."""
    if is_writing:
        return Kill(rng.randint(1, changes), rng.choice([0, rng.uniform(0, 0.05)]))
    return Kill(used=rng.uniform(0, seconds))


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_killed_command_leaves_whole_outputs_or_none(place, name):
    command, rng = COMMANDS[name], random.Random(name)
    seconds, changes = finish(command)
    whole, killed = contents(), 0
    make_earlier(command)
    while killed < KILLS:
        old = prepare(command, rng)
        kill = random_kill(rng, killed % 2 == 0, seconds, changes)
        code = run_command(command.words.split(), OUT, Path("log"), kill)
        assert code in (0, -signal.SIGKILL), Path("log").read_text()
        killed += code != 0
        print(name, kill, code, sorted(path.name for path in OUT.iterdir()))
        check(command, whole, old)
    if is_complete(command) and command.before is None:
        (OUT / command.key).rename("complete")
    finish(command)
    found = contents()
    assert found.keys() == whole.keys()
    assert all(found[file] == whole[file] for file in found if not file.endswith(VOLATILE))
    assert not [path for path in OUT.rglob("*") if path.name.startswith(".")], "left by a kill"
