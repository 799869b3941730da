"""Extends a run: the schedule of the recipe is stretched over the new total."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from utils.config import Recipe
from utils.errors import UserError
from utils.training.budget import TimeBudget
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
        UserError: The run has no such limit, or the limit leaves nothing to train.
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
    reserved = progress.get("budget", {}).get("reserved", 0.0) / 60  # for the last validation
    if new.max_minutes is not None and new.max_minutes <= minutes + reserved:
        least = math.ceil(10 * (minutes + reserved)) / 10
        raise UserError(
            f"the run has already taken {minutes:.1f} minutes and reserves {reserved:.1f} for its "
            f"last validation, set --max-minutes to more than {least:.1f}"
        )
    share, new_share = (_share(limits, progress) for limits in (recipe, new))
    if share >= recipe.freeze_share > 0.0:
        freeze_share = recipe.freeze_share * min(1.0, new_share / share)
        freeze_share = min(freeze_share, new_share)  # rounding must not freeze it again
        new = dataclasses.replace(new, freeze_share=freeze_share)
    return new


def _share(recipe: Recipe, progress: Mapping[str, Any]) -> float:
    """Returns the share of the run at which a session with this recipe continues."""
    if "budget" not in progress:  # no state was saved
        return 0.0
    budget = TimeBudget(recipe.max_minutes and 60.0 * recipe.max_minutes)
    budget.restore(progress["budget"])
    epochs = progress.get("epochs", len(progress["history"]))  # with the current one
    return max(share_done(recipe, epochs, 0.0), budget.share(progress["seconds"]))
