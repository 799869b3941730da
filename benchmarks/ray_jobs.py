"""Compares a job on Ray with the same workers without it: `python -m benchmarks.ray_jobs`.

Predicts on a folder of images, once by predict.py --workers ray and once by as many processes of
predict.py --shard, one per processor and with one thread each. The images are hard links to a few
files, so that a million take little space. Nine tenths of the images are timed, without the start.
It also measures the memory of the process that divides the job and of its workers, after a tenth
of the images and at the end.
"""

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.timing import report
from utils import cli
from utils.errors import JobError, UserError

START = 0.1  # fraction of the images that is not timed
PAUSE = 1.0  # seconds between two samples
MAX_LINKS = 60_000  # to one file; Linux' ext4 allows 65,000
WORKER = "ray::MapWorker"  # beginning of the title of a worker's process


@dataclass(frozen=True)
class Sample:
    """A job at one moment.

    Attributes:
        seconds: Time since its start.
        done: Number of images whose records are written.
        first: Memory of the first process, in MB; of the one that divides the job with Ray.
        worker: Memory of the largest worker, in MB.
    """

    seconds: float
    done: int
    first: float
    worker: float


def main(args: argparse.Namespace) -> None:
    """Runs the jobs in turn, and prints the speed and the memory of each."""
    workers = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        folder = Path(name)
        link_images(args.images, folder / "images", args.count)
        common = ["images", "--model", str(args.model.resolve()), "--threads", "1"]
        common += ["--batch-size", str(args.batch_size), "--jsonl"]
        rows = []
        for number in range(args.repeats):
            rows += [run_ray(folder, common, f"ray-{number}", args.count)]
            if not args.only_ray:
                rows += [run_shards(folder, common, f"plain-{number}", (args.count, workers))]
            print(rows[-args.repeats :], file=sys.stderr)
    report(f"{args.count} images, {workers} workers, batch {args.batch_size}", rows, args.out)


def link_images(source: Path, folder: Path, count: int) -> None:
    """Fills a folder with hard links to the images of another one, in turn."""
    files = [path for path in sorted(source.iterdir()) if path.is_file()]
    if len(files) * MAX_LINKS < count:
        raise UserError(f"{count} images need {-(-count // MAX_LINKS)} files in {source}")
    folder.mkdir()
    copies = []
    for path in files:  # they can be on another file system
        copies.append(folder.parent / path.name)
        copies[-1].write_bytes(path.read_bytes())
    for number, path in zip(range(count), itertools.cycle(copies), strict=False):
        (folder / f"{number:08d}{path.suffix}").hardlink_to(path)


def run_ray(folder: Path, flags: list[str], out: str, count: int) -> dict[str, object]:
    """Runs a job on a cluster of this machine."""
    manifest = folder / out / "_manifest.jsonl"

    def done() -> int:
        lines = manifest.read_bytes().splitlines() if manifest.exists() else []
        return sum(json.loads(line)["sources"] for line in lines)

    # Ray gives its workers a low priority, unless this is set.
    samples = watch([[*flags, out, "--workers", "ray"]], folder, done, {"RAY_worker_niceness": "0"})
    return row_of("Ray", samples, count)


def run_shards(
    folder: Path, flags: list[str], out: str, size: tuple[int, int]
) -> dict[str, object]:
    """Runs as many processes as there are workers."""
    count, workers = size
    files = [folder / f"{out}-{number}.jsonl" for number in range(workers)]
    jobs = [
        [*flags, path.name, "--shard", f"{number}/{workers}"]
        for number, path in enumerate(files, 1)
    ]

    def done() -> int:
        return sum(path.read_bytes().count(b"\n") for path in files if path.exists())

    return row_of("shards", watch(jobs, folder, done, {}), count)


def watch(
    jobs: list[list[str]], folder: Path, done: Callable[[], int], variables: dict[str, str]
) -> list[Sample]:
    """Runs processes of predict.py, and returns what was observed."""
    script = str(Path(__file__).parents[1] / "predict.py")
    start = time.monotonic()
    processes = [
        subprocess.Popen(
            [sys.executable, script, *flags],
            cwd=folder,
            env=os.environ | variables,
            stdout=subprocess.DEVNULL,
        )
        for flags in jobs
    ]
    samples = []
    while any(process.poll() is None for process in processes):
        first, worker = memory_of(processes[0].pid)
        samples.append(Sample(time.monotonic() - start, done(), first, worker))
        time.sleep(PAUSE)
    if any(process.returncode for process in processes):
        raise JobError("predict.py failed, see its error above")
    return samples


def memory_of(pid: int) -> tuple[float, float]:
    """Returns the memory of a process and of its largest worker, in MB."""
    parents, sizes, titles = {}, {}, {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            fields = (path / "stat").read_text().rpartition(")")[2].split()
            titles[int(path.name)] = (path / "cmdline").read_text()
        except (FileNotFoundError, ProcessLookupError):  # it has just ended
            continue
        parents[int(path.name)] = int(fields[1])
        sizes[int(path.name)] = int(fields[21]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    workers = {each for each in parents if titles[each].startswith(WORKER)}
    own = [each for each in workers if pid in ancestors(each, parents)]
    return sizes.get(pid, 0.0), max((sizes[each] for each in own), default=0.0)


def ancestors(pid: int, parents: dict[int, int]) -> set[int]:
    """Returns the processes that started a process, directly or through others."""
    found = set()
    while pid := parents.get(pid, 0):
        found.add(pid)
    return found


def row_of(name: str, samples: list[Sample], count: int) -> dict[str, object]:
    """Returns a row of the table."""
    begin = next(each for each in samples if each.done >= START * count)
    end = next((each for each in samples if each.done >= count), samples[-1])
    late = next(each for each in samples if each.done >= (1 - START) * count)
    return {
        "job": name,
        "images/s": round((end.done - begin.done) / (end.seconds - begin.seconds), 1),
        "seconds to the first tenth": round(begin.seconds, 1),
        "seconds": round(samples[-1].seconds, 1),
        "first process MB, 10%": round(begin.first),
        "first process MB, 90%": round(late.first),
        "worker MB, 10%": round(begin.worker),
        "worker MB, 90%": round(late.worker),
    }


def build_parser() -> cli.Parser:
    """Builds the parser of the flags."""
    parser = cli.Parser(__doc__)
    add = parser.add_argument
    add("--model", type=Path, required=True, help="exported model")
    add("--images", type=Path, required=True, help="folder with a few images")
    add("--count", type=cli.positive, default=10_000, help="images to predict on, default 10000")
    add("--batch-size", type=cli.at_most(cli.MAX_BATCH), default=8, help="default %(default)s")
    add("--repeats", type=cli.positive, default=1, help="default %(default)s")
    add("--only-ray", action="store_true", help="run no job without Ray")
    add("--folder", type=Path, help="where to write, default the folder for temporary files")
    add("--out", type=Path, help="also write the table to this JSON file")
    return parser


if __name__ == "__main__":
    cli.run(main, build_parser())
