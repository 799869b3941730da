"""Finds objects in images, folders, globs, videos, cameras and streams."""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from utils import cli
from utils.errors import UserError

if TYPE_CHECKING:  # --help must not wait for OpenCV and TensorFlow
    from utils.inference.predictor import Predictor
    from utils.inference.sources import Source

WARM_UP_RUNS = 3


def build_parser() -> cli.Parser:
    """Makes the parser of this script's flags."""
    parser = cli.Parser(__doc__)
    add = parser.add_argument
    add(
        "sources",
        nargs="*",
        metavar="SOURCE",
        help="image, folder, glob, video, camera number or stream; asks for one if there is none",
    )
    add("--run", type=Path, help="run directory of train.py (default: the newest in logs/)")
    add("--out", type=Path, default="img_out", help="folder for the results (default: img_out)")
    add("--conf", type=cli.fraction, default=0.5, help="lowest score that counts (default: 0.5)")
    add("--iou", type=cli.fraction, default=0.3, help="most overlap within a class (default: 0.3)")
    add("--max-boxes", type=cli.positive, default=100, help="most objects an image (default: 100)")
    add("--batch-size", type=cli.positive, default=1, help="images at a time (default: 1)")
    add("--crop", action="store_true", help="also write each object to OUT/img_crop")
    add("--count", action="store_true", help="also print the number of objects of each class")
    add("--heatmap", action="store_true", help="also write where the network sees something")
    add("--json", action="store_true", help="print the detections as one JSON document")
    add("--fps-test", type=cli.positive, metavar="N", help="only time N runs over the first image")
    add("--show", action="store_true", help="also show the results in a window; q ends it")
    return parser


def main(args: argparse.Namespace) -> None:
    """Predicts on all sources, or on what is typed in where none is given."""
    if not args.sources and not sys.stdin.isatty():
        raise UserError("no SOURCE given, name an image, a folder, a video, a camera or a stream")
    has_display = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if args.show and sys.platform == "linux" and not has_display:
        raise UserError(f"--show finds no display, leave it out and look into {args.out}")

    from utils.inference.sources import find_sources

    sources = find_sources(args.sources)  # before TensorFlow: a wrong name is told at once

    cli.import_tensorflow()
    from utils.inference.runner import Prediction
    from utils.run import load_run, newest_run

    run = load_run(args.run or newest_run())
    batch_size = 1 if args.fps_test else args.batch_size
    predictor = run.predictor(args.conf, args.iou, args.max_boxes, batch_size=batch_size)
    if args.fps_test:
        _time(predictor, sources, args.fps_test, args.json)
        return
    prediction = Prediction(
        predictor,
        run.classes,
        args.out,
        crop=args.crop,
        count=args.count,
        heatmap=args.heatmap,
        as_json=args.json,
        show=args.show,
    )
    if sources:
        prediction.process(sources)
    else:
        for name in _ask():
            try:
                prediction.process(find_sources([name]))
            except UserError as error:
                print(f"error: {error}", file=sys.stderr)
            except OSError as error:  # the next file may do
                if error.errno is None:  # a library's own failure
                    raise
                print(f"error: {cli.explained(error)}", file=sys.stderr)
    prediction.finish()


def _ask() -> Iterator[str]:
    while True:
        print("Input image filename: ", end="", file=sys.stderr, flush=True)
        name = sys.stdin.readline().strip()
        if not name:
            return
        yield name


def _time(predictor: "Predictor", sources: list["Source"], runs: int, as_json: bool) -> None:
    """Prints how long an image takes: median of `runs`, one image at a time."""
    from utils.data.images import read_image
    from utils.data.letterbox import letterbox

    path = next((Path(source.address) for source in sources if source.is_image), None)
    if path is None:
        raise UserError("--fps-test needs an image, name one as SOURCE")
    canvas = letterbox(read_image(path), predictor.input_size)[0][None]
    milliseconds = {
        "end_to_end_ms": _median_ms(lambda: predictor([read_image(path)]), runs),
        "network_ms": _median_ms(lambda: predictor.best_scores(canvas).numpy(), runs),
    }
    if as_json:
        print(json.dumps({"runs": runs, **milliseconds}))
        return
    names = ("end to end, from file to boxes", "network alone")
    for name, each in zip(names, milliseconds.values(), strict=True):
        print(f"{name:31} {each:8.1f} ms {1000 / each:8.1f} images/s")


def _median_ms(call: Callable[[], object], runs: int) -> float:
    for _ in range(WARM_UP_RUNS):
        call()
    seconds = []
    for _ in range(runs):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return 1000 * statistics.median(seconds)


if __name__ == "__main__":
    cli.run(main, build_parser())
