"""The progress bar of training on standard error."""

import sys

from tqdm import tqdm

from utils.training.progress import Progress
from utils.training.schedule import is_frozen


class ProgressBar(tqdm):
    """A bar over the steps of the current epoch."""

    def __init__(self, progress: Progress, visible: bool) -> None:
        """Starts at the current step.

        Args:
            progress: The progress to show.
            visible: Whether the bar is shown.
        """
        done = progress.step - progress.first_step
        super().__init__(
            desc=_describe(progress, progress.share),
            total=done + progress.steps_left,
            initial=done,
            unit="step",
            disable=not visible,
            file=sys.stderr,
            dynamic_ncols=True,
            leave=False,
        )
        self._progress = progress

    def advance(self) -> None:
        """Advances by one step; shows the mean losses, the speed and the time left."""
        progress = self._progress
        share = max(progress.share, 1e-6)
        figures = {name: f"{mean:.4f}" for name, mean in progress.mean_losses.items()}
        figures["img/s"] = f"{progress.images_per_second:.1f}"
        figures["left"] = self.format_interval(progress.seconds * (1 - share) / share)
        self.update()
        self.set_description(_describe(progress, share), refresh=False)
        self.set_postfix(figures, refresh=False)


def _describe(progress: Progress, share: float) -> str:
    epochs = progress.recipe.epochs
    total = f"/{epochs}" if epochs is not None else ""
    frozen = " frozen" if is_frozen(progress.recipe, share) else ""
    return f"epoch {progress.epoch + 1}{total}{frozen}"
