"""Processes that draw augmented images: threads of one process wait for Python's lock."""

import contextlib
import math
import multiprocessing
import signal
import traceback
from collections.abc import Iterator
from multiprocessing import resource_tracker, util
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from queue import SimpleQueue

import numpy as np

from utils.data.training_images import Draw, DrawnObjects, TrainingImages
from utils.errors import JobError

# A new process starts without this one's TensorFlow, which does not survive a fork.
CONTEXT = multiprocessing.get_context("spawn")

# Requests to stop, which a terminal or the system sends to all processes. Only the one that trains
# decides when to stop, after a step. Windows has no SIGHUP.
STOP_SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]


class DrawingProcess:
    """A process that draws one image at a time into memory that it shares with this one.

    It ends when this one ends, however that happens.

    Args:
        max_pixels: The largest number of pixels of an image.
    """

    def __init__(self, max_pixels: int) -> None:
        self._connection, other_end = CONTEXT.Pipe()
        memory = CONTEXT.RawArray("B", max_pixels * 3)
        self._memory = np.frombuffer(memory, np.uint8)
        self._process = CONTEXT.Process(
            target=_draw_images, args=(other_end, memory), name="drawing", daemon=True
        )
        with _stop_signals_blocked():  # the process inherits that, until it ignores them
            self._process.start()
        # At exit, multiprocessing sends SIGTERM, which the process ignores, and then waits for it.
        self._kill = util.Finalize(self, self._process.kill, exitpriority=0)
        other_end.close()  # so that the connection is closed when the process ends

    def prepare(self, images: memoryview) -> None:
        """Sends the images of the run, pickled; waits until the process has started.

        Raises:
            JobError: The process has ended.
        """
        with self._named_errors():
            self._connection.send_bytes(images)

    def draw(self, k: int, mosaic: bool, canvas: np.ndarray) -> DrawnObjects:
        """Draws an image, see `TrainingImages.draw`.

        Raises:
            JobError: The process has ended.
        """
        with self._named_errors():
            self._connection.send((k, mosaic, canvas.shape))
            answer = self._connection.recv()
        if isinstance(answer, Exception):
            raise answer
        canvas[:] = self._memory[: canvas.size].reshape(canvas.shape)
        return answer

    def stop(self) -> None:
        """Ends the process. A thread that waits for it gets an error."""
        self._kill()

    @contextlib.contextmanager
    def _named_errors(self) -> Iterator[None]:
        try:
            yield
        except (EOFError, OSError) as error:
            self._process.join(1.0)
            raise JobError(
                "a process that prepares images ended unexpectedly (exit code "
                f"{self._process.exitcode}): check the memory of the machine, then continue with "
                "--resume"
            ) from error


@contextlib.contextmanager
def drawing_processes(
    images: TrainingImages, count: int, max_size: tuple[int, int]
) -> Iterator[Draw]:
    """Starts processes, and ends them at the end of a `with` block.

    Args:
        images: The images of the run.
        count: Number of processes.
        max_size: Height and width of the largest images.

    Yields:
        A function like `TrainingImages.draw` for as many threads, which uses an idle process.
    """
    processes: list[DrawingProcess] = []
    idle: SimpleQueue[DrawingProcess] = SimpleQueue()

    def draw(k: int, mosaic: bool, canvas: np.ndarray) -> DrawnObjects:
        process = idle.get()
        try:
            return process.draw(k, mosaic, canvas)
        finally:
            idle.put(process)

    try:
        for _ in range(count):
            processes.append(DrawingProcess(math.prod(max_size)))
        pickled = ForkingPickler.dumps(images)  # once for all
        for process in processes:  # all of them have begun to import by now
            process.prepare(pickled)
            idle.put(process)
        yield draw
    finally:
        for process in processes:
            process.stop()


@contextlib.contextmanager
def _stop_signals_blocked() -> Iterator[None]:
    """Delays signals to this thread, and to processes that it starts, inside a `with` block."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    resource_tracker.ensure_running()  # when it starts, it unblocks signals
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _draw_images(connection: Connection, memory: object) -> None:
    """Receives the images of the run, and draws until the other process ends or stops this one."""
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    pixels = np.frombuffer(memory, np.uint8)
    with contextlib.suppress(EOFError, OSError):  # the other process has ended
        images: TrainingImages = connection.recv()
        while True:
            k, mosaic, shape = connection.recv()
            canvas = pixels[: math.prod(shape)].reshape(shape)
            try:
                answer: DrawnObjects | Exception = images.draw(k, mosaic, canvas)
            except Exception as error:  # noqa: BLE001  raised by the process that asked
                error.add_note(traceback.format_exc())  # pickling loses the traceback itself
                answer = error
            connection.send(answer)
