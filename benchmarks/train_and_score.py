"""Trains with train.py and scores with get_map.py; finished steps are not repeated."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.one_core_runs import child_command
from benchmarks.timing import peak_gib
from utils.cli import import_tensorflow
from utils.errors import JobError, UserError
from utils.text import did_you_mean
from utils.training.recipes import RECIPES


@dataclass(frozen=True)
class Trained:
    """A finished run.

    Attributes:
        run: The run directory.
        result: Content of its `result.json`.
        peak_gib: Peak memory of the last training process.
        precision: Numeric precision of the training.
        weights: The initial weights, `none` for random ones.
    """

    run: Path
    result: dict
    peak_gib: float
    precision: str
    weights: str


def preset_of(name: str) -> dict:
    """Returns the current preset of a recipe, to be saved with the results.

    Raises:
        UserError: There is no such preset.
    """
    if name not in RECIPES:
        raise UserError(f"no recipe {name!r}, {did_you_mean(name, RECIPES)}")
    preset = RECIPES[name]
    return dataclasses.asdict(preset) | {"adapt": preset.adapt.__name__}


def train(folder: Path, data: Path, flags: list[object], core: int | None = None) -> Trained:
    """Trains in a separate process.

    Args:
        folder: Folder of run and log. If it has an interrupted training, that is resumed.
        data: The VOCdevkit.
        flags: Further flags of train.py.
        core: The core to train on; None for all.

    Raises:
        JobError: train.py failed.
    """
    import_tensorflow()
    from utils.run import RunDirectory

    run = RunDirectory(folder / "run")
    peak_file = folder / "peak_gib.txt"
    if not peak_file.is_file():
        command = ["train.py", "--resume", run.path]
        if not run.state.is_file():
            shutil.rmtree(run.path, ignore_errors=True)
            folder.mkdir(parents=True, exist_ok=True)
            command = ["train.py", "--data", data, "--run", run.path, *flags]
        _, peak = _run_script(folder / "train.log", command, core)
        peak_file.write_text(f"{peak:.2f}\n")
    config, _ = run.read_description()
    return Trained(
        run=run.path,
        result=json.loads(run.result.read_text()),
        peak_gib=float(peak_file.read_text()),
        precision=config.recipe.precision,
        weights=config.weights,
    )


def score_on_test(folder: Path, data: Path) -> dict:
    """Scores the best weights of a finished run on the test set, in a separate process.

    Args:
        folder: The folder of `train`; log and scores are added to it.
        data: The VOCdevkit.

    Returns:
        Output of get_map.py.

    Raises:
        JobError: get_map.py failed.
    """
    scores_file = folder / "scores.json"
    if not scores_file.is_file():
        command = ["get_map.py", "--run", folder / "run", "--data", data, "--set", "test", "--json"]
        scores, _ = _run_script(folder / "get_map.log", [*command, "--out", folder / "map_out"])
        scores_file.write_text(scores)
    return json.loads(scores_file.read_text())


def _run_script(log: Path, command: list[object], core: int | None = None) -> tuple[str, float]:
    """Runs a script; returns its standard output and its peak memory in GiB."""
    words = child_command([sys.executable, *command], core)
    with log.open("a") as errors:
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=errors, text=True)
        with process.stdout as stream:
            output = stream.read()
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise JobError(f"{' '.join(words)} failed, see {log}")
    return output, peak_gib(usage)
