"""Measures serve.py on loopback: `python -m benchmarks.serving --model FILE --images DIR`.

Compares images/s at 1, 4 and 16 clients with the bare engine, from the bytes of a file to JSON, in
turn, so that a slow phase of the machine affects both. Checks each of many answers against its own
image. Measures latencies at half load, what is served and refused at three times the capacity, and
the slope of resident memory under load. Clients, service and bare engine are processes on the same
machine, and share its cores.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from multiprocessing import Pipe, get_context
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Event, Thread

import numpy as np

from benchmarks.serving_clients import Photo, Tally, at_rate, count, run_load, until
from benchmarks.timing import report
from utils import cli
from utils.data.images import decode_image
from utils.errors import JobError, UserError
from utils.inference.detections import to_json
from utils.inference.thresholds import DEFAULT_THRESHOLDS
from utils.models import ModelSource, open_model

CLIENTS = (1, 4, 16)
SENDERS = 256  # threads that can wait for answers at three times the capacity
MEBIBYTE = 2**20
PAGE = os.sysconf("SC_PAGE_SIZE")


def main(args: argparse.Namespace) -> None:
    """Measures, and prints a table."""
    source = ModelSource(args.run, args.model, args.threads)
    paths = sorted(path for path in args.images.iterdir() if path.suffix.lower() == ".jpg")
    files = [path.read_bytes() for path in paths[: args.photos]]
    if not files:
        raise UserError(f"no .jpg file in {args.images}, specify a folder of photos with --images")
    with bare_engine(source, files) as engine, service(args) as (process, address):
        photos = [
            Photo(data, entry) for data, entry in zip(files, ask(engine, "entries"), strict=True)
        ]
        check(run_load(address, photos, 1, count(len(photos))))  # also warms up
        rows = measure_rates(engine, address, photos, args)
        best = max(float(row["images/s"]) for row in rows[1:])  # without the bare engine
        if requests := int(args.requests):
            tally = run_load(address, photos, max(CLIENTS), count(requests))
            rows.append(row_of(f"{requests} requests, 16 clients", tally))
        half = run_load(address, photos, 64, at_rate(best / 2, args.seconds))
        rows.append(row_of("half load", half) | latencies(half.seconds))
        over = run_load(address, photos, SENDERS, at_rate(3 * best, args.seconds))
        rows.append(row_of("3 times the capacity", over) | latencies(over.refused))
        rows[-1]["of bare"] = f"{over.rate / best:.3f} of best"
        if args.minutes:
            slope, tally = memory_slope(process.pid, address, photos, args.minutes)
            rows.append(row_of(f"memory: {slope:+.1f} MiB/h over {args.minutes:g} min", tally))
    columns = list(dict.fromkeys(key for row in rows for key in row))
    table = [{column: row.get(column, "") for column in columns} for row in rows]
    report(
        f"{args.model or args.run}, {len(files)} photos, {os.cpu_count()} cores", table, args.out
    )


def measure_rates(
    engine: Connection, address: tuple[str, int], photos: list[Photo], args: argparse.Namespace
) -> list[dict[str, object]]:
    """Measures images/s of the bare engine and of the service, in turn."""
    bare, tallies = [], {clients: [] for clients in CLIENTS}
    for _ in range(args.rounds):
        for clients, measured in tallies.items():
            bare.append(ask(engine, args.seconds))
            measured.append(run_load(address, photos, clients, until(args.seconds)))
    rows = [{"load": "bare engine", "images/s": f"{statistics.median(bare):.1f}"}]
    for place, (clients, measured) in enumerate(tallies.items()):
        ratios = [
            tally.rate / rate
            for tally, rate in zip(measured, bare[place :: len(CLIENTS)], strict=True)
        ]
        row = row_of(f"{clients} clients", *measured)
        rows.append(row | {"of bare": f"{statistics.median(ratios):.3f}"})
    return rows


def row_of(load: str, *tallies: Tally) -> dict[str, object]:
    """Returns the cells that all loads have."""
    return {
        "load": load,
        "images/s": f"{statistics.median(tally.rate for tally in tallies):.1f}",
        "served": sum(len(tally.seconds) for tally in tallies),
        "refused": sum(len(tally.refused) for tally in tallies),
        "lost": sum(tally.lost for tally in tallies),
        "swapped": sum(tally.swapped for tally in tallies),
    }


def latencies(seconds: list[float]) -> dict[str, object]:
    """Returns median, 99% quantile and their ratio."""
    if not seconds:
        return {}
    median, late = np.quantile(seconds, (0.5, 0.99))
    return {
        "median, ms": f"{1e3 * median:.1f}",
        "p99, ms": f"{1e3 * late:.1f}",
        "p99/median": f"{late / median:.2f}",
    }


def check(tally: Tally) -> None:
    """Ends the benchmark if the service does not give the answers of predict.py."""
    if tally.lost or tally.swapped or tally.refused:
        raise JobError(
            f"the service gives other answers than predict.py: {tally.lost} lost, {tally.swapped} "
            f"different, {len(tally.refused)} refused of {len(tally.seconds)} more"
        )


def memory_slope(
    process: int, address: tuple[str, int], photos: list[Photo], minutes: float
) -> tuple[float, Tally]:
    """Measures the slope of resident memory in MiB per hour, by a line through all samples."""
    samples, end = [], Event()

    def sample() -> None:
        while not end.wait(1.0):
            pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
            samples.append((time.monotonic() / 3600, pages * PAGE / MEBIBYTE))

    thread = Thread(target=sample)
    thread.start()
    tally = run_load(address, photos, 4, until(60 * minutes))
    end.set()
    thread.join()
    hours, sizes = np.transpose(samples)
    return float(np.polyfit(hours - hours[0], sizes, 1)[0]), tally


@contextlib.contextmanager
def service(args: argparse.Namespace) -> Iterator[tuple[subprocess.Popen, tuple[str, int]]]:
    """Starts serve.py; yields the process and its address."""
    model = ["--model", args.model] if args.model else ["--run", args.run]
    threads = ["--threads", args.threads] if args.threads else []
    flags = [*model, *threads, "--port", 0, "--max-batch", args.max_batch, "--queue", args.queue]
    process = subprocess.Popen(
        [sys.executable, "serve.py", *map(str, flags)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        line = process.stdout.readline().strip()
        if not line:
            raise JobError("serve.py does not start, run it with the same flags to see why")
        host, _, port = line.removeprefix("http://").rpartition(":")
        yield process, (host, int(port))
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def bare_engine(source: ModelSource, files: list[bytes]) -> Iterator[Connection]:
    """Starts the process of the bare engine; yields the connection to it."""
    ours, theirs = Pipe()
    process = get_context("spawn").Process(target=_run_engine, args=(theirs, source, files))
    process.start()
    try:
        yield ours
    finally:
        process.terminate()
        process.join()


def ask(engine: Connection, question: float | str) -> float | list[dict]:
    """Returns images/s over some seconds, or the entries of all photos."""
    engine.send(question)
    return engine.recv()


def _run_engine(connection: Connection, source: ModelSource, files: list[bytes]) -> None:
    model = open_model(source)
    predictor = model.predictor(DEFAULT_THRESHOLDS)

    def entry(data: bytes) -> dict:
        image = decode_image(np.frombuffer(data, np.uint8), Path("photo"))
        return to_json("body", image.shape[:2], predictor([image])[0], model.classes)

    while True:
        if (question := connection.recv()) == "entries":
            connection.send([entry(data) for data in files])
            continue
        done, start = 0, time.perf_counter()
        while (seconds := time.perf_counter() - start) < question:
            json.dumps([entry(files[done % len(files)])])
            done += 1
        connection.send(done / seconds)


def build_parser() -> cli.Parser:
    """Builds the parser of the flags."""
    parser = cli.Parser(__doc__)
    add = parser.add_argument
    add("--run", type=Path, metavar="DIR", help="run directory")
    add("--model", type=Path, metavar="FILE", help="exported model")
    add("--images", type=Path, metavar="DIR", required=True, help="folder of JPEG files")
    add("--photos", type=cli.positive, default=50, help="number of photos (default: %(default)s)")
    add("--threads", type=cli.at_most(cli.MAX_THREADS), help="threads of an exported model")
    add("--max-batch", type=cli.at_most(256), default=1, help="see serve.py (default: 1)")
    add("--queue", type=cli.positive, default=32, help="see serve.py (default: 32)")
    add("--seconds", type=cli.above_zero, default=10, help="of each load (default: 10)")
    add("--rounds", type=cli.positive, default=3, help="rounds of the rates (default: 3)")
    add("--requests", type=cli.zero_or_more, default=10_000, help="checked requests, 0 for none")
    add("--minutes", type=cli.zero_or_more, default=30, help="of the memory load, 0 for none")
    add("--out", type=Path, metavar="FILE", help="JSON file to write as well")
    return parser


if __name__ == "__main__":
    cli.run(main, build_parser())
