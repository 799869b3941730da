"""The progress of a run: steps, time, losses and history."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from utils.config import Recipe
from utils.training.budget import TimeBudget
from utils.training.schedule import share_done

TERMS = ("box", "objectness", "class")
OPTIONAL = ("epochs", "share_at_end")  # states of earlier versions lack them


class Progress:
    """The progress of a run over all its sessions. Resuming needs it in addition to the weights.

    Attributes:
        recipe: Limits of the run.
        step: Number of completed steps.
        history: One row of metrics per completed epoch.
        share_at_end: Share of the run that was done at the end of the last epoch, 0..1.
        budget: How the time of a run with a time limit is divided.
    """

    def __init__(
        self,
        recipe: Recipe,
        steps_per_epoch: int,
        started: float | None = None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        """Initializes the progress of a run that has not begun.

        Args:
            recipe: Limits of the run.
            steps_per_epoch: Number of steps per epoch.
            started: Time on the clock at the start of the job, so that a time limit includes the
                preparations; None for the current time.
            clock: Returns the time in seconds; None for `time.monotonic`. Workers that train
                together need a common one, because the schedule depends on the time.
        """
        self.recipe = recipe
        self.step = 0
        self.history: list[dict[str, float]] = []
        self.share_at_end = 0.0
        self._steps_per_epoch = steps_per_epoch
        self._clock = clock or (lambda: time.monotonic())  # looked up at each call, for tests
        self._started = self._clock() if started is None else started
        self._earlier_seconds = 0.0
        self.budget = TimeBudget(recipe.max_minutes and 60.0 * recipe.max_minutes)
        self._sums = dict.fromkeys((*TERMS, "steps", "skipped"), 0.0)  # over the current epoch
        self._timed = {"steps": 0, "seconds": 0.0}

    @property
    def seconds(self) -> float:
        """Wall-clock time spent on the run, over all its sessions."""
        return self._earlier_seconds + self._clock() - self._started

    @property
    def share(self) -> float:
        """Share of the run that is done, 0..1."""
        return self.share_at(self.step)

    def share_at(self, step: int) -> float:
        """Returns the share of the run that is done, 0..1, if `step` steps were complete now."""
        epochs = step / self._steps_per_epoch
        return max(share_done(self.recipe, epochs, 0.0), self.budget.share(self.seconds))

    @property
    def epoch(self) -> int:
        """Number of the current epoch, from 0."""
        return len(self.history)

    @property
    def steps_done(self) -> int:
        """Number of steps of the current epoch whose losses were added."""
        return int(self._sums["steps"] + self._sums["skipped"])

    @property
    def steps_left(self) -> int:
        """Number of steps before the current epoch ends.

        It is larger than an epoch if a time limit cut the last epoch short and was extended since.
        """
        return (self.epoch + 1) * self._steps_per_epoch - self.step

    @property
    def epoch_has_begun(self) -> bool:
        """Whether the current epoch already has a step."""
        return self.steps_done > 0

    @property
    def is_complete(self) -> bool:
        """Whether nothing is left to do.

        This is false if the state was saved after the last step of an epoch but before the
        callbacks at its end. If a time limit passes during these callbacks, it is also false: the
        last validation then follows an epoch without steps.
        """
        return self.share_at_end >= 1.0 and not self.epoch_has_begun

    @property
    def images_per_second(self) -> float:
        """Training speed, without tracing and validation."""
        timed = self._timed
        images = timed["steps"] * self.recipe.batch_size
        return images / timed["seconds"] if timed["seconds"] else 0.0

    @property
    def mean_losses(self) -> dict[str, float]:
        """Mean of each loss term over the current epoch so far; empty without any step."""
        steps = self._sums["steps"]
        return {term: self._sums[term] / steps for term in TERMS} if steps else {}

    @property
    def skipped_steps(self) -> int:
        """Number of steps that changed nothing, because they were not finite."""
        earlier = sum(row.get("skipped", 0) for row in self.history)
        return int(earlier + self._sums["skipped"])

    @property
    def validated(self) -> list[dict[str, float]]:
        """The rows of the epochs after which mAP was measured."""
        return [row for row in self.history if "map50" in row]

    @property
    def best(self) -> dict[str, float] | None:
        """The row with the best validation so far, by mAP; None before the first.

        On a few dozen images many epochs reach the same mAP50, but their mAP differs.
        """
        return max(self.validated, key=lambda row: (row["map"], row["map50"]), default=None)

    @property
    def has_best_weights(self) -> bool:
        """Whether the moving average of the weights is still the one of the best validation."""
        return bool(self.history) and self.best is self.history[-1] and not self.epoch_has_begun

    @property
    def seconds_left(self) -> float | None:
        """Estimate of the time until training ends; None if it is unknown."""
        left = []
        if self.budget.limit is not None:
            left.append(max(0.0, self.budget.limit - self.seconds))
        if self.recipe.epochs is not None and self._timed["seconds"]:
            steps = max(0.0, self.recipe.epochs * self._steps_per_epoch - self.step)
            left.append(steps * self._timed["seconds"] / self._timed["steps"])
        return min(left, default=None)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Returns a context whose time is not taken from the time for training."""
        share = self.budget.share(self.seconds)
        yield
        self.budget.continue_from(share, self.seconds)

    def reserve(self, seconds: float) -> None:
        """Reserves time for what follows the last step, such as the last validation."""
        self.budget.reserve(seconds, self.seconds)

    def add_losses(self, terms: Mapping[str, float]) -> None:
        """Adds the loss terms of a step to the current epoch."""
        for term, value in terms.items():
            self._sums[term] += value
        self._sums["steps"] += 1

    def add_skipped(self) -> None:
        """Counts a step that changed nothing, because it was not finite."""
        self._sums["skipped"] += 1

    def add_timing(self, seconds: float) -> None:
        """Adds the time of a step to the measurement of the speed."""
        self._timed["steps"] += 1
        self._timed["seconds"] += seconds

    def end_epoch(self, learning_rate: float) -> dict[str, float]:
        """Completes the current epoch and starts the next one.

        Args:
            learning_rate: Learning rate of the last step.

        Returns:
            The metrics of the epoch, as Keras callbacks expect them.
        """
        losses = self.mean_losses
        logs = {"loss": sum(losses.values()), **losses} if losses else {}
        logs |= {"learning_rate": learning_rate, "images_per_second": self.images_per_second}
        if self._sums["skipped"]:
            logs["skipped"] = int(self._sums["skipped"])
        self._sums = dict.fromkeys(self._sums, 0.0)
        self.history.append({"epoch": self.epoch + 1, **logs})
        self.share_at_end = self.share
        return logs

    def to_json(self) -> dict[str, Any]:
        """Returns everything that `restore` needs, as a JSON object."""
        return {
            "step": self.step,
            "epochs": self.step / self._steps_per_epoch,  # for `extend`
            "share_at_end": self.share_at_end,
            "seconds": self.seconds,
            "budget": self.budget.to_json(),
            "history": self.history,
            "sums": self._sums,
            "timed": self._timed,
        }

    def restore(self, document: Mapping[str, Any]) -> None:
        """Restores the progress of an earlier session; time counts again from now.

        The run may have other limits now. The shares of the run at which it was validated then
        become those of the new limits.
        """
        self.step = document["step"]
        self.history = document["history"]
        earlier_limit = document["budget"]["limit"] or 0.0
        for row in self.history:
            if "measured_at" in row:
                seconds = row["measured_at"] * earlier_limit
                row["measured_at"] = share_done(self.recipe, row["epoch"], seconds)
        self._earlier_seconds = document["seconds"]
        self.budget.restore(document["budget"])
        self._sums = document["sums"]
        self._timed = document["timed"]
        self._started = self._clock()
        # A run of an earlier version may have ended without a validation.
        saved = document.get("share_at_end", 1.0 if self.best else 0.0)
        self.share_at_end = min(self.share, saved)  # the new limits may be higher
