"""Compares the exported models of a run with Keras: `python -m benchmarks.engines --run DIR`.

Times all files in DIR/export and the run itself in turn, on validation images of the run: the
network alone, and from JPEG file to boxes, with one and eight images, on one and two threads. Each
number of threads has a process of its own, since TensorFlow cannot change it. Resident memory is
the peak of a process that finds the boxes of one image. Prints a table, and writes
DIR/export/engines.json and a plot of mAP against milliseconds, DIR/export/engines.png.
"""

import argparse
import json
from pathlib import Path

from benchmarks.engine_measurements import Job, measure_map, measure_memory, measure_speed
from benchmarks.engine_plot import draw_engines
from benchmarks.timing import in_a_process
from utils import cli
from utils.files import written_whole
from utils.inference.model import find_exports
from utils.text import format_table


def main(args: argparse.Namespace) -> None:
    """Measures, and writes table, document and plot."""
    folder = args.run / "export"
    job = Job(args.run, args.data, tuple(find_exports(folder)), args.rounds)
    rows = {name: {"file": name} for name in job.names}
    for name in job.names:
        rows[name]["resident_mib"] = in_a_process(measure_memory, job, name)
    for name, scores in in_a_process(measure_map, job).items():
        rows[name] |= scores
    for threads in args.threads:
        for name, speeds in in_a_process(measure_speed, job, threads).items():
            rows[name].setdefault("speeds", []).extend(speeds)
    records = [*rows.values()]
    document, plot = folder / "engines.json", folder / "engines.png"
    with written_whole(document, plot) as (document_part, plot_part):
        document_part.write_text(json.dumps(records, indent=2) + "\n", encoding="utf-8")
        draw_engines(records, plot_part)
    print(table_of(records), end="")
    print(f"document: {document}, plot: {plot}")


def table_of(rows: list[dict]) -> str:
    """Formats the measurements, one line per file, number of threads and batch."""
    header = ["file", "MB", "MiB", "mAP50", "mAP", "threads", "batch"]
    header += ["network, ms (quartiles)", "file to boxes, ms (quartiles)"]
    header += ["times as fast", "pre and post"]
    lines = [header]
    for row in rows:
        for speed in row["speeds"]:
            lines.append(
                [
                    row["file"],
                    f"{row['megabytes']:.1f}",
                    f"{row['resident_mib']:.0f}",
                    *(
                        "-" if row[name] is None else f"{row[name]:.3f}"
                        for name in ("map50", "map")
                    ),
                    str(speed["threads"]),
                    str(speed["batch"]),
                    *(
                        "{:.1f} ({:.1f} to {:.1f})".format(*speed[name])
                        for name in ("network_ms", "file_to_boxes_ms")
                    ),
                    f"{speed['ratio_to_keras']:.2f}",
                    f"{100 * speed['host_share']:.0f}%",
                ]
            )
    return format_table(lines)


def build_parser() -> cli.Parser:
    """Builds the parser of the flags."""
    parser = cli.Parser(__doc__)
    add = parser.add_argument
    add("--run", type=Path, metavar="DIR", required=True, help="run directory")
    add("--data", type=Path, metavar="DIR", help="VOCdevkit (default: that of the run)")
    add(
        "--rounds",
        type=cli.integer(2, cli.MAX_RUNS),  # one has no quartiles
        default=8,
        help="blocks of calls (default: %(default)s)",
    )
    add(
        "--threads",
        type=cli.at_most(cli.MAX_THREADS),
        nargs="+",
        default=[1, 2],
        help="numbers of threads (default: 1 2)",
    )
    return parser


if __name__ == "__main__":
    cli.run(main, build_parser())
