"""Checks the licences and versions of all packages that the lock files install."""

import sys
import sysconfig
from email.message import Message
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.licences import REVIEWED, is_permissive, stated_licence
from tests.locks import LOCKS, applies, requirements_of, version_of

# Installed without their requirements, some of which are of another version or not installed.
WITHOUT_REQUIREMENTS = requirements_of(LOCKS / "no-deps.lock")
# Missing if the index has no build without CUDA, and of any version if a user installed it.
OPTIONAL = requirements_of(LOCKS / "torch.lock")
REQUIRED = {
    name: requirement
    for name, requirement in {
        **requirements_of(LOCKS / "requirements-dev.lock"),
        **WITHOUT_REQUIREMENTS,
    }.items()
    if applies(requirement)
}
OPENCV4 = Path(sys.prefix) / "opencv4"


def distributions():
    """Returns the installed packages of the locks, by name."""
    # Not from sys.path: setuptools adds a folder to it with copies of other versions.
    folder = [sysconfig.get_path("purelib")]
    found = {canonicalize_name(each.name): each for each in metadata.distributions(path=folder)}
    return {name: found[name] for name in (*REQUIRED, *OPTIONAL) if name in found}


def test_installed_versions_are_the_locked_ones():
    installed = {name: each.version for name, each in distributions().items()}
    different = {
        name: (version_of(requirement), installed.get(name))
        for name, requirement in REQUIRED.items()
        if installed.get(name) != version_of(requirement)
    }
    assert not different, "locked and installed; run `make venv`"


def test_folder_of_opencv4_has_the_locked_version():
    if not OPENCV4.is_dir():
        pytest.skip("not an environment of make")
    [(name, requirement)] = requirements_of(LOCKS / "opencv4.lock").items()
    [package] = metadata.distributions(path=[str(OPENCV4)])
    assert (package.name, package.version) == (name, version_of(requirement))
    assert is_permissive(stated_licence(package.metadata))


def test_all_licences_are_permissive_or_reviewed():
    stated = {name: stated_licence(each.metadata) for name, each in distributions().items()}
    others = {name: licence for name, licence in stated.items() if not is_permissive(licence)}
    assert others == {name: licence for name, (licence, _) in REVIEWED.items()}


def test_requirements_of_the_installed_packages_are_met():
    """As `pip check`, which takes much longer."""
    versions = {canonicalize_name(each.name): each.version for each in metadata.distributions()}
    problems = []
    for name in REQUIRED.keys() - WITHOUT_REQUIREMENTS.keys():
        for each in map(Requirement, metadata.requires(name) or ()):
            version = versions.get(canonicalize_name(each.name))
            is_met = version and each.specifier.contains(version, prereleases=True)
            if not is_met and (each.marker is None or each.marker.evaluate({"extra": ""})):
                problems.append(f"{name} requires {each}, installed is {version}")
    assert not problems


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("MIT", True),
        ("MIT OR GPL-3.0-only", True),
        ("Apache-2.0 AND Apache-2.0 WITH LLVM-exception AND MIT", True),
        ("MIT AND LGPL-2.1-or-later", False),
        ("GPL-2.0-only OR MIT AND MPL-2.0", False),
        ("AGPL-3.0-only", False),
        ("(MIT)", False),  # unknown spellings are reviewed
        ("", False),
    ],
)
def test_expressions_are_permissive_only_if_one_choice_is(expression, expected):
    assert is_permissive(expression) is expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ([("License-Expression", "MIT"), ("License", "GPL")], "MIT"),
        ([("License", "BSD"), ("Classifier", "Programming Language :: C")], "BSD-3-Clause"),
        (
            [("Classifier", f"License :: OSI Approved :: {name}") for name in ("MIT License", "X")],
            "MIT AND X",
        ),
        ([("License", "GPL v3")], "GPL v3"),
        ([], ""),
    ],
)
def test_licence_is_read_from_the_expression_then_classifiers_then_text(fields, expected):
    message = Message()
    for name, value in fields:
        message.add_header(name, value)
    assert stated_licence(message) == expected
