"""Extends a run: the schedule of the recipe is stretched over the new total."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from utils.config import Recipe
from utils.errors import UserError
from utils.training.schedule import share_done
from utils.training.settings import ResumeSettings


def extend(recipe: Recipe, progress: Mapping[str, Any], settings: ResumeSettings) -> Recipe:
    """Returns the recipe of a run with new limits.

    Learning rate, image size and augmentation depend on the share of the run that is done. It is
    smaller with the new limits, so they go back to where the new schedule has them. A backbone that
    has been unfrozen is not frozen again. The patience is counted from now on.

    All workers must get the same result, whether they read the config before or after the first one
    has changed it. So what is read from the config must not be applied twice.

    Args:
        recipe: The recipe so far.
        progress: Progress of the run, from its state; empty if it has none.
        settings: The new limits.

    Raises:
        UserError: The run has no such limit, or it is already exceeded.
    """
    done = len(progress.get("history", ()))
    minutes = progress.get("seconds", 0.0) / 60
    changes = {}
    if settings.epochs is not None:
        if recipe.epochs is None:
            raise UserError("the run is limited by time only, extend it with --max-minutes")
        changes["epochs"] = settings.epochs
    if settings.max_minutes is not None:
        if recipe.max_minutes is None:
            raise UserError("the run has no time limit, extend it with --epochs")
        changes["max_minutes"] = settings.max_minutes
    new = dataclasses.replace(recipe, **changes, patience_from=done)
    if new.epochs is not None and new.epochs <= done:
        raise UserError(f"{done} epochs of the run are done, set --epochs to more than {done}")
    if new.max_minutes is not None and new.max_minutes <= minutes:
        raise UserError(
            f"the run has already taken {minutes:.1f} minutes, set --max-minutes to more"
        )
    share, new_share = (share_done(limits, done, 60 * minutes) for limits in (recipe, new))
    if share >= recipe.freeze_share > 0.0:
        freeze_share = recipe.freeze_share * min(1.0, new_share / share)
        new = dataclasses.replace(new, freeze_share=freeze_share)
    return new


def stretch_history(history: Sequence[dict[str, float]], before: Recipe, after: Recipe) -> None:
    """Converts the shares of the run at which it was validated to those of an extended run.

    Args:
        history: Rows of the completed epochs, which are changed.
        before: The recipe so far.
        after: The extended recipe.
    """
    for row in history:
        if "measured_at" in row:
            seconds = row["measured_at"] * 60 * (before.max_minutes or 0.0)
            row["measured_at"] = share_done(after, row["epoch"], seconds)
