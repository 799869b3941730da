"""Runs long jobs of predict.py, and one in a process that kills itself with SIGKILL."""

import json
import os
import signal
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace

import predict
import utils.run
from tests.media import save_image
from tests.red_finder import RedFinder
from utils import cli
from utils.inference.record_file import RecordFile

TIMEOUT = 120  # seconds


def save_images(count, folder="pics"):
    """Writes images with a box that moves by 2 pixels from one to the next."""
    for i in range(count):
        save_image(f"{folder}/{i}.png", box=(2 * i, 16, 2 * i + 8, 48))


def save_run(path="logs/newest"):
    """Writes the files on which the digest of a run depends."""
    Path(path).mkdir(parents=True, exist_ok=True)
    for name in ("classes.txt", "anchors.txt", "config.json", "best.weights.h5"):
        Path(path, name).write_text(name)


def read_records(path="out.jsonl"):
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def kill_job(argv, records, bytes_of_next=0):
    """Runs predict.py in a process that dies after a number of records and bytes of the next."""
    context = get_context("forkserver")
    # The server is shared with the tests of killed trainings. TensorFlow takes five seconds to
    # import.
    context.set_forkserver_preload(["tests.killed_run", "tests.jobs"])
    process = context.Process(target=_run, args=(argv, str(Path.cwd()), records, bytes_of_next))
    process.start()
    process.join(TIMEOUT)
    if process.is_alive():
        process.kill()
        raise TimeoutError(f"predict.py {argv} takes more than {TIMEOUT} s")
    assert process.exitcode == -signal.SIGKILL


def _run(argv, folder, records, bytes_of_next):
    os.chdir(folder)
    newest = Path("logs/newest")
    run = utils.run.Run(newest, SimpleNamespace(resize="letterbox"), ["红/red"], RedFinder())
    utils.run.newest_run = lambda: newest
    utils.run.load_run = lambda path: run
    append, left = RecordFile.append, records

    def append_or_die(self, record):
        nonlocal left
        if not left:
            with self.path.open("ab") as file:
                file.write(json.dumps(record).encode()[:bytes_of_next])
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1
        append(self, record)

    RecordFile.append = append_or_die
    cli.run(predict.main, predict.build_parser(), argv)
