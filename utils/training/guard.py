"""Counts the steps that were skipped, and stops a run that only skips."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from utils.errors import JobError
from utils.training.progress import Progress
from utils.training.train_step import SKIPPED

MAX_SKIPPED = 5  # steps in a row
# In float16, Keras starts with a loss scale of 2^15 and halves it in every step that it skips. The
# limit is counted from a scale of 1, because a smaller one does not help.
LOSS_SCALE_SEARCH = 15


class StepGuard:
    """Adds the losses of steps to the progress, and reports the steps that were skipped."""

    def __init__(
        self,
        progress: Progress,
        sources: Callable[[int], Sequence[Path]],
        state_path: Path,
    ) -> None:
        """Initializes the guard.

        Args:
            progress: Progress of the run.
            sources: Returns the image files of a step.
            state_path: File with the last state, for the message.
        """
        self._progress = progress
        self._sources = sources
        self._state_path = state_path
        self._in_a_row = 0
        self._searches_scale = progress.recipe.precision == "mixed_float16"
        self._limit = MAX_SKIPPED + LOSS_SCALE_SEARCH * self._searches_scale

    def receive(self, step: int, values: Mapping[str, float]) -> str | None:
        """Receives what a training step returned.

        Args:
            step: Number of the step.
            values: The loss terms and `SKIPPED`.

        Returns:
            A warning for the user, or None.

        Raises:
            JobError: Several steps in a row were skipped.
        """
        terms = {name: value for name, value in values.items() if name != SKIPPED}
        if not values[SKIPPED]:
            self._in_a_row = 0
            self._progress.add_losses(terms)
            return None
        self._in_a_row += 1
        self._progress.add_skipped()
        wrong = [f"{name} loss" for name, value in terms.items() if not math.isfinite(value)]
        cause = " and ".join(wrong) or "gradient"
        if self._in_a_row >= self._limit:
            names = ", ".join(map(str, self._sources(step)))
            raise JobError(
                f"{self._in_a_row} steps in a row were not finite and were skipped; the last one, "
                f"step {step}, has a non-finite {cause} in the batch of {names}: check these "
                f"images, or start again with a lower --lr; the last state is {self._state_path}"
            )
        if self._searches_scale:
            return None  # normal while the loss scale is too large; counted all the same
        verb = "are" if len(wrong) > 1 else "is"
        return f"warning: step {step} was skipped, because its {cause} {verb} not finite"
