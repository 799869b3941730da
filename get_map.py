"""Scores a run, or detections made elsewhere, by VOC's and COCO's rules."""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from utils import cli
from utils.errors import UserError

if TYPE_CHECKING:  # --help must not wait for matplotlib and TensorFlow
    from utils.data.annotation import Sample
    from utils.inference.detections import Detections
    from utils.run import Run

BATCH_SIZE = 8
METRICS = "voc", "voc11", "coco"


def build_parser() -> cli.Parser:
    """Makes the parser of this script's flags."""
    parser = cli.Parser(__doc__)
    add = parser.add_argument
    add("--run", type=Path, metavar="DIR", help="run directory (default: the newest in logs/)")
    add("--data", type=Path, metavar="DIR", default="VOCdevkit", help="default: VOCdevkit")
    add("--set", default="test", help="image set, such as 2007:test (default: test)")
    add("--gt", type=Path, metavar="DIR", help="score text files instead, these as ground truth")
    add("--dets", type=Path, metavar="DIR", help="with --gt: the detections")
    add("--iou", type=cli.fraction, default=0.5, help="overlap that finds (default: 0.5)")
    add("--metric", choices=METRICS, default="voc", help="printed large (default: voc)")
    add("--conf", type=cli.fraction, default=0.001, help="lowest score (default: 0.001)")
    add("--nms-iou", type=cli.fraction, default=0.5, help="suppression's IoU (default: 0.5)")
    add("--out", type=Path, metavar="DIR", default="map_out", help="default: map_out")
    add("--json", action="store_true", help="print the figures as one JSON document")
    return parser


def main(args: argparse.Namespace) -> None:
    """Predicts where needed, scores, and leaves figures and pictures in `args.out`."""
    if bool(args.gt) != bool(args.dets):
        raise UserError("--gt and --dets go together, name both folders")
    if args.gt and args.run:
        raise UserError("--run and --gt exclude each other, leave one out")
    if args.iou == 0:
        raise UserError("--iou 0 would let any box find any object, use for example 0.5")

    from utils.evaluation import metrics, report
    from utils.evaluation.boxfiles import read_box_files, write_box_files

    run, seconds = None, None
    if args.gt:
        samples, detections, classes, notes = read_box_files(args.gt, args.dets)
        title, subtitle = "Evaluation", f"{args.dets} against {args.gt}"
        for note in notes:
            print(f"warning: {note}", file=sys.stderr)
    else:
        run, samples = _load(args)
        classes = run.classes
        title = f"Evaluation of {run.path}"
        subtitle = f"{args.set} of {args.data}, score from {args.conf}, NMS IoU {args.nms_iou}"
    with report.replacing(args.out) as folder:
        if run:
            detections, seconds = _predict(run, samples, args)
            write_box_files(folder, samples, detections, classes)
        scores = metrics.evaluate(samples, detections, classes, args.iou)
        scores["seconds"] = {"predict": seconds, **scores["seconds"]}
        evaluation = report.Evaluation(
            title, subtitle, samples, detections, scores, args.metric, has_images=run is not None
        )
        report.write_results(folder, evaluation)
    if args.json:
        print(json.dumps(scores, ensure_ascii=False, allow_nan=False))
    else:
        print(report.table(evaluation))
        print(f"{args.out / 'report.html'} shows it all, {args.out / 'results'} has the pictures")


def _load(args: argparse.Namespace) -> tuple["Run", list["Sample"]]:
    from utils.data.annotation import find_classes, read_samples
    from utils.data.datacheck import decode_all, fault_lines
    from utils.data.imagesets import list_images
    from utils.evaluation.boxfiles import some

    refs = list_images(args.data, args.set)  # before TensorFlow: a wrong name is told at once

    cli.import_tensorflow()
    from utils.run import load_run, newest_run

    run = load_run(args.run or newest_run())
    samples, faults = read_samples(refs, run.classes)
    samples, _, damaged = decode_all(samples, args.set)  # rather than to find out half-way
    faults += damaged
    if faults:
        print(fault_lines(faults), end="", file=sys.stderr)
    if not samples:
        raise UserError(f"no image of set {args.set} of {args.data} can be read, mend the files")
    if not any(len(sample.labels) for sample in samples):
        raise UserError(
            f"set {args.set} of {args.data} has no object of the classes of {run.path} "
            f"({some(run.classes)}), it has {some(find_classes(refs)) or 'none at all'}"
        )
    return run, samples


def _predict(
    run: "Run", samples: list["Sample"], args: argparse.Namespace
) -> tuple[list["Detections"], float]:
    import numpy as np

    from utils.evaluation.evaluator import predict_samples

    batch_size = min(BATCH_SIZE, len(samples))
    predictor = run.predictor(args.conf, args.nms_iou, batch_size=batch_size)
    predictor([np.zeros((1, 1, 3), np.uint8)])  # traces the graph, which is no part of the speed
    start = time.perf_counter()
    return predict_samples(predictor, samples), time.perf_counter() - start


if __name__ == "__main__":
    cli.run(main, build_parser())
