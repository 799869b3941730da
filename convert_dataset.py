"""Converts a COCO or YOLO dataset to a VOCdevkit (--from), or the reverse (--to).

Images are linked, not copied, unless --copy is given. The source is never changed.
"""

import argparse
import sys
from pathlib import Path

from utils.cli import Parser, run
from utils.data.faults import check_faults_file, fault_lines, write_faults
from utils.data.formats.convert import FORMATS, convert_from_voc, convert_to_voc


def main(args: argparse.Namespace) -> None:
    """Converts the dataset and prints what is in it; the faults go to standard error."""
    check_faults_file(args.faults)
    if args.origin:
        done = convert_to_voc(args.source, args.origin, args.out, args.copy)
    else:
        done = convert_from_voc(args.source, args.to, args.out, args.copy)
    for note in done.notes:
        print(f"note: {note}", file=sys.stderr)
    print(fault_lines(done.faults), end="", file=sys.stderr)
    if args.faults:
        write_faults(args.faults, done.faults)
    elif done.faults:
        print("note: --faults FILE lists all faults", file=sys.stderr)
    print(done.summary)


def build_parser() -> Parser:
    """Builds the parser of the flags."""
    parser = Parser(__doc__)
    add = parser.add_argument
    add(
        "source",
        type=Path,
        metavar="SRC",
        help="a folder, a COCO JSON file or a YOLO data.yaml; with --to, a VOCdevkit",
    )
    direction = parser.add_mutually_exclusive_group(required=True)
    direction.add_argument("--from", dest="origin", choices=FORMATS, help="format of SRC")
    direction.add_argument("--to", choices=FORMATS, help="format to write")
    add("--out", type=Path, required=True, metavar="DIR", help="new folder for the result")
    add("--copy", action="store_true", help="copy the images instead of linking them")
    add("--faults", type=Path, metavar="FILE", help="write all faults in the data as CSV")
    return parser


if __name__ == "__main__":
    run(main, build_parser())
