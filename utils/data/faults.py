"""The faults of the files of a dataset, and how they are listed."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

LONE_IMAGE = "image without annotation"
LONE_ANNOTATION = "annotation without image"
UNREADABLE_IMAGE = "unreadable image"

SHOWN = 3  # faults of each kind that are listed with their files


@dataclass(frozen=True, order=True)
class Fault:
    """A fault of one file.

    Attributes:
        kind: The kind of fault, in a few words.
        path: The file.
        detail: Further description of the fault; may be empty.
    """

    kind: str
    path: Path
    detail: str = ""

    def __str__(self) -> str:
        if str(self.path) in self.detail:
            return self.detail
        return f"{self.path}: {self.detail or self.kind}"


def fault_lines(faults: Sequence[Fault]) -> str:
    """Lists faults by kind: the number of each, and the first few with their files."""
    by_kind = defaultdict(list)
    for fault in faults:
        by_kind[fault.kind].append(fault)
    lines = [f"faults: {len(faults) or 'none'}"]
    for kind, same in by_kind.items():
        lines.append(f"  {kind}: {len(same)}")
        lines += [f"    {fault}" for fault in same[:SHOWN]]
        if len(same) > SHOWN:
            lines.append(f"    and {len(same) - SHOWN} more")
    return "\n".join(lines) + "\n"
