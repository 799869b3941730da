"""Prints the READMEs' table of backbones: `python -m benchmarks.backbone_table`."""

import argparse

from utils import cli

HEADER = (
    "| backbone | widths | parameters | of the backbone | GFLOPs | features at strides 8, 16, 32 |",
    "|---|---|---:|---:|---:|---|",
)


def main(_: argparse.Namespace) -> None:
    """Prints a row for each registered backbone; the largest take a while to build."""
    cli.import_tensorflow()
    from nets.backbones import list_backbones

    print(*HEADER, sep="\n")
    for name in list_backbones():
        print(table_row(name), flush=True)


def table_row(name: str) -> str:
    """What a backbone of default width makes of a v4 detector with 20 classes at 416x416."""
    from nets.backbones import resolve
    from nets.detector import Detector
    from summary import summarize

    figures = summarize(Detector(name, num_classes=20, version="v4", input_size=(416, 416)))
    cells = (
        f"`{name}`",
        ", ".join(f"{width:g}" for width in resolve(name).widths),
        f"{figures['params'] / 1e6:.2f} M",
        f"{figures['backbone_params'] / 1e6:.2f} M",
        f"{figures['gflops']:.2f}",
        ", ".join("x".join(map(str, feature)) for feature in figures["features"]),
    )
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    cli.run(main, cli.Parser(__doc__))
