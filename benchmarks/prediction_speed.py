"""How long a detector takes from file to boxes: `python -m benchmarks.prediction_speed`.

The bare network is timed as a plain tf.function and with its weights as constants, which is how
predict.py and get_map.py run it; then all of the way from a JPEG of 640x480 to boxes. Weights are
random: they change no time but that of suppression, which is given the 0.5 of predict.py.
"""

import argparse
import tempfile
from pathlib import Path

from benchmarks.timing import interleaved, median_ratio, milliseconds, report
from utils import cli

PHOTO = (480, 640)


def main(args: argparse.Namespace) -> None:
    """Times one detector at batch 1 and at batch 8."""
    cli.import_tensorflow()
    import cv2
    import numpy as np
    import tensorflow as tf

    from benchmarks.bare_network import bare_network
    from nets.detector import Detector
    from utils.images import read_image
    from utils.predictor import Predictor

    size = cli.parse_size(args.input_size)
    detector = Detector(args.backbone, version=args.yolo, input_size=size)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        photo = Path(folder) / "photo.jpg"
        noise = np.random.default_rng(0).integers(0, 256, (15, 20, 3), np.uint8)
        cv2.imwrite(str(photo), cv2.resize(noise, PHOTO[::-1], interpolation=cv2.INTER_CUBIC))
        for batch in (1, 8):
            canvases = tf.zeros((batch, *size, 3), tf.uint8)
            plain = bare_network(detector, batch, constants=False)
            frozen = bare_network(detector, batch, constants=True)
            predictor = Predictor(detector, batch_size=batch, frozen=True)
            works = {
                "plain tf.function": lambda f=plain, x=canvases: f(x).numpy(),
                "weights as constants": lambda f=frozen, x=canvases: f(x).numpy(),
                "file to boxes": lambda p=predictor, n=batch: p(
                    [read_image(photo) for _ in range(n)]
                ),
            }
            seconds = interleaved(works, args.repeats)
            rows += [
                {
                    "batch": batch,
                    "what": name,
                    "ms, median (10% to 90%)": milliseconds(seconds[name]),
                    "times the plain one": round(
                        median_ratio(seconds, name, "plain tf.function"), 2
                    ),
                    "times the bare frozen one": round(
                        median_ratio(seconds, name, "weights as constants"), 2
                    ),
                }
                for name in works
            ]
    title = (
        f"{args.backbone} {args.yolo} at {size[0]}x{size[1]}, {args.repeats} interleaved repeats"
    )
    report(title, rows, args.out)


def build_parser() -> cli.Parser:
    """The flags."""
    parser = cli.Parser(__doc__)
    parser.add_argument("--backbone", default="mobilenetv2", help="default %(default)s")
    parser.add_argument("--yolo", default="v4", help="default %(default)s")
    parser.add_argument("--input-size", default="416", help="N or HxW, default %(default)s")
    parser.add_argument("--repeats", type=cli.positive, default=40, help="default %(default)s")
    parser.add_argument("--out", type=Path, help="also write the table as JSON")
    return parser


if __name__ == "__main__":
    cli.run(main, build_parser())
