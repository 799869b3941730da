"""Prints the table of backbones for the READMEs: `python -m benchmarks.backbone_table`."""

import argparse

from utils import cli

HEADER = (
    "| backbone | widths | parameters | of the backbone | GFLOPs | features at strides 8, 16, 32 |",
    "|---|---|---:|---:|---:|---|",
)


def main(_: argparse.Namespace) -> None:
    """Prints one row per registered backbone; the largest take seconds to build."""
    cli.import_tensorflow()
    from nets.backbones import list_backbones

    print(*HEADER, sep="\n")
    for name in list_backbones():
        print(backbone_row(name), flush=True)


def backbone_row(name: str) -> str:
    """Formats the row of a backbone: default width, v4 detector, 20 classes, 416x416."""
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
