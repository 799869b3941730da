"""Compares backbones and versions: `python -m benchmarks.frontier --data DIR --minutes M`.

Times the training steps of all networks in turn. Then trains each backbone with each version by
train.py on as many images as --minutes of such steps process, from the weights that --weights gives
for its backbone, or else from random ones. Each run has one core to itself, and its length is a
number of epochs, so the load of the machine does not matter. Measures mAP on the validation images,
GFLOPs and parameters, and exports each run to INT8 (ONNX, all convolutions quantized) for the size
of the file and its mAP. Then times all networks in turn, one image per call, in OpenVINO in float32
and in ONNX Runtime in INT8, and at the end scores each run once on the test set.

Writes frontier.json, frontier.png, and frontier.md with two tables: the best mAP on the validation
images within 1, 3 and 10 GFLOPs, and all figures. Finished steps are not repeated, so the benchmark
can be interrupted and continued, and extended to other backbones. Nothing else should run while it
times: first the training steps, for speeds.json, and near the end the networks, for times.json,
which can be removed to time them again.
"""

import argparse
import json
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path

from tqdm import tqdm

from benchmarks.frontier_jobs import Job, find_epochs, find_speeds, make_jobs
from benchmarks.frontier_measurements import Exports, measure_run, time_networks
from benchmarks.frontier_plot import draw_frontier
from benchmarks.frontier_points import (
    LIMITS,
    Point,
    Spread,
    choices_table,
    choose,
    points_table,
)
from benchmarks.one_core_runs import run_on_cores
from benchmarks.timing import in_a_process, keep_settings, markdown_table, write_json
from benchmarks.train_and_score import Trained, preset_of, score_on_test, train
from nets.versions import VERSIONS
from utils import cli
from utils.files import written_whole

# One or two per family of light backbones; --backbones accepts others.
BACKBONES = (
    "mobilenetv1",
    "mobilenetv2",
    "mobilenetv3_large",
    "mobilenetv3_small",
    "efficientnetb0",
    "efficientnet_lite0",
    "ghostnet",
    "shufflenetv2",
)
PACKAGES = ("onnx", "onnxruntime", "openvino")  # of the exports


def main(args: argparse.Namespace) -> None:
    """Makes the missing steps, and writes document, tables and picture."""
    cli.import_tensorflow()
    jobs = make_jobs(args)
    check_inputs(args.data)
    speeds = find_speeds(args, jobs)
    epochs = find_epochs(args, speeds)
    kept = {name: getattr(args, name) for name in ("data", "input_size", "minutes", "seed")}
    for job in jobs:
        settings = kept | {"weights": job.weights, "preset": preset_of("default")}
        keep_settings(job.folder, settings | {"epochs": epochs[job]})

    def train_job(job: Job, core: int) -> Trained:
        flags = ["--backbone", job.backbone, "--yolo", job.yolo, "--weights", job.weights]
        flags += ["--input-size", args.input_size, "--seed", args.seed]
        flags += ["--epochs", epochs[job]]
        return train(job.folder, args.data, flags, core)

    runs = run_on_cores(train_job, jobs, "training")
    trained = {job.name: run for job, run in zip(jobs, runs, strict=True)}
    measured = {
        job.name: measure(job.folder / "measured.json", trained[job.name], args.data)
        | {"images_per_second": speeds[job]}
        for job in tqdm(jobs, unit="export")
    }
    times = time_all(args.out / "times.json", trained, args.rounds)
    points = [
        make_point(job, trained[job.name], measured[job.name] | times[job.name], args.data)
        for job in tqdm(jobs, unit="test score")
    ]
    precisions = "/".join(sorted({run.precision for run in trained.values()}))
    title = (
        f"{args.data.name} at {args.input_size}, {args.minutes:g} minutes of training steps "
        f"each in {precisions}, seed {args.seed}"
    )
    write_results(args.out, title, points)


def check_inputs(data: Path) -> None:
    """Checks what is needed only after hours.

    Raises:
        UserError: There is no test set, or a package is not installed.
    """
    from utils.data.imagesets import list_images
    from utils.packages import missing_package

    list_images(data, "test")
    for package in PACKAGES:
        if not find_spec(package):
            raise missing_package("benchmarks.frontier", package)


def measure(document: Path, trained: Trained, data: Path) -> dict[str, float]:
    """Returns what `measure_run` measures, which is done once."""
    if not document.is_file():
        measured = in_a_process(measure_run, trained.run, data)
        write_json(document, measured)
    return json.loads(document.read_text(encoding="utf-8"))


def time_all(document: Path, trained: dict[str, Trained], rounds: int) -> dict[str, dict]:
    """Returns the times of all networks, which are measured again if there are other networks."""
    times = json.loads(document.read_text(encoding="utf-8")) if document.is_file() else {}
    if times.keys() != trained.keys():
        exports = {name: Exports.of(run.run) for name, run in trained.items()}
        times = in_a_process(time_networks, exports, rounds)
        write_json(document, times)
    return times


def make_point(
    job: Job, trained: Trained, measured: dict[str, float | Spread], data: Path
) -> Point:
    """Scores a run on the test set, and joins all its figures."""
    scores = score_on_test(job.folder, data)
    return Point(
        job.backbone,
        job.yolo,
        trained.weights,
        test_map50=scores["voc"]["map"],
        test_map=scores["coco"]["map"],
        epochs=trained.result["epochs"],
        peak_gib=trained.peak_gib,
        precision=trained.precision,
        **measured,
    )


def write_results(out: Path, title: str, points: list[Point]) -> None:
    """Writes document, tables and picture, and prints the tables."""
    texts = title, markdown_table(choices_table(points)), markdown_table(points_table(points))
    tables = "\n\n".join(texts) + "\n"
    choices = []
    for limit in LIMITS:
        chosen = choose(points, limit)
        names = (chosen.backbone, chosen.yolo) if chosen else (None, None)
        choices.append({"max_gflops": limit, "backbone": names[0], "yolo": names[1]})
    document = {"title": title, "choices": choices, "detectors": [*map(asdict, points)]}
    paths = [out / f"frontier.{suffix}" for suffix in ("md", "png", "json")]
    with written_whole(*paths) as (tables_part, picture_part, document_part):
        tables_part.write_text(tables, encoding="utf-8")
        draw_frontier(points, title, picture_part)
        write_json(document_part, document)
    print(tables, end="")
    print(f"tables: {paths[0]}, picture: {paths[1]}, document: {paths[2]}")


def parse_weights(text: str) -> tuple[str, str]:
    """Parses BACKBONE=FILE, as the `type` of an argument."""
    backbone, _, source = text.partition("=")
    if not (backbone and source):
        raise argparse.ArgumentTypeError(f"{text} is not BACKBONE=FILE")
    return backbone, source


def build_parser() -> cli.Parser:
    """Builds the parser of the flags."""
    parser = cli.Parser(__doc__)
    add = parser.add_argument
    add("--data", type=Path, default=Path("VOCdevkit"), help="a VOCdevkit, default %(default)s")
    add(
        "--backbones",
        nargs="+",
        default=BACKBONES,
        metavar="NAME",
        help="default: one or two per family",
    )
    add(
        "--yolo",
        nargs="+",
        choices=tuple(VERSIONS),
        default=["v4", "v4-lite"],
        help="versions, default: v4 v4-lite",
    )
    add("--input-size", default="416", help="N or HxW, default %(default)s")
    add(
        "--minutes",
        type=cli.above_zero,
        default=20,
        help="minutes per training, default %(default)s",
    )
    add(
        "--weights",
        type=parse_weights,
        action="append",
        default=[],
        metavar="BACKBONE=FILE",
        help="initial weights of a backbone, as in train.py; can be given several times; default: "
        "random ones",
    )
    add("--seed", type=cli.seed, default=0, help="default %(default)s")
    add(
        "--rounds",
        type=cli.at_most(cli.MAX_RUNS),
        default=20,
        help="blocks of timed calls per network, default %(default)s",
    )
    add("--out", type=Path, default=Path("logs/frontier"), help="default %(default)s")
    return parser


if __name__ == "__main__":
    cli.run(main, build_parser())
