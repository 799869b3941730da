"""The flags of long prediction jobs."""

from pathlib import Path

from utils import cli


def add_job_flags(parser: cli.Parser) -> None:
    """Adds the flags of long jobs."""
    add = parser.add_argument
    add(
        "--jsonl",
        type=Path,
        metavar="FILE",
        help="only write the detections to FILE, a line of JSON per image as soon as it is done",
    )
    add("--resume", action="store_true", help="continue the FILE of --jsonl where it stopped")
    add(
        "--shard",
        type=cli.shard,
        metavar="I/N",
        help="only process every Nth source, beginning with the Ith from 1; needs --jsonl",
    )
    add(
        "--workers",
        choices=("ray",),
        help="process the sources on all processors of a Ray cluster; FILE of --jsonl becomes a "
        "folder of many files, of Parquet if its name ends in .parquet",
    )
    add(
        "--ray-address",
        metavar="HOST:PORT",
        help="Ray cluster of --workers ray (default: that of RAY_ADDRESS, else a new one on this "
        "machine)",
    )
