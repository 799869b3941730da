"""Detects objects in images, folders, globs, videos, cameras and streams."""

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from utils import cli
from utils.errors import UserError
from utils.job_flags import add_job_flags
from utils.models import Model, ModelSource, add_model_flags, add_threshold_flags, open_model
from utils.output_flags import OUT, add_output_flags

if TYPE_CHECKING:  # --help must not import OpenCV and TensorFlow
    from utils.inference.job import JobSettings
    from utils.inference.predictor import Predictor
    from utils.inference.runner import Runner
    from utils.inference.sinks import Sink
    from utils.inference.sources import SourceList
    from utils.inference.tracking import TrackingSettings
    from utils.ray_jobs.worker import Prediction

# What --jsonl cannot write: it could not be continued, or would fill the memory.
NOT_WITH_JSONL = ("count", "crop", "fps_test", "heatmap", "json", "out", "save", "show")


def build_parser() -> cli.Parser:
    """Builds the parser of the flags."""
    parser = cli.Parser(__doc__)
    add = parser.add_argument
    add(
        "sources",
        nargs="*",
        metavar="SOURCE",
        help="image, folder, glob, video, camera number or stream (default: asks for file names)",
    )
    add_model_flags(parser)
    add_threshold_flags(parser)
    add(
        "--batch-size",
        type=cli.at_most(cli.MAX_BATCH),
        default=1,
        help="images per batch (default: 1)",
    )
    add(
        "--classes",
        nargs="+",
        metavar="NAME",
        help="only detect these classes, separated by spaces or commas (default: all)",
    )
    add(
        "--every",
        type=cli.positive,
        default=1,
        metavar="N",
        help="only process every Nth frame of a video, beginning with the first (default: 1)",
    )
    add_output_flags(parser)
    add_job_flags(parser)
    add(
        "--fps-test",
        type=cli.at_most(cli.MAX_RUNS),
        metavar="N",
        help="only time N runs on the first image",
    )
    return parser


def main(args: argparse.Namespace) -> None:
    """Predicts on all sources; if there are none, on files whose names the user enters."""
    _check_flags(args)
    source = ModelSource(args.run, args.model, args.threads, args.precision)
    # Before TensorFlow, so that a typo or a missing package is reported at once.
    sources = _find(args.sources, args.track)
    if args.jsonl:
        _check_records(args, sources)
    tracking = _tracking(args)
    if args.workers and not args.model:
        from utils.ray_jobs.cluster import leave_gpus

        leave_gpus()
    model = open_model(source)

    from utils.data.classes import find_labels
    from utils.inference.detections import NanError
    from utils.inference.runner import Runner, RunnerSettings
    from utils.inference.speed import print_speed
    from utils.inference.thresholds import Thresholds
    from utils.inference.window import Window

    batch_size = 1 if args.fps_test else args.batch_size
    labels = find_labels(args.classes, model.classes) if args.classes else None
    conf = tracking.detector_confidence if tracking else args.conf
    thresholds = Thresholds(conf, args.iou, args.max_boxes)
    if args.workers:
        from utils.ray_jobs.worker import Prediction

        how = Prediction(thresholds, batch_size, labels, args.every, tracking)
        _spread_records(args, model, sources, how)
        return
    predictor = model.predictor(thresholds, batch_size, labels)
    if args.fps_test:
        try:
            print_speed(predictor, sources, args.fps_test, args.json)
        except NanError as error:
            raise error.named("the first image", model.origin) from error
        return
    settings = RunnerSettings(
        window=Window() if args.show else None,
        image_bar=args.json or bool(args.jsonl),
        every=args.every,
        origin=model.origin,
        start_tracker=tracking and tracking.start,
        always_skip=bool(args.jsonl),
    )
    start = partial(Runner, predictor, model.classes, settings=settings)
    if args.jsonl:
        _write_records(args, model, sources, start)
        return
    runner = start(_sinks(args, predictor))
    if sources:
        runner.process(sources)
    else:
        for name in _ask():
            try:
                runner.process(_find([name], args.track))
            except UserError as error:
                print(f"error: {error}", file=sys.stderr)
            except OSError as error:  # the loop continues with the next file
                if error.errno is None:  # raised by a library, not by the file system
                    raise
                print(f"error: {cli.describe_os_error(error)}", file=sys.stderr)
    runner.finish()


def _check_flags(args: argparse.Namespace) -> None:
    """Checks that the flags fit together."""
    if not args.sources and (args.jsonl or not sys.stdin.isatty()):
        hint = " before --classes" if args.classes else ""
        raise UserError(f"no SOURCE given, specify an image, folder, video, camera or stream{hint}")
    has_display = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if args.show and sys.platform == "linux" and not has_display:
        raise UserError(
            f"--show needs a display, remove it and open the files in {args.out or OUT}"
        )
    if args.count_line and not args.track:
        raise UserError("--count-line counts tracked objects, add --track")
    for name in NOT_WITH_JSONL if args.jsonl else ():
        if getattr(args, name):
            raise UserError(f"--jsonl only writes its FILE, remove --{name.replace('_', '-')}")
    for name in () if args.jsonl else ("resume", "shard", "workers"):
        if getattr(args, name):
            raise UserError(f"--{name} applies only to --jsonl FILE, add that or remove --{name}")
    if args.ray_address and not args.workers:
        raise UserError("--ray-address applies only to --workers ray, add that or remove it")


def _check_records(args: argparse.Namespace, sources: "SourceList") -> None:
    """Checks the file of `--jsonl`, or its folder with `--workers`."""
    if args.workers:
        from utils.ray_jobs.cluster import require_ray
        from utils.ray_jobs.folder import check_folder as check

        require_ray()
    else:
        from utils.inference.record_file import check_records as check

    check(args.jsonl, sources, args.resume)


def _write_records(
    args: argparse.Namespace,
    model: Model,
    sources: "SourceList",
    start: "Callable[[Sequence[Sink]], Runner]",
) -> None:
    """Predicts on the sources of the shard that the file of `--jsonl` does not contain yet."""
    from utils.inference.json_lines import JsonLines
    from utils.inference.record_file import open_records
    from utils.interrupts import StopRequest
    from utils.terminal import survive_closed_terminal

    survive_closed_terminal()
    stop, shard = StopRequest("image"), _shard(args, sources)
    settings = _job_settings(args, model, sources)
    with stop.listening(), open_records(args.jsonl, settings, shard, args.resume) as file:
        runner = start([JsonLines(file, lambda: stop.is_set)])
        runner.process(file.rest)
    runner.finish()


def _spread_records(
    args: argparse.Namespace, model: Model, sources: "SourceList", how: "Prediction"
) -> None:
    """Does the same on a Ray cluster."""
    from utils.ray_jobs.job import Job, run_job
    from utils.terminal import survive_closed_terminal

    survive_closed_terminal()
    run = None if args.model else model.path
    source = ModelSource(run, args.model, args.threads, args.precision)
    settings = _job_settings(args, model, sources)
    job = Job(args.jsonl, _shard(args, sources), settings, source, how)
    run_job(job, args.resume, args.ray_address)


def _job_settings(args: argparse.Namespace, model: Model, sources: "SourceList") -> "JobSettings":
    """Returns everything on which the records of a long job depend."""
    from utils.inference.job import JobSettings, digest_files

    line, (number, count) = args.count_line, args.shard or (1, 1)
    return JobSettings(
        model=digest_files(model.files),
        sources=sources.digest(),
        number_of_sources=len(sources),
        shard=f"{number}/{count}",
        conf=args.conf,
        iou=args.iou,
        max_boxes=args.max_boxes,
        classes=args.classes and tuple(args.classes),
        every=args.every,
        precision=args.precision,
        track=args.track,
        count_line=line and (*line.start, *line.end),
    )


def _shard(args: argparse.Namespace, sources: "SourceList") -> "SourceList":
    number, count = args.shard or (1, 1)
    return sources[number - 1 :: count]


def _find(words: Sequence[str], is_tracked: bool) -> "SourceList":
    """Finds the sources, of which none may be a still image if objects are tracked."""
    from utils.inference.sources import find_sources

    sources = find_sources(words)
    if not is_tracked:
        return sources
    still = next((source.address for source in sources if source.is_image), None)
    if still:
        raise UserError(f"--track needs a video, camera or stream, but {still} is a still image")
    return sources


def _tracking(args: argparse.Namespace) -> "TrackingSettings | None":
    """Returns how objects are tracked; None without `--track`."""
    if not args.track:
        return None
    from utils.inference.tracking import TrackingSettings  # imports Matplotlib, takes two seconds

    return TrackingSettings(args.conf, args.count_line)


def _sinks(args: argparse.Namespace, predictor: "Predictor") -> list["Sink"]:
    """Returns the sinks that the flags select, in the order in which they receive frames."""
    from utils.files import OutputFolder
    from utils.inference import saving, sinks

    out = args.out or OUT
    folder = OutputFolder(out)
    pictures = sinks.Pictures(folder)
    chosen = [pictures]
    if args.heatmap:
        chosen.append(sinks.Heatmaps(folder, predictor))
    if args.crop:
        chosen.append(sinks.Crops(OutputFolder(out / "img_crop", replace=False)))
    saved = set(args.save or ())
    if "voc" in saved:
        chosen.append(saving.VocFiles(OutputFolder(out / "voc")))
    if "txt" in saved:
        chosen.append(saving.TextFiles(OutputFolder(out / "txt")))
    if "csv" in saved:
        chosen.append(saving.CsvTable(folder, args.track))
    if args.json:
        chosen.append(sinks.JsonDocument())
    else:
        chosen.append(sinks.TextLines(pictures))
        if args.count:
            chosen.append(sinks.ClassCounts())
        if args.count_line:
            chosen.append(sinks.LineCounts())
    chosen.append(sinks.NothingFoundNote())
    return chosen


def _ask() -> Iterator[str]:
    """Reads file names from the terminal until an empty line."""
    while True:
        print("Input image filename: ", end="", file=sys.stderr, flush=True)
        name = sys.stdin.readline().strip()
        if not name:
            return
        yield name


if __name__ == "__main__":
    cli.run(main, build_parser())
