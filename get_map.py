"""Scores a run, an exported model, or detections made elsewhere, by the rules of VOC and COCO."""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from utils import cli
from utils.errors import UserError
from utils.evaluation.settings import BATCH_SIZE, MATCH_IOU, THRESHOLDS, Metric
from utils.inference.thresholds import Thresholds
from utils.models import Model, ModelSource, add_model_flags, open_model

if TYPE_CHECKING:  # --help must not wait for OpenCV
    from utils.data.samples import Sample
    from utils.inference.detections import Detections
    from utils.inference.predictor import Predictor


def build_parser() -> cli.Parser:
    """Builds the parser of the flags."""
    parser = cli.Parser(__doc__)
    add = parser.add_argument
    default = "(default: %(default)s)"
    add_model_flags(parser)
    add(
        "--data", type=Path, metavar="DIR", default="VOCdevkit", help=f"VOC devkit folder {default}"
    )
    add("--set", default="test", help=f"image set, such as 2007:test {default}")
    add(
        "--gt",
        type=Path,
        metavar="DIR",
        help="folder of ground truth, to score text files",
    )
    add("--dets", type=Path, metavar="DIR", help="folder of detections, together with --gt")
    add("--iou", type=cli.fraction, default=MATCH_IOU, help=f"minimum IoU of a match {default}")
    add("--metric", choices=get_args(Metric), default="voc", help=f"headline metric {default}")
    add(
        "--conf",
        type=cli.fraction,
        default=THRESHOLDS.confidence,
        help=f"minimum score of a detection {default}",
    )
    add(
        "--nms-iou",
        type=cli.fraction,
        default=THRESHOLDS.iou,
        help=f"IoU threshold of NMS {default}",
    )
    add(
        "--max-boxes",
        type=cli.at_most(cli.MAX_BOXES),
        metavar="N",
        default=THRESHOLDS.max_boxes,
        help=f"maximum number of detections per image {default}",
    )
    add("--out", type=Path, metavar="DIR", default="map_out", help=f"output folder {default}")
    add("--json", action="store_true", help="print the metrics as one JSON document")
    return parser


def main(args: argparse.Namespace) -> None:
    """Makes or reads detections, scores them, and writes metrics and plots to `args.out`."""
    if bool(args.gt) != bool(args.dets):
        raise UserError("--gt and --dets must be used together, set both")
    for name in ("run", "model"):
        if args.gt and getattr(args, name):
            raise UserError(f"--{name} and --gt cannot be combined, remove one of them")
    source = ModelSource(args.run, args.model, args.threads, args.precision)
    thresholds = Thresholds(args.conf, args.nms_iou, args.max_boxes)
    if args.gt and thresholds != THRESHOLDS:
        raise UserError(
            "--conf, --nms-iou and --max-boxes have no effect on the detections in --dets, "
            "remove them"
        )
    if args.iou == 0:
        raise UserError("--iou 0 would match any box with any object, use 0.5 for example")

    from utils.evaluation.boxfiles import read_box_files, write_box_files
    from utils.evaluation.metrics import evaluate
    from utils.evaluation.report import Report, format_report
    from utils.evaluation.results import OWNED_FOLDERS, write_results
    from utils.evaluation.testset import warn_of_unreachable_objects
    from utils.files import merged_whole

    model, predict_seconds = None, None
    if args.gt:
        samples, detections, classes, notes = read_box_files(args.gt, args.dets)
        title, subtitle = "Evaluation", f"{args.dets} against {args.gt}"
        for note in notes:
            print(f"warning: {note}", file=sys.stderr)
    else:
        model, samples = _open_model_and_test_set(source, args.data, args.set)
        warn_of_unreachable_objects(samples, args.iou)
        classes = model.classes
        title = f"Evaluation of {model.path}"
        subtitle = f"{args.set} of {args.data}, minimum score {args.conf}, "
        subtitle += f"NMS IoU {args.nms_iou}, at most {args.max_boxes} detections per image"
    with merged_whole(args.out, OWNED_FOLDERS) as folder:
        if model:
            batch_size = min(BATCH_SIZE, len(samples))
            predictor = model.predictor(thresholds, batch_size)
            detections, predict_seconds = _predict(predictor, samples)
            _warn_of_limit(detections, args.max_boxes)
            write_box_files(folder, samples, detections, classes)
        evaluation = evaluate(samples, detections, classes, args.iou, predict_seconds)
        report = Report(
            title, subtitle, samples, detections, evaluation, args.metric, has_images=bool(model)
        )
        write_results(folder, report)
    if args.json:
        print(json.dumps(evaluation.metrics, ensure_ascii=False, allow_nan=False))
    else:
        print(format_report(report))
        print(f"report: {args.out / 'report.html'}, plots: {args.out / 'results'}")


def _open_model_and_test_set(
    source: ModelSource, data: Path, image_set: str
) -> tuple[Model, list["Sample"]]:
    from utils.data.imagesets import list_images
    from utils.evaluation.testset import read_test_set

    refs = list_images(data, image_set)  # before TensorFlow, to report a wrong name at once
    model = open_model(source)
    return model, read_test_set(refs, model.classes, image_set, data)


def _predict(predictor: "Predictor", samples: list["Sample"]) -> tuple[list["Detections"], float]:
    """Returns the detections per image, and the seconds they took without tracing."""
    import numpy as np

    from utils.evaluation.evaluator import predict_samples

    predictor([np.zeros((1, 1, 3), np.uint8)])  # traces the graph
    start = time.perf_counter()
    return predict_samples(predictor, samples), time.perf_counter() - start


def _warn_of_limit(detections: list["Detections"], max_boxes: int) -> None:
    # Many predictions have scores of a few thousandths. Cutting those hardly changes any metric: on
    # BCCD, where all images reached the limit, mAP50 by 0.0002.
    limited = [each for each in detections if each.at_limit and len(each)]
    if count := sum(each.scores[-1] >= 0.01 for each in limited):
        print(
            f"warning: {count} of {len(detections)} images reached the limit of {max_boxes} "
            "detections, raise --max-boxes or --conf",
            file=sys.stderr,
        )


if __name__ == "__main__":
    cli.run(main, build_parser())
