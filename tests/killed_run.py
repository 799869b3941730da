"""Trains in a process that kills itself with SIGKILL, as a power failure or the system would."""

import os
import signal
import sys
import threading
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

# Imported before the server of processes forks: TensorFlow takes five seconds to import, and has
# no threads before its first operation.
import train
import utils.training.job
import utils.training.resuming
import utils.training.trainer
from utils import cli

TIMEOUT = 120  # seconds


@dataclass(frozen=True)
class Kill:
    """When a process kills itself.

    Attributes:
        steps: After how many steps of the session.
        writes: Together with `steps`: the how many-th file in the run directory is then opened for
            writing or renamed; 0 for no file, but immediately.
        delay: Seconds later.
    """

    steps: int
    writes: int = 0
    delay: float = 0.0


def train_in_a_process(argv: list[str], log: Path, kill: Kill | None = None) -> bool:
    """Runs train.py in a new process.

    Args:
        argv: Its flags.
        log: Receives standard error and a line `done N` after each step.
        kill: When the process kills itself; None for never.

    Returns:
        Whether it was killed.
    """
    context = get_context("forkserver")
    context.set_forkserver_preload(["tests.killed_run"])
    process = context.Process(target=_train, args=([*map(str, argv)], log, kill))
    process.start()
    process.join(TIMEOUT)
    if process.is_alive():
        process.kill()
        raise TimeoutError(f"train.py {argv} takes more than {TIMEOUT} s")
    assert process.exitcode in (0, -signal.SIGKILL), log.read_text()
    return process.exitcode != 0


def _train(argv: list[str], log: Path, kill: Kill | None) -> None:
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)  # tracing takes longer than these few steps
    _log_steps(kill)
    cli.run(train.main, train.build_parser(), argv)


def _log_steps(kill: Kill | None) -> None:
    """Logs each step, and kills the process at its moment."""
    left = kill.steps if kill else -1
    save_or_stop = utils.training.trainer.Trainer._save_or_stop

    def counted(self: utils.training.trainer.Trainer, losses: object) -> None:
        nonlocal left
        os.write(2, f"done {self.progress.step}\n".encode())
        left -= 1
        if left == 0 and not kill.writes:
            _kill_after(kill.delay)
        elif left == 0:
            _kill_at_write(kill)
        save_or_stop(self, losses)

    utils.training.trainer.Trainer._save_or_stop = counted


def _kill_at_write(kill: Kill) -> None:
    left = kill.writes

    def audit(event: str, args: tuple) -> None:
        nonlocal left
        is_write = event == "os.rename" or (event == "open" and args[1] and args[1][0] in "wx")
        if is_write and left:
            left -= 1
            if not left:
                _kill_after(kill.delay)

    sys.addaudithook(audit)


def _kill_after(seconds: float) -> None:
    if not seconds:
        os.kill(os.getpid(), signal.SIGKILL)
    timer = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGKILL))
    timer.daemon = True
    timer.start()
