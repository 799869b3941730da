"""A training by train.py and its score by get_map.py, each once: what is done is not done again."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.timing import peak_gib
from utils.cli import did_you_mean
from utils.errors import JobError, UserError


@dataclass(frozen=True)
class Trained:
    """What there is to know of a run.

    Attributes:
        run: its directory.
        result: its `result.json`.
        scores: what get_map.py found on the test set.
        peak_gib: the most memory that training held since it was last started.
        precision: that it was trained in.
    """

    run: Path
    result: dict
    scores: dict
    peak_gib: float
    precision: str


def preset_of(recipe: str) -> dict:
    """What a name for `--recipe` stands for now, to be kept beside what was trained by it.

    Raises:
        UserError: there is no such recipe.
    """
    from utils.training.recipes import RECIPES  # --help must not wait for Keras

    if recipe not in RECIPES:
        raise UserError(f"no recipe {recipe!r}, {did_you_mean(recipe, RECIPES)}")
    preset = RECIPES[recipe]
    return dataclasses.asdict(preset) | {"adapt": preset.adapt.__name__}


def train_and_score(folder: Path, data: Path, flags: list[object]) -> Trained:
    """Trains in a process of its own, and measures the best weights on the test set.

    Args:
        folder: for the run, the logs and the figures; a training that was cut off goes on.
        data: a VOCdevkit.
        flags: more of train.py's.

    Raises:
        JobError: one of the scripts failed.
    """
    run, peak_file, scores_file = (folder / n for n in ("run", "peak_gib.txt", "scores.json"))
    if not peak_file.is_file():
        command = ["train.py", "--resume", run]
        if not (run / "last.npz").is_file():
            shutil.rmtree(run, ignore_errors=True)
            folder.mkdir(parents=True, exist_ok=True)
            command = ["train.py", "--data", data, "--run", run, *flags]
        _, peak = _script(folder / "train.log", command)
        peak_file.write_text(f"{peak:.2f}\n")
    if not scores_file.is_file():
        command = ["get_map.py", "--run", run, "--data", data, "--set", "test", "--json"]
        scores, _ = _script(folder / "get_map.log", [*command, "--out", folder / "map_out"])
        scores_file.write_text(scores)
    result, config, scores = (
        json.loads(path.read_text())
        for path in (run / "result.json", run / "config.json", scores_file)
    )
    peak = float(peak_file.read_text())
    return Trained(run, result, scores, peak, config["recipe"]["precision"])


def _script(log: Path, command: list[object]) -> tuple[str, float]:
    """Standard output of one of the scripts, and the most memory that it held, in GiB."""
    words = [sys.executable, *map(str, command)]
    with log.open("a") as errors:
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=errors, text=True)
        with process.stdout as stream:
            output = stream.read()
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise JobError(f"{' '.join(words)} failed, see {log}")
    return output, peak_gib(usage)
