"""Finds fonts that can display a text.

Matplotlib takes a quarter of the time in which predict.py finds its first box, and is imported only
for letters beyond ASCII.
"""

from collections.abc import Set
from functools import cache
from importlib.util import find_spec
from pathlib import Path

PLAIN_FAMILY = "DejaVu Sans"  # part of Matplotlib: Latin, Greek, Cyrillic, Arabic, Hebrew


@cache
def plain_font() -> Path:
    """Returns the path of DejaVu Sans."""
    package = Path(find_spec("matplotlib").origin).parent
    path = package / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"
    if path.is_file():
        return path
    from matplotlib import font_manager  # some Linux distributions keep its fonts elsewhere

    return Path(font_manager.findfont(PLAIN_FAMILY))


def missing_letters(text: str) -> str:
    """Returns the letters of a text that DejaVu Sans does not have."""
    if text.isascii() and text.isprintable():
        return ""
    known = _letters_of(plain_font())
    return "".join(letter for letter in text if ord(letter) not in known)


def find_font(text: str) -> Path | None:
    """Finds an installed font that has every letter of a text; None if there is none."""
    letters = set(map(ord, text))
    return next((font for font in _system_fonts() if letters <= _letters_of(font)), None)


@cache
def _system_fonts() -> list[Path]:
    from matplotlib import font_manager

    # The regular font of a family has the shortest file name.
    return sorted(map(Path, font_manager.findSystemFonts()), key=lambda path: len(path.name))


@cache
def _letters_of(font: Path) -> Set[int]:
    from matplotlib import ft2font

    try:
        face = ft2font.FT2Font(str(font))
    except RuntimeError:  # not a font that FreeType can read
        return frozenset()
    # Bitmap fonts, such as coloured emoji, have one size only.
    scalable = ft2font.FaceFlags.SCALABLE in face.face_flags
    return frozenset(face.get_charmap()) if scalable else frozenset()
