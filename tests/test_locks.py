"""Checks that the lock files belong to the requirements, and that only they are installed."""

import re

import pytest

from tests.locks import HASH, LOCKS, ROOT, requirements_of, versions_of

DEV = LOCKS / "requirements-dev.lock"
REMEDY = "run `make lock`"
# Also of requirements-*.txt, so that one which requirements-dev.txt does not include fails here.
SOURCES = dict.fromkeys(ROOT.glob("requirements*.txt"), DEV) | {
    path: path.with_suffix(".lock") for path in LOCKS.glob("*.in")
}
EXTRAS = sorted(LOCKS.glob("requirements*.lock"))
ALL_LOCKS = sorted(LOCKS.glob("*.lock"))


@pytest.mark.parametrize("source", sorted(SOURCES), ids=lambda path: path.name)
def test_every_pin_is_locked_in_the_same_version(source):
    pins, locked = versions_of(source), versions_of(SOURCES[source])
    assert pins
    different = {name: pin for name, pin in pins.items() if locked.get(name) != pin}
    assert not different, REMEDY


@pytest.mark.parametrize(
    "lock", sorted(LOCKS.glob("requirements*.lock")), ids=lambda path: path.name
)
def test_lock_of_an_extra_is_part_of_the_largest_one(lock):
    locked = versions_of(lock)
    source = versions_of(ROOT / f"{lock.stem}.txt")
    assert source.items() <= locked.items() <= versions_of(DEV).items(), REMEDY


@pytest.mark.parametrize("lock", ALL_LOCKS, ids=lambda path: path.name)
def test_every_locked_requirement_has_hashes_and_no_address(lock):
    text = re.sub(r"^\s*#.*\n", "", lock.read_text(encoding="utf-8"), flags=re.MULTILINE)
    entries = text.replace("\\\n", " ").splitlines()
    assert len(entries) == len(requirements_of(lock))
    for entry in entries:
        requirement, *hashes = re.split(r"\s+(?=--)", entry)
        assert hashes, requirement
        assert all(map(HASH.fullmatch, hashes)), requirement
        assert "/" not in requirement, "neither a URL nor a path"


def test_make_installs_from_locks_only():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    options = re.search(r"^PIP_OPTIONS := (.*)", makefile, re.MULTILINE)[1].split()
    assert {"--require-hashes", "--only-binary"} <= {*options}
    installs = re.findall(r"^\t.*(?:pip install|PIP_INSTALL).*", makefile, re.MULTILINE)
    assert len(installs) >= 5
    for line in installs:
        assert re.search(r"-r (\$<|locks/[\w-]+\.lock)", line), line
        assert "PIP_INSTALL" in line or "PIP_OPTIONS" in line, line
