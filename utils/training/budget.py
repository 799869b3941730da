"""Divides the time of a run with a time limit between training, validations and the end."""

from collections.abc import Mapping
from typing import Any


class TimeBudget:
    """How much of the time for training has passed.

    Part of the time is reserved for what follows the last step. The rest is for training, and its
    share advances in proportion to the time, except during validations. If the reserve changes, the
    share continues from its current value. It therefore never goes back and never jumps.

    Attributes:
        limit: Time of the run in seconds; None for no limit.
        reserved: Seconds for what follows the last step.
        spent: Seconds that validations have taken.
        validation: Seconds that a validation of the whole set takes; 0 before it was measured.
    """

    def __init__(self, limit: float | None) -> None:
        """Initializes the budget; the time for training starts at second 0 of the run."""
        self.limit = limit
        self.reserved = 0.0
        self.spent = 0.0
        self.validation = 0.0
        self._share, self._since = 0.0, 0.0  # the share at a time, from where it advances

    def share(self, seconds: float) -> float:
        """Returns the share of the time for training that has passed, 0..1.

        Args:
            seconds: Time since the start of the run.
        """
        if self.limit is None:
            return 0.0
        end = self.limit - self.reserved
        if seconds >= end:
            return 1.0
        passed = max(0.0, seconds - self._since) / (end - self._since)
        return self._share + (1.0 - self._share) * passed

    def continue_from(self, share: float, seconds: float) -> None:
        """Lets the share advance from a value, for example from that before a validation."""
        self._share, self._since = share, seconds

    def reserve(self, reserved: float, seconds: float) -> None:
        """Changes the reserve at a time; the share stays as it is then."""
        self.continue_from(self.share(seconds), seconds)
        self.reserved = reserved

    def to_json(self) -> dict[str, Any]:
        """Returns everything that `restore` needs, as a JSON object."""
        return {
            "limit": self.limit,
            "reserved": self.reserved,
            "spent": self.spent,
            "validation": self.validation,
            "share": self._share,
            "since": self._since,
        }

    def restore(self, document: Mapping[str, Any]) -> None:
        """Restores the budget of an earlier session, whose limit may have been lower."""
        self.reserved = document["reserved"]
        self.spent = document["spent"]
        self.validation = document["validation"]
        stretched = self.limit / document["limit"] if self.limit else 1.0
        self.continue_from(document["share"] / stretched, document["since"])
