"""What people see while a run trains, on standard error.

On a terminal, a bar shows the current epoch. It vanishes at the end of the epoch, and a line with
the results of the epoch stays. Elsewhere, such as in a log file, there are only lines.
"""

import contextlib
import sys
import time
from collections.abc import Iterator, Mapping
from typing import TextIO

from tqdm import tqdm

from utils.training.progress import TERMS, Progress
from utils.training.schedule import is_frozen

SECONDS_BETWEEN_LINES = 60.0  # within an epoch, where there is no bar


class Display:
    """Shows the progress of a run."""

    def __init__(
        self, progress: Progress, is_visible: bool = True, stream: TextIO | None = None
    ) -> None:
        """Initializes the display.

        Args:
            progress: The progress to show.
            is_visible: Whether anything but warnings is shown.
            stream: Where to write; None for standard error.
        """
        self._progress = progress
        self._is_visible = is_visible
        self._stream = stream or sys.stderr
        self._bar: tqdm | None = None
        self._last_line = time.monotonic()

    @contextlib.contextmanager
    def epoch(self) -> Iterator[None]:
        """Returns a context for the steps of the current epoch, from the current step on."""
        progress = self._progress
        if not (self._is_visible and self._stream.isatty()):
            yield
            return
        done = progress.steps_done
        with tqdm(
            desc=self._name_of_epoch(),
            total=done + progress.steps_left,
            initial=done,
            unit="step",
            file=self._stream,
            dynamic_ncols=True,
            leave=False,
        ) as self._bar:
            yield
        self._bar = None

    def advance(self) -> None:
        """Shows that a step is done, with the mean losses, the speed and the time left."""
        progress, bar = self._progress, self._bar
        if not self._is_visible:
            return
        if bar is not None:
            figures = {name: f"{mean:.4f}" for name, mean in progress.mean_losses.items()}
            bar.update()
            bar.set_description(self._name_of_epoch(), refresh=False)
            bar.set_postfix(figures | self._speed(), refresh=False)
        elif time.monotonic() - self._last_line >= SECONDS_BETWEEN_LINES:
            step = progress.steps_done
            figures = [
                f"{self._name_of_epoch()}, step {step}/{step + progress.steps_left}",
                *_losses(progress.mean_losses),
                *(f"{figure} {unit}" for unit, figure in self._speed().items()),
            ]
            self.write("  ".join(figures))

    def end_epoch(self) -> None:
        """Shows the results of the epoch that has just ended, which stay on the screen."""
        if self._is_visible:
            row = self._progress.history[-1]
            self.write(epoch_line(row, self._progress.recipe.epochs, row is self._progress.best))

    def write(self, line: str) -> None:
        """Writes a line, above the bar if there is one."""
        tqdm.write(line, file=self._stream)
        self._stream.flush()
        self._last_line = time.monotonic()

    def _name_of_epoch(self) -> str:
        progress = self._progress
        frozen = " frozen" if is_frozen(progress.recipe, progress.share) else ""
        return _name_of(progress.epoch + 1, progress.recipe.epochs) + frozen

    def _speed(self) -> dict[str, str]:
        """Images per second and the time left, by unit, as far as they are known."""
        progress, figures = self._progress, {}
        if progress.images_per_second:
            figures["img/s"] = f"{progress.images_per_second:.1f}"
        if progress.seconds_left is not None:
            figures["left"] = tqdm.format_interval(progress.seconds_left)
        return figures


def epoch_line(row: Mapping[str, float], epochs: float | None, is_best: bool) -> str:
    """Returns the line that describes an epoch.

    Args:
        row: The row of the epoch in the history.
        epochs: Number of epochs of the run; None if it is not known.
        is_best: Whether the validation after the epoch is the best so far.
    """
    figures = [_name_of(int(row["epoch"]), epochs), *_losses(row)]
    figures += [f"lr {row['learning_rate']:.2e}", f"{row['images_per_second']:.1f} img/s"]
    if "skipped" in row:
        figures.append(f"skipped {row['skipped']:.0f}")
    if "val_loss" in row:
        figures.append(f"val_loss {row['val_loss']:.4f}")
    if "map50" in row:
        figures.append(f"mAP50 {row['map50']:.4f}  mAP {row['map']:.4f}")
    if is_best:
        figures.append("best so far")
    return "  ".join(figures)


def _name_of(epoch: int, epochs: float | None) -> str:
    return f"epoch {epoch}" if epochs is None else f"epoch {epoch}/{epochs:g}"


def _losses(values: Mapping[str, float]) -> list[str]:
    if not all(term in values for term in TERMS):  # all steps were skipped
        return []
    total = sum(values[term] for term in TERMS)
    return [f"loss {total:.4f}", *(f"{term} {values[term]:.4f}" for term in TERMS)]
