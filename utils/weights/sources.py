"""What `--weights` accepts, and a first check of it that needs no TensorFlow."""

import difflib
from pathlib import Path

from utils.errors import UserError

AUTO, IMAGENET, NONE = "auto", "imagenet", "none"
WORDS = (AUTO, IMAGENET, NONE)

TORCH_SUFFIXES = (".pth", ".pt", ".safetensors")
SUFFIXES = (".h5", *TORCH_SUFFIXES)


def check_source(source: str) -> None:
    """Checks that initial weights are a known word, or a file that exists and has a known suffix.

    Raises:
        UserError: They are neither.
    """
    if source in WORDS:
        return
    if not Path(source).exists():
        near = [] if Path(source).suffix else difflib.get_close_matches(source.lower(), WORDS, n=1)
        advice = f"did you mean {near[0]}?" if near else "give auto, imagenet, none or a file"
        raise UserError(f"no weights file {source!r}, {advice}")
    check_file(Path(source))


def check_file(path: Path) -> None:
    """Checks that a file of weights exists and has a known suffix.

    Raises:
        UserError: There is no such file, or its format is unknown.
    """
    if path.is_dir() and path.name:
        raise UserError(f"{path} is a folder, name a file of weights such as best.weights.h5 in it")
    if not path.is_file():
        raise UserError(f"no weights file {str(path)!r}, check its path")
    if path.suffix not in SUFFIXES:
        raise UserError(f"{path} has an unknown format, use .h5, .safetensors or .pth")
