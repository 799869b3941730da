"""Measures how reading a large VOC folder scales: `python -m benchmarks.data_scale --folder DIR`.

Draws folders of several sizes with the synthetic generator, and reads each as train.py does: lists,
split, classes, annotations, image headers, one decoding of every image, and the table of the check.
Each reading has a process of its own. The second one finds the records of the first.

The XML files are all different files. A few thousand drawn images stand for the others through hard
links, so that 200,000 images take little space. No two splits share an image.
"""

import argparse
import os
import resource
import sys
import tempfile
import time
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path

from benchmarks.timing import in_a_process, peak_gib, report
from utils import cli
from utils.errors import UserError

SPLITS = {"train": 0.8, "val": 0.1, "test": 0.1}  # fraction of the images
DRAWN = 2000  # different images per folder; Linux' ext4 allows 65,000 links of each
INPUT_SIZE = (416, 416)


def main(args: argparse.Namespace) -> None:
    """Draws the folders that do not exist yet, and measures each."""
    rows = []
    for count in args.counts:
        folder = args.folder / str(count)
        if not folder.is_dir():
            draw(folder, count)
        rows += [measure_row(folder, count, args.repeats)]
        print(rows[-1], file=sys.stderr)
    report(f"{args.repeats} repeats, fastest and slowest", rows, args.out)


def draw(folder: Path, count: int) -> None:
    """Draws a VOCdevkit with this many annotated images, completely or not at all."""
    from utils.data.imagesets import write_set_list
    from utils.data.synthetic import write_voc
    from utils.files import written_whole

    drawn = {split: round(share * min(DRAWN, count)) for split, share in SPLITS.items()}
    folder.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(folder) as (part,):
        part.mkdir()
        write_voc(part, **drawn)
        voc = part / "VOC2007"
        first = 1
        lists = {}
        for split, number in drawn.items():
            ids = [f"{index:06d}" for index in range(first, first + number)]
            first += number
            more = round(SPLITS[split] * count) - number
            lists[split] = ids + [f"{split}_{index:07d}" for index in range(more)]
            for index, new in enumerate(lists[split][number:]):
                source = ids[index % number]
                text = (voc / "Annotations" / f"{source}.xml").read_text(encoding="utf-8")
                text = text.replace(f"{source}.jpg", f"{new}.jpg")
                (voc / "Annotations" / f"{new}.xml").write_text(text, encoding="utf-8")
                os.link(voc / "JPEGImages" / f"{source}.jpg", voc / "JPEGImages" / f"{new}.jpg")
        for split, names in (lists | {"trainval": lists["train"] + lists["val"]}).items():
            write_set_list(voc / "ImageSets" / "Main" / f"{split}.txt", names)


def measure_row(folder: Path, count: int, repeats: int) -> dict[str, object]:
    """Measures a folder: without records of an earlier reading, and with them."""
    firsts, seconds = [], []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as cache:
            firsts.append(in_a_process(measure, folder, cache))
            seconds.append(in_a_process(measure, folder, cache))
    row: dict[str, object] = {"annotations": f"{count:,}"}
    for name, results in (("first time", firsts), ("again", seconds)):
        times, cpu, before, peaks = zip(*results, strict=True)
        row |= {
            f"{name}, s": f"{min(times):.1f} to {max(times):.1f}",
            f"{name}, CPU s": f"{min(cpu):.1f}",
            f"{name}, peak GiB": f"{max(peaks):.2f}",
            f"{name}, µs each": f"{1e6 * min(times) / count:.0f}",
        }
    row["GiB before"] = f"{max(before):.2f}"
    return row


def measure(folder: Path, cache: str) -> tuple[float, float, float, float]:
    """Reads a folder like train.py.

    Args:
        folder: The VOCdevkit.
        cache: Folder for what is kept from one reading to the next.

    Returns:
        Seconds, seconds of the processor, and the peak memory in GiB before and after.

    Raises:
        UserError: The folder has faults, so it is not what this benchmark drew.
    """
    from nets.versions import VERSIONS
    from utils.training.run_data import DataSource, read_run_data

    os.environ["XDG_CACHE_HOME"] = cache
    before = peak_gib(resource.getrusage(resource.RUSAGE_SELF))
    start, cpu = time.perf_counter(), time.process_time()
    source = DataSource(folder, None, None, seed=0)
    with redirect_stderr(StringIO()) as said:
        read_run_data(source, None, VERSIONS["v4"], INPUT_SIZE)
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    if "faults: none" not in said.getvalue():
        raise UserError(f"{folder} has faults, remove it so that it is drawn again")
    return seconds, cpu, before, peak_gib(resource.getrusage(resource.RUSAGE_SELF))


def build_parser() -> cli.Parser:
    """Builds the parser of the flags."""
    parser = cli.Parser(__doc__)
    add = parser.add_argument
    default = "(default: %(default)s)"
    add("--folder", type=Path, required=True, help="where the folders are drawn, 1.6 GB")
    add(
        "--counts",
        type=cli.positive,
        nargs="+",
        default=[25_000, 50_000, 100_000, 200_000],
        help=f"numbers of annotations {default}",
    )
    add("--repeats", type=cli.positive, default=3, help=f"repeats {default}")
    add("--out", type=Path, help="also write the table to this JSON file")
    return parser


if __name__ == "__main__":
    cli.run(main, build_parser())
