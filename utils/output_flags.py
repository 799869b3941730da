"""The flags that select what predict.py writes."""

from pathlib import Path

from utils import cli
from utils.inference.line_counter import parse_line

OUT = Path("img_out")


def add_output_flags(parser: cli.Parser) -> None:
    """Adds the flags of pictures, files, texts, tracks and the window."""
    add = parser.add_argument
    add("--out", type=Path, help=f"folder for the results (default: {OUT})")
    add(
        "--save",
        action="append",
        choices=("voc", "txt", "csv"),
        help="also write the detections as OUT/voc/*.xml, OUT/txt/*.txt or OUT/detections.csv; "
        "can be repeated",
    )
    add("--crop", action="store_true", help="also write each object to OUT/img_crop")
    add("--count", action="store_true", help="also print the number of objects per class")
    add("--heatmap", action="store_true", help="also write heat maps of the scores")
    add("--json", action="store_true", help="print the detections as one JSON document")
    add(
        "--track",
        action="store_true",
        help="also give the objects of a video ids that stay with them, and draw their trails",
    )
    add(
        "--count-line",
        type=parse_line,
        metavar="X1,Y1,X2,Y2",
        help="also count the tracked objects that cross this line, in pixels of the video, by "
        "class and direction",
    )
    add("--show", action="store_true", help="also show the results in a window; press q to quit")
