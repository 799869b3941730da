"""Times prediction from file to boxes: `python -m benchmarks.prediction_speed`.

Times three things. First, the network alone: as a plain tf.function, and with weights as constants
as in predict.py and get_map.py. Second, prediction from a 640x480 JPEG to boxes.
Third, a folder of such photos and a video as predict.py processes them, with drawing and writing;
the video also with --track. The weights are random, so the confidence threshold is chosen such that
each photo has ten detections.
"""

import argparse
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.timing import interleaved, median_ratio, milliseconds, report
from utils import cli

if TYPE_CHECKING:  # --help must not import TensorFlow
    from nets.detector import Detector
    from utils.inference.thresholds import Thresholds

PHOTO_SIZE = (480, 640)  # height, width
NUM_CLASSES = 20
DETECTIONS = 10  # per photo
PLAIN, FROZEN = "network, plain tf.function", "network, weights as constants"
VIDEO, TRACKED = "video", "video, tracked"


@dataclass(frozen=True)
class Media:
    """The input files and the output folder.

    Attributes:
        photo: A JPEG.
        photos: A folder with copies of the photo.
        video: A video in which every frame is the photo.
        count: Number of photos in the folder, and of frames in the video.
        out: Folder for the results.
    """

    photo: Path
    photos: Path
    video: Path
    count: int
    out: Path


def main(args: argparse.Namespace) -> None:
    """Times one detector at batch sizes 1 and 8."""
    cli.import_tensorflow()
    from nets.detector import Detector
    from utils.inference.engines.keras import KerasEngine
    from utils.inference.predictor import Predictor
    from utils.inference.thresholds import Thresholds

    size = cli.parse_size(args.input_size)
    detector = Detector(args.backbone, NUM_CLASSES, version=args.yolo, input_size=size)
    pixels = random_photo()
    (best,) = Predictor(KerasEngine(detector, Thresholds(confidence=0.0, max_boxes=DETECTIONS)))(
        [pixels]
    )
    thresholds = Thresholds(confidence=float(best.scores[-1]))
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        media = write_media(Path(folder), pixels, args.files)
        for batch in (1, 8):
            functions = make_functions(detector, thresholds, media, batch)
            rows += make_rows(functions, batch, args.repeats)
    title = (
        f"{args.backbone} {args.yolo} at {size[0]}x{size[1]}, {args.repeats} interleaved repeats, "
        f"folders and videos of {args.files}, {DETECTIONS} objects each"
    )
    report(title, rows, args.out)


def random_photo() -> np.ndarray:
    """Makes an image of smooth colours, whose JPEG is about as large as that of a photo."""
    import cv2

    noise = np.random.default_rng(0).integers(0, 256, (15, 20, 3), np.uint8)
    return cv2.resize(noise, PHOTO_SIZE[::-1], interpolation=cv2.INTER_CUBIC)


def write_media(folder: Path, pixels: np.ndarray, count: int) -> Media:
    """Writes a photo, `count` copies of it, and a video of `count` frames."""
    from utils.data.encoding import write_image
    from utils.inference.video import VideoWriter

    media = Media(
        folder / "photo.jpg", folder / "photos", folder / "video.mp4", count, folder / "out"
    )
    write_image(media.photo, pixels)
    media.photos.mkdir()
    for i in range(count):
        shutil.copy(media.photo, media.photos / f"{i}.jpg")
    with VideoWriter(media.video, fps=25) as writer:
        for _ in range(count):
            writer.write(pixels)
    return media


def make_functions(
    detector: "Detector", thresholds: "Thresholds", media: Media, batch: int
) -> dict[str, tuple[int, Callable[[], object]]]:
    """Returns the number of images and a function that processes them, by name."""
    import tensorflow as tf

    from benchmarks.bare_network import bare_network
    from utils.data.images import read_image
    from utils.files import OutputFolder
    from utils.inference.engines.keras import KerasEngine
    from utils.inference.predictor import Predictor
    from utils.inference.runner import Runner, RunnerSettings
    from utils.inference.sinks import JsonDocument, Pictures
    from utils.inference.sources import find_sources
    from utils.inference.tracking import TrackingSettings

    classes = [f"class {label}" for label in range(NUM_CLASSES)]
    canvases = tf.zeros((batch, *detector.input_size, 3), tf.uint8)
    plain = bare_network(detector, batch, constants=False)
    frozen = bare_network(detector, batch, constants=True)
    predictor = Predictor(KerasEngine(detector, thresholds, batch, frozen=True))
    # Lower thresholds would find a hundred objects in random weights.
    tracking = TrackingSettings(thresholds.confidence)

    def predict(source: Path, is_tracked: bool = False) -> None:
        settings = RunnerSettings(
            image_bar=True, start_tracker=tracking.start if is_tracked else None
        )
        sinks = [Pictures(OutputFolder(media.out)), JsonDocument()]
        runner = Runner(predictor, classes, sinks, settings)
        runner.process(find_sources([str(source)]))  # without `finish`, which prints the JSON

    return {
        PLAIN: (batch, lambda: plain(canvases).numpy()),
        FROZEN: (batch, lambda: frozen(canvases).numpy()),
        "file to boxes": (
            batch,
            lambda: predictor([read_image(media.photo) for _ in range(batch)]),
        ),
        "folder": (media.count, lambda: predict(media.photos)),
        VIDEO: (media.count, lambda: predict(media.video)),
        TRACKED: (media.count, lambda: predict(media.video, is_tracked=True)),
    }


def make_rows(
    functions: dict[str, tuple[int, Callable[[], object]]], batch: int, repeats: int
) -> list[dict[str, object]]:
    """Times all functions in turn; returns one row per function."""
    calls = interleaved({name: function for name, (_, function) in functions.items()}, repeats)
    seconds = {name: [call / functions[name][0] for call in calls[name]] for name in functions}
    return [
        {
            "batch": batch,
            "what": name,
            "ms per image, median (10% to 90%)": milliseconds(seconds[name]),
            "ratio to the plain network": round(median_ratio(seconds, name, PLAIN), 2),
            "ratio to the network with constant weights": round(
                median_ratio(seconds, name, FROZEN), 2
            ),
            "ratio to the video without tracking": (
                round(median_ratio(seconds, name, VIDEO), 3) if name == TRACKED else ""
            ),
        }
        for name in functions
    ]


def build_parser() -> cli.Parser:
    """Builds the parser of the flags."""
    parser = cli.Parser(__doc__)
    add = parser.add_argument
    add("--backbone", default="mobilenetv2", help="default: %(default)s")
    add("--yolo", default="v4", help="default: %(default)s")
    add("--input-size", default="416", help="N or HxW (default: %(default)s)")
    add("--repeats", type=cli.positive, default=20, help="default: %(default)s")
    add("--files", type=cli.positive, default=16, help="photos and frames (default: %(default)s)")
    add("--out", type=Path, help="also write the table as JSON")
    return parser


if __name__ == "__main__":
    cli.run(main, build_parser())
