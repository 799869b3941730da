"""The trainings of `benchmarks.frontier`, and how long they are."""

import argparse
import json
import statistics
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.one_core_runs import cost
from benchmarks.timing import in_a_process, write_json
from benchmarks.version_speed import build_parser as speed_parser
from benchmarks.version_speed import measure_speeds
from utils import cli
from utils.errors import UserError
from utils.training.recipes import RECIPES
from utils.weights.sources import NONE, check_source


@dataclass(frozen=True)
class Job:
    """One detector of the comparison.

    Attributes:
        backbone: Registered name of the backbone.
        yolo: Name of the YOLO version.
        weights: Initial weights, as in train.py.
        out: Output folder of the benchmark.
    """

    backbone: str
    yolo: str
    weights: str
    out: Path

    @property
    def name(self) -> str:
        """Its name in the output folder."""
        return f"{self.backbone}-{self.yolo}"

    @property
    def folder(self) -> Path:
        """Folder of run, logs and scores."""
        return self.out / self.name


def make_jobs(args: argparse.Namespace) -> list[Job]:
    """Returns the detectors to compare.

    Raises:
        UserError: There is no such backbone, or weights are given twice or for another backbone.
    """
    from utils.weights.loading import resolve_backbone

    backbones = [resolve_backbone(name, None)[0] for name in args.backbones]
    given = [(resolve_backbone(name, None)[0], source) for name, source in args.weights]
    weights = dict.fromkeys(backbones, NONE)
    for name, source in given:
        if name not in weights:
            raise UserError(f"--weights for {name}, which is not compared: add it to --backbones")
        if [other for other, _ in given].count(name) > 1:
            raise UserError(f"two --weights for {name}, remove one of them")
        check_source(source)
        weights[name] = source
    return [Job(name, yolo, weights[name], args.out) for name in weights for yolo in args.yolo]


def find_speeds(args: argparse.Namespace, jobs: list[Job]) -> dict[Job, float]:
    """Returns the training images per second of each job; each is measured once."""
    document = args.out / "speeds.json"
    speeds = json.loads(document.read_text(encoding="utf-8")) if document.is_file() else {}
    missing = [job for job in jobs if job.name not in speeds]
    if missing:
        # The first network is measured again, so that all speeds are those of the same moment.
        first = jobs[0].name
        networks = [(job.backbone, job.yolo) for job in dict.fromkeys([jobs[0], *missing])]
        found = in_a_process(measure_speeds, speed_settings(args), networks)
        medians = {"-".join(network): statistics.median(own) for network, own in found.items()}
        scale = speeds.get(first, medians[first]) / medians[first]
        speeds |= {name: speed * scale for name, speed in medians.items()}
        args.out.mkdir(parents=True, exist_ok=True)
        write_json(document, speeds)
    return {job: speeds[job.name] for job in jobs}


def find_epochs(args: argparse.Namespace, speeds: dict[Job, float]) -> dict[Job, int]:
    """Returns the epochs of each run, at least 1, from the images per second of its steps."""
    from utils.data.trainset import TrainSource, read_training_samples

    size = cli.parse_size(args.input_size)
    samples, _ = read_training_samples(TrainSource(args.data, size))

    def epochs(job: Job, speed: float) -> int:
        recipe = RECIPES["default"].recipe
        if job.weights == NONE:
            recipe = replace(recipe, freeze_share=0.0)  # as train.py does
        return max(1, round(speed * 60 * args.minutes / cost(recipe, size) / len(samples)))

    return {job: epochs(job, speed) for job, speed in speeds.items()}


def speed_settings(args: argparse.Namespace) -> argparse.Namespace:
    """Returns flags of `benchmarks.version_speed` with which it times what is trained."""
    flags = ["--data", str(args.data), "--input-size", args.input_size, "--steps", "1"]
    return speed_parser().parse_args(flags)
