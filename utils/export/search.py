"""Finds the convolutions that must stay in float, so that a detector keeps its mAP.

The convolutions with the largest error stay in float first, as few as possible. The number is
doubled until the loss of mAP is small enough, and then bisected.
"""

import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from utils.errors import JobError
from utils.export.accuracy import Accuracy
from utils.export.quantizer import Quantizer
from utils.inference.metadata import Metadata
from utils.text import counted

# With more of them in float, a file is neither small nor fast, and float16 is the better choice.
MAX_FLOAT_SHARE = 0.5


@dataclass(frozen=True)
class Goal:
    """How much mAP a quantized model may lose.

    Attributes:
        reference: What the model scores before it is quantized; both metrics are defined.
        max_loss: Maximum loss of mAP, 0..1.
    """

    reference: Accuracy
    max_loss: float


@dataclass(frozen=True)
class Trial:
    """A quantized file that was measured.

    Attributes:
        path: The file or folder.
        metadata: Its metadata, which name the convolutions in float.
        lost: How much it loses of both metrics; negative if it gains.
    """

    path: Path
    metadata: Metadata
    lost: Accuracy

    @property
    def float_layers(self) -> tuple[str, ...]:
        """Names of the convolutions in float."""
        return self.metadata.quantization.float_layers


class Trials:
    """Writes quantized files to a folder and measures them, one line each on standard error.

    Args:
        quantizer: Writes the files.
        metadata: Metadata of the files.
        folder: An empty folder. A file with convolutions in float that loses too much is removed.
        name: End of the names of the files, by which their format is known.
        measure: Measures a file in its own runtime.
        goal: How much may be lost.
    """

    def __init__(
        self,
        quantizer: Quantizer,
        metadata: Metadata,
        folder: Path,
        name: str,
        measure: Callable[[Path], Accuracy],
        goal: Goal,
    ):
        self.goal = goal
        self._quantizer = quantizer
        self._metadata = metadata
        self._folder = folder
        self._name = name
        self._measure = measure
        self._count = 0

    def attempt(self, float_layers: Sequence[str]) -> Trial:
        """Writes and measures a file in which the named convolutions stay in float."""
        self._count += 1
        quantization = replace(self._metadata.quantization, float_layers=tuple(float_layers))
        metadata = replace(self._metadata, quantization=quantization)
        path = self._folder / f"{self._count}-{self._name}"
        self._quantizer.write(metadata, path)
        accuracy = self._measure(path)
        trial = Trial(path, metadata, self.goal.reference - accuracy)
        print(
            f"trial {self._count}: {counted(len(float_layers), 'convolution')} in float, "
            f"mAP50 {accuracy.map50:.4f}, mAP {accuracy.map:.4f}, mAP lost {trial.lost.map:z.4f}",
            file=sys.stderr,
        )
        if float_layers and not self.holds(trial):
            _remove(path)
        return trial

    def holds(self, trial: Trial) -> bool:
        """Whether a file reaches the goal."""
        return trial.lost.map <= self.goal.max_loss


def search(trials: Trials, rank: Callable[[], Sequence[str]]) -> list[Trial]:
    """Finds the smallest number of convolutions to leave in float.

    A file that misses the goal is an error and not a warning: whoever gives a limit, in a script
    above all, must be able to rely on it. The message says which limit would be reached.

    Args:
        trials: Makes the files.
        rank: Returns the names of all convolutions, largest error first; not called if none of them
            must stay in float.

    Returns:
        The file with all convolutions quantized, and if that loses too much, the file to use.

    Raises:
        JobError: The goal is not reached with `MAX_FLOAT_SHARE` of the convolutions in float.
    """
    first = trials.attempt(())
    if trials.holds(first):
        return [first]
    ranked = list(rank())
    most = max(1, int(MAX_FLOAT_SHARE * len(ranked)))
    failed = [first]
    count = 1
    while not trials.holds(found := trials.attempt(ranked[:count])):
        failed.append(found)
        if count == most:
            raise _unreachable(failed, trials.goal, len(ranked))
        count = min(2 * count, most)
    too_few = len(failed[-1].float_layers)
    while len(found.float_layers) - too_few > 1:
        count = (len(found.float_layers) + too_few) // 2
        trial = trials.attempt(ranked[:count])
        if trials.holds(trial):
            found = trial
        else:
            too_few = count
    return [first, found]


def _unreachable(failed: Sequence[Trial], goal: Goal, total: int) -> JobError:
    best = min(failed, key=lambda trial: trial.lost.map)
    reachable = int(1 + 1000 * best.lost.map) / 1000  # rounded up
    return JobError(
        f"mAP falls by {best.lost.map:.4f} at best, with {len(best.float_layers)} of {total} "
        f"convolutions in float, which is more than --max-loss {goal.max_loss:g}: accept it with "
        f"--max-loss {reachable:g}, or use a float precision"
    )


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
