"""The flags of long prediction jobs."""

from pathlib import Path

from utils import cli


def add_job_flags(parser: cli.Parser) -> None:
    """Adds the flags of long jobs, `--jsonl`, `--resume` and `--shard`."""
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
