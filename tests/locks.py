"""Reads the lock files of the requirements."""

import re
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
LOCKS = ROOT / "locks"
HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")


def requirements_of(path):
    """Returns the requirements in a file of requirements or a lock, by name, without hashes."""
    lines = path.read_text(encoding="utf-8").splitlines()
    words = [line.partition("#")[0].strip().removesuffix("\\") for line in lines]
    found = [Requirement(word) for word in words if word and not word.startswith("-")]
    return {canonicalize_name(each.name): each for each in found}


def version_of(requirement):
    """Returns the only version that a requirement allows."""
    [specifier] = requirement.specifier
    assert specifier.operator == "==", f"{requirement} is not pinned"
    return specifier.version


def versions_of(path):
    """Returns the version of each requirement in a file, by name."""
    return {name: version_of(each) for name, each in requirements_of(path).items()}


def applies(requirement):
    """Whether a requirement is for this Python and this system."""
    return requirement.marker is None or requirement.marker.evaluate()
