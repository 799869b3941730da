"""The pictures of an evaluation: curves a class, bars over classes, the confusion matrix."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib import font_manager
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ft2font import FT2Font
from PIL import Image

from utils.evaluation.boxfiles import file_names
from utils.evaluation.metrics import SURE, Curve

BLUE = "#2f6fde"
STYLE = {
    "axes.edgecolor": "#9aa3ad",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.constrained_layout.h_pad": 0.12,
    "figure.constrained_layout.w_pad": 0.12,
    "figure.dpi": 100,
    "font.size": 10,
    "grid.color": "#e3e7eb",
    "text.parse_math": False,  # a dollar in a class name is a dollar
}
# What each kind of picture shows of a curve: x, y, and the value in its title.
CURVES = {
    "AP": lambda curve: (curve.recall, curve.precision, curve.average_precision),
    "Precision": lambda curve: (curve.scores, curve.precision, curve.at(SURE)[0]),
    "Recall": lambda curve: (curve.scores, curve.recall, curve.at(SURE)[1]),
    "F1": lambda curve: (curve.scores, curve.f1, curve.at(SURE)[2]),
}
MOST_COUNTED = 40  # classes up to which the cells of a confusion matrix are large enough for text


def draw_class_curves(folder: Path, curves: dict[str, Curve]) -> None:
    """Writes `AP`, `Precision`, `Recall` and `F1` into `folder`, each with a picture a class.

    Args:
        folder: exists.
        curves: by class name.
    """
    with _style("".join(curves)):
        for kind, figures in CURVES.items():
            (folder / kind).mkdir()
            axes = Figure(figsize=(5.2, 4)).add_axes((0.13, 0.13, 0.82, 0.77))
            axes.set(xlim=(0, 1), ylim=(0, 1.02))
            labels = ("Recall", "Precision") if kind == "AP" else ("Score", kind)
            axes.set(xlabel=labels[0], ylabel=labels[1])
            (line,) = axes.plot([], [], color=BLUE, linewidth=1.8, animated=True)
            title = axes.set_title(" ", animated=True)
            canvas = FigureCanvasAgg(axes.figure)
            canvas.draw()
            empty = canvas.copy_from_bbox(axes.figure.bbox)
            at = "" if kind == "AP" else f" at score {SURE}"
            for file, (name, curve) in zip(file_names(curves), curves.items(), strict=True):
                # Axes and ticks are drawn once: they take seven times as long as all the rest.
                canvas.restore_region(empty)
                x, y, value = figures(curve)
                line.set_data(x, y)
                title.set_text(f"{name}   {kind} {percent(value)}{at}")
                axes.draw_artist(line)
                axes.draw_artist(title)
                picture = Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3])
                picture.save(folder / kind / f"{file}.png", compress_level=1)


def draw_bars(path: Path, values: dict[str, float | None], title: str) -> None:
    """Draws one bar a class, longest first; classes without a value are left out."""
    known = {name: value for name, value in values.items() if value is not None}
    names = sorted(known, key=known.get)
    with _style("".join(names)):
        figure = Figure(figsize=(7, 1.2 + 0.27 * len(names)), layout="constrained")
        axes = figure.add_subplot()
        bars = axes.barh(range(len(names)), [known[name] for name in names], color=BLUE)
        axes.bar_label(bars, [percent(known[name]) for name in names], padding=4)
        axes.set_yticks(range(len(names)), names)
        axes.set(xlim=(0, 1.12), ylim=(-0.7, len(names) - 0.3), title=title)
        axes.set_xticks(np.arange(6) / 5)
        axes.grid(axis="y", visible=False)
        figure.savefig(path)


def draw_confusion_matrix(path: Path, matrix: np.ndarray, classes: Sequence[str]) -> None:
    """Draws counts as numbers, and each row's shares as shades."""
    names = [*classes, "background"]
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    side = 2.5 + 0.42 * min(len(names), 60)
    with _style("".join(names)):
        figure = Figure(figsize=(side, side), layout="constrained")
        axes = figure.add_subplot()
        axes.grid(visible=False)
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        axes.set_xticks(range(len(names)), names, rotation=90)
        axes.set_yticks(range(len(names)), names)
        axes.set(xlabel="Detected as", ylabel="Is", title="Confusion matrix")
        if len(classes) <= MOST_COUNTED:
            for row, column in np.argwhere(matrix):
                ink = "white" if shares[row, column] > 0.5 else "#1c2733"
                text = str(matrix[row, column])
                axes.text(column, row, text, ha="center", va="center", color=ink, fontsize=8)
        figure.savefig(path)


def draw_history(
    path: Path, history: Sequence[dict[str, float]], keys: Sequence[str], title: str
) -> None:
    """Draws figures of a training over its epochs.

    Args:
        path: where the picture goes.
        history: one row an epoch; a row may lack a figure that was not measured then.
        keys: which figures.
        title: of the picture.
    """
    with _style(""):
        figure = Figure(figsize=(7, 4.2), layout="constrained")
        axes = figure.add_subplot()
        for key in keys:
            points = [(row["epoch"], row[key]) for row in history if key in row]
            axes.plot(*zip(*points, strict=True), label=key, linewidth=1.8, marker=".")
        axes.set(xlabel="epoch", title=title, ylim=(0, None))
        axes.legend(frameon=False)
        figure.savefig(path)


def percent(value: float | None) -> str:
    """A fraction as people read it; a dash where it is undefined."""
    return "-" if value is None else f"{100 * value:.2f}%"


@contextmanager
def _style(text: str) -> Iterator[None]:
    """Draws in the house's style, with a font for the letters of `text` if this machine has one."""
    with matplotlib.rc_context(STYLE | {"font.family": _fonts(text)}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # a box stands for the letter
        yield


def _fonts(text: str) -> list[str]:
    plain = "DejaVu Sans"  # comes with matplotlib
    missing = set(map(ord, text)) - _letters(font_manager.findfont(plain))
    for font in font_manager.fontManager.ttflist if missing else ():
        # Matplotlib's "last resort" has a box for each letter there is.
        if not font.name.startswith("Last Resort") and missing <= _letters(font.fname):
            return [plain, font.name]
    return [plain]


def _letters(path: str) -> set[int]:
    return set(FT2Font(path).get_charmap())
