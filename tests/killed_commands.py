"""Runs a script in a process that kills itself with SIGKILL at a moment of its choice."""

import os
import signal
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path

# Imported before the server of processes forks: TensorFlow takes five seconds to import, and has
# no threads before its first operation.
import utils.evaluation.results
import utils.export.job
import utils.export.web
import utils.weights.convert
from tests.web_folder import RED_FINDER
from utils import cli

TIMEOUT = 240  # seconds
# Events of Python that precede changes of files; libraries in C++ write without them.
CHANGES = ("os.rename", "os.mkdir", "os.remove", "os.rmdir", "open")


@dataclass(frozen=True)
class Kill:
    """When a process kills itself.

    Attributes:
        change: Before the how many-th change in its output folder; 0 for no change, but `used`.
        delay: Seconds later.
        used: Seconds of processor time that the process has used, which vary less than the time.
    """

    change: int = 0
    delay: float = 0.0
    used: float = 0.0


def run_command(words: list[str], out: Path, log: Path, kill: Kill | None = None) -> int:
    """Runs a script in a new process, in the current folder.

    Args:
        words: Name of the script, and its flags.
        out: Its output folder.
        log: Receives its output, and at the end a line `used SECONDS, changes N`.
        kill: When the process kills itself; None for never.

    Returns:
        The exit code; negative for the number of a signal.
    """
    context = get_context("forkserver")
    context.set_forkserver_preload(["tests.killed_run", "tests.killed_commands"])
    process = context.Process(target=_run, args=(words, Path.cwd(), out, log, kill))
    process.start()
    process.join(TIMEOUT)
    if process.is_alive():
        process.kill()
        raise TimeoutError(f"{' '.join(words)} takes more than {TIMEOUT} s")
    return process.exitcode


def _run(words: list[str], folder: Path, out: Path, log: Path, kill: Kill | None) -> None:
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    os.chdir(folder)
    runtime = {"ort.wasm.min.js": RED_FINDER.encode(), "LICENSE": b"MIT"}
    utils.export.web.read_runtime = lambda providers: runtime
    counter = _ChangeCounter(out.resolve(), kill)
    sys.addaudithook(counter)
    if kill and not kill.change:
        threading.Thread(target=_kill_when_used, args=(kill.used,), daemon=True).start()
    if words[0] in ("predict", "get_map"):
        import tensorflow as tf

        tf.config.run_functions_eagerly(True)  # tracing takes longer than these few images
    script = import_module(words[0])
    cli.run(script.main, script.build_parser(), words[1:])
    os.write(2, f"\nused {time.process_time()}, changes {counter.count}\n".encode())


class _ChangeCounter:
    """An audit hook that counts changes in a folder, and kills the process before one of them."""

    def __init__(self, folder: Path, kill: Kill | None):
        self.count = 0
        self._folder = str(folder)
        self._kill = kill

    def __call__(self, event: str, args: tuple) -> None:
        if event not in CHANGES or not isinstance(args[0], str | bytes | os.PathLike):
            return
        if event == "open" and not args[2] & (os.O_WRONLY | os.O_RDWR):
            return
        path = os.path.abspath(os.fsdecode(args[0]))  # noqa: PTH100  does not read the disk
        if not path.startswith(self._folder):
            return
        self.count += 1
        if self._kill and self.count == self._kill.change:
            _kill_after(self._kill.delay)


def _kill_when_used(seconds: float) -> None:
    while time.process_time() < seconds:
        time.sleep(0.001)
    os.kill(os.getpid(), signal.SIGKILL)


def _kill_after(seconds: float) -> None:
    if not seconds:
        os.kill(os.getpid(), signal.SIGKILL)
    timer = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGKILL))
    timer.daemon = True
    with suppress(RuntimeError):  # at the end of the process, which needs no kill any more
        timer.start()
