"""The flags that benchmarks of training share."""

from pathlib import Path

from utils import cli
from utils.precision import AUTO, PRECISIONS


def training_parser(description: str) -> cli.Parser:
    """Builds a parser with the flags of detector, data and output."""
    parser = cli.Parser(description)
    add = parser.add_argument
    add("--data", type=Path, default=Path("VOCdevkit"), help="a VOCdevkit, default %(default)s")
    add("--backbone", default="mobilenetv2", help="default %(default)s")
    add("--yolo", default="v4", help="default %(default)s")
    add("--input-size", default="416", help="N or HxW, default %(default)s")
    add("--batch-size", type=cli.positive, default=8, help="default %(default)s")
    add("--precision", choices=PRECISIONS, default=AUTO, help="default %(default)s")
    add("--out", type=Path, help="also write the table to this JSON file")
    return parser
