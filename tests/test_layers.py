"""Modules import only from their own layer and from lower ones, as CONTRIBUTING.md says."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = {
    "page": 1,
    "data": 2,
    "inference": 3,
    "evaluation": 4,
    "weights": 5,
    "training": 6,
    "export": 6,
    "serving": 7,
    "ray_jobs": 7,
}
MODULES = {
    "run": 4,
    "run_metadata": 4,
    "models": 4,
    "output_flags": 4,
}  # of the base; all others are 1
INDEPENDENT = [("training", "export"), ("serving", "ray_jobs")]  # of one layer


def place_of(module: str) -> tuple[str, int]:
    """Returns the package of a module, and its layer."""
    top, _, rest = module.partition(".")
    name = rest.partition(".")[0]
    if top == "nets":
        return "nets", 0
    return (name, PACKAGES[name]) if name in PACKAGES else ("base", MODULES.get(name, 1))


def imports_of(path: Path) -> set[str]:
    """Returns the modules of the project that a file imports, except for types."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing = [node for node in ast.walk(tree) if isinstance(node, ast.If) and _is_typing(node)]
    left_out = {each for node in typing for each in ast.walk(node)}
    found = set()
    for node in ast.walk(tree):
        if node in left_out:
            continue
        if isinstance(node, ast.Import):
            found |= {each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{each.name}" for each in node.names}
    return {name for name in found if name.startswith(("nets.", "utils."))}


def _is_typing(node: ast.If) -> bool:
    return isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


FILES = sorted(path for top in ("nets", "utils") for path in (ROOT / top).rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_module_imports_no_higher_layer(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    package, layer = place_of(".".join(parts))
    for name in imports_of(path):
        other, other_layer = place_of(name)
        assert other_layer <= layer, name
        assert (package, other) not in [*INDEPENDENT, *(pair[::-1] for pair in INDEPENDENT)], name
