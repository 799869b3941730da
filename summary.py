"""Prints the parameters and FLOPs of a detector, without training it."""

import argparse
import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from nets.versions import VERSIONS
from utils import cli
from utils.errors import UserError

if TYPE_CHECKING:  # --help must not wait for TensorFlow
    from keras import Layer, Model

    from nets.detector import Detector

PARTS = ("backbone", "neck", "head")


def build_parser() -> cli.Parser:
    """Builds the parser of the flags."""
    parser = cli.Parser(__doc__)
    add = parser.add_argument
    add("--backbone", default="mobilenetv2", help="registered name (default: mobilenetv2)")
    add("--yolo", choices=tuple(VERSIONS), default="v4", help="YOLO version (default: v4)")
    add("--width", type=cli.above_zero, help="width multiplier of the backbone (default: its own)")
    add(
        "--neck-width",
        type=cli.above_zero,
        default=1.0,
        help="multiplier of the channels of neck and head (default: 1)",
    )
    add("--input-size", default="416", help="N or HxW, multiples of 32 (default: 416)")
    add(
        "--classes-count",
        type=cli.at_most(cli.MAX_CLASSES),
        default=20,
        help="number of classes (default: 20)",
    )
    add("--json", action="store_true", help="print the figures as one JSON document")
    return parser


def main(args: argparse.Namespace) -> None:
    """Builds the detector with random weights and prints its figures."""
    input_size = cli.parse_size(args.input_size)
    cli.import_tensorflow()
    from nets.detector import Detector

    try:
        detector = Detector(
            args.backbone,
            args.classes_count,
            version=replace(VERSIONS[args.yolo], neck_width=args.neck_width),
            input_size=input_size,
            width=args.width,
        )
    except ValueError as error:
        raise UserError(str(error)) from error
    print(json.dumps(summarize(detector)) if args.json else format_summary(detector))


def summarize(detector: "Detector") -> dict[str, Any]:
    """Computes the figures of a detector.

    Returns:
        `params` and `backbone_params` as Keras counts them, including the moving averages of batch
        normalization, which are not trained; `gflops` per image, see `count_flops`; `features`,
        the `[height, width, channels]` of the outputs of the backbone, stride 8 first.
    """
    return {
        "params": detector.count_params(),
        "backbone_params": detector.backbone.count_params(),
        "gflops": count_flops(detector.layers) / 1e9,
        "features": [list(feature.shape[1:]) for feature in detector.backbone.outputs],
    }


def count_flops(layers: Iterable["Layer"]) -> int:
    """Counts the floating-point operations of layers per image.

    A multiply-add of a convolution, depthwise or not, or of a dense layer counts as two, as in
    published figures. Biases, normalization, activations and pooling are not counted.

    Args:
        layers: Built layers. If one is a model, its layers are counted.
    """
    # Each output pixel uses each weight of the kernel once, also in a depthwise convolution, whose
    # kernel has one filter per channel.
    return sum(
        2 * math.prod(layer.output.shape[1:-1]) * math.prod(layer.kernel.shape)
        for layer in innermost(layers)
        if hasattr(layer, "kernel")
    )


def innermost(layers: Iterable["Layer | Model"]) -> Iterator["Layer"]:
    """Iterates over layers, with the layers of a model instead of the model."""
    for layer in layers:
        if hasattr(layer, "layers"):
            yield from innermost(layer.layers)
        else:
            yield layer


def format_summary(detector: "Detector") -> str:
    """Formats the figures of a detector and of its parts as text."""
    height, width = detector.input_size
    rows = [f"{'':10}{'parameters':>14}{'GFLOPs':>10}"]
    for part in PARTS:
        layers = [layer for layer in detector.layers if layer.name.split("_")[0] == part]
        params = sum(layer.count_params() for layer in layers)
        rows.append(f"{part:10}{params:14,}{count_flops(layers) / 1e9:10.3f}")
    figures = summarize(detector)
    rows.append(f"{'total':10}{figures['params']:14,}{figures['gflops']:10.3f}")
    features = ", ".join("x".join(map(str, feature)) for feature in figures["features"])
    return "\n".join(
        [
            *rows,
            "",
            f"input {height}x{width}, features {features} (height x width x channels)",
            "FLOPs: two per multiply-add of convolutions and dense layers, per image",
        ]
    )


if __name__ == "__main__":
    cli.run(main, build_parser())
