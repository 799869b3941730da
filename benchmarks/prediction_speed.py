"""How long a detector takes from file to boxes: `python -m benchmarks.prediction_speed`.

The bare network is timed as a plain tf.function and with its weights as constants, which is how
predict.py and get_map.py run it; then all of the way from a JPEG of 640x480 to boxes; then a folder
of such photos and a video as predict.py takes them, with drawing and writing. Weights are random,
so the lowest score shown is one that ten boxes of the photo reach.
"""

import argparse
import shutil
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.timing import interleaved, median_ratio, milliseconds, report
from utils import cli

PHOTO = (480, 640)
CLASSES = 20
SHOWN = 10  # objects of the photo
PLAIN, FROZEN = "network, plain tf.function", "network, weights as constants"


def main(args: argparse.Namespace) -> None:
    """Times one detector at batch 1 and at batch 8."""
    cli.import_tensorflow()
    import tensorflow as tf

    from benchmarks.bare_network import bare_network
    from nets.detector import Detector
    from utils.data.images import read_image
    from utils.files import write_image
    from utils.inference.predictor import Predictor
    from utils.inference.runner import Prediction
    from utils.inference.sources import find_sources
    from utils.inference.video import VideoWriter

    size = cli.parse_size(args.input_size)
    classes = [f"class {label}" for label in range(CLASSES)]
    detector = Detector(args.backbone, CLASSES, version=args.yolo, input_size=size)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photo, photos, video = folder / "photo.jpg", folder / "photos", folder / "video.mp4"
        pixels = photo_like()
        write_image(photo, pixels)
        photos.mkdir()
        for i in range(args.files):
            shutil.copy(photo, photos / f"{i}.jpg")
        with VideoWriter(video, fps=25) as writer:
            for _ in range(args.files):
                writer.write(pixels)
        (best,) = Predictor(detector, confidence=0.0, max_boxes=SHOWN)([pixels])
        lowest = float(best.scores[-1])
        for batch in (1, 8):
            canvases = tf.zeros((batch, *size, 3), tf.uint8)
            plain = bare_network(detector, batch, constants=False)
            frozen = bare_network(detector, batch, constants=True)
            predictor = Predictor(detector, lowest, batch_size=batch, frozen=True)

            def predict(source: Path, predictor: Predictor = predictor) -> None:
                prediction = Prediction(predictor, classes, folder / "out", as_json=True)
                prediction.process(find_sources([str(source)]))

            works = {
                PLAIN: (batch, lambda f=plain, x=canvases: f(x).numpy()),
                FROZEN: (batch, lambda f=frozen, x=canvases: f(x).numpy()),
                "file to boxes": (
                    batch,
                    lambda p=predictor, n=batch: p([read_image(photo) for _ in range(n)]),
                ),
                "folder": (args.files, lambda f=predict: f(photos)),
                "video": (args.files, lambda f=predict: f(video)),
            }
            calls = interleaved({name: work for name, (_, work) in works.items()}, args.repeats)
            seconds = {name: [call / works[name][0] for call in calls[name]] for name in works}
            rows += [
                {
                    "batch": batch,
                    "what": name,
                    "ms an image, median (10% to 90%)": milliseconds(seconds[name]),
                    "times the plain network": round(median_ratio(seconds, name, PLAIN), 2),
                    "times the network of constants": round(median_ratio(seconds, name, FROZEN), 2),
                }
                for name in works
            ]
    title = (
        f"{args.backbone} {args.yolo} at {size[0]}x{size[1]}, {args.repeats} interleaved repeats, "
        f"folders and videos of {args.files}, {SHOWN} objects each"
    )
    report(title, rows, args.out)


def photo_like() -> np.ndarray:
    """Smooth colours, about as large a JPEG as a photo."""
    import cv2

    noise = np.random.default_rng(0).integers(0, 256, (15, 20, 3), np.uint8)
    return cv2.resize(noise, PHOTO[::-1], interpolation=cv2.INTER_CUBIC)


def build_parser() -> cli.Parser:
    """The flags."""
    parser = cli.Parser(__doc__)
    add = parser.add_argument
    add("--backbone", default="mobilenetv2", help="default %(default)s")
    add("--yolo", default="v4", help="default %(default)s")
    add("--input-size", default="416", help="N or HxW, default %(default)s")
    add("--repeats", type=cli.positive, default=20, help="default %(default)s")
    add("--files", type=cli.positive, default=16, help="photos and frames, default %(default)s")
    add("--out", type=Path, help="also write the table as JSON")
    return parser


if __name__ == "__main__":
    cli.run(main, build_parser())
