"""Plots of an evaluation and of a training history."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib import font_manager
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from utils.evaluation.curves import Curve
from utils.evaluation.settings import SCORE_THRESHOLD
from utils.evaluation.wording import percent
from utils.files import written_whole
from utils.fonts import PLAIN_FAMILY, find_font, missing_letters
from utils.text import unique_file_names

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
    "text.parse_math": False,  # a dollar sign in a class name does not start a formula
}
# What each kind of plot shows: x, y, and the value in the title.
CURVE_PLOTS = {
    "AP": lambda curve: (curve.recall, curve.precision, curve.average_precision),
    "Precision": lambda curve: (curve.scores, curve.precision, curve.at(SCORE_THRESHOLD)[0]),
    "Recall": lambda curve: (curve.scores, curve.recall, curve.at(SCORE_THRESHOLD)[1]),
    "F1": lambda curve: (curve.scores, curve.f1, curve.at(SCORE_THRESHOLD)[2]),
}
MAX_NUMBERED = 40  # classes; with more, a cell of the confusion matrix is too small for a number


def draw_class_curves(folder: Path, curves: Mapping[str, Curve]) -> None:
    """Writes one plot per class into each of the folders `AP`, `Precision`, `Recall` and `F1`.

    Args:
        folder: An existing folder, in which the four are created.
        curves: Curves by class name.
    """
    with _style("".join(curves)):
        for kind, values_of in CURVE_PLOTS.items():
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
            at = "" if kind == "AP" else f" at score {SCORE_THRESHOLD}"
            for file, (name, curve) in zip(unique_file_names(curves), curves.items(), strict=True):
                # Axes and ticks are drawn only once: they take seven times as long as the rest.
                canvas.restore_region(empty)
                x, y, value = values_of(curve)
                line.set_data(x, y)
                title.set_text(f"{name}   {kind} {percent(value)}{at}")
                axes.draw_artist(line)
                axes.draw_artist(title)
                pixels = np.asarray(canvas.buffer_rgba())[..., :3]
                Image.fromarray(pixels).save(folder / kind / f"{file}.png", compress_level=1)


def draw_bars(path: Path, values: Mapping[str, float | None], title: str) -> None:
    """Draws one bar per class, the longest at the top.

    Args:
        path: The image file to write.
        values: Fractions by class name; classes with None are left out.
        title: Title of the plot.
    """
    defined = {name: value for name, value in values.items() if value is not None}
    names = sorted(defined, key=defined.get)
    with _style("".join(names)):
        figure = Figure(figsize=(7, 1.2 + 0.27 * len(names)), layout="constrained")
        axes = figure.add_subplot()
        bars = axes.barh(range(len(names)), [defined[name] for name in names], color=BLUE)
        axes.bar_label(bars, [percent(defined[name]) for name in names], padding=4)
        axes.set_yticks(range(len(names)), names)
        axes.set(xlim=(0, 1.12), ylim=(-0.7, len(names) - 0.3), title=title)
        axes.set_xticks(np.arange(6) / 5)
        axes.grid(axis="y", visible=False)
        figure.savefig(path)


def draw_confusion_matrix(path: Path, matrix: np.ndarray, classes: Sequence[str]) -> None:
    """Draws a confusion matrix, whose cells are shaded by their fraction of the row.

    Args:
        path: The image file to write.
        matrix: (C + 1, C + 1) counts, from `confusion_matrix`.
        classes: Names of the C classes.
    """
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
        axes.set(xlabel="Detected class", ylabel="True class", title="Confusion matrix")
        if len(classes) <= MAX_NUMBERED:
            for row, column in np.argwhere(matrix):
                colour = "white" if shares[row, column] > 0.5 else "#1c2733"
                text = str(matrix[row, column])
                axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=8)
        figure.savefig(path)


def draw_history(
    path: Path, history: Sequence[Mapping[str, float]], keys: Sequence[str], title: str
) -> None:
    """Draws training metrics over the epochs.

    Args:
        path: The image file to write.
        history: One row per epoch; a metric that was not measured in an epoch is missing.
        keys: The metrics to draw. If there is a `val_` metric of the same name, it is drawn as a
            dashed line of the same colour.
        title: Title of the plot.
    """
    with _style(""):
        figure = Figure(figsize=(7, 4.2), layout="constrained")
        axes = figure.add_subplot()
        for key in keys:
            colour = None
            for name, style in ((key, "solid"), (f"val_{key}", "dashed")):
                points = [(row["epoch"], row[name]) for row in history if name in row]
                if points:
                    (line,) = axes.plot(
                        *zip(*points, strict=True),
                        label=name,
                        linewidth=1.8,
                        linestyle=style,
                        marker=".",
                        color=colour,
                    )
                    colour = line.get_color()
        axes.set(xlabel="epoch", title=title, ylim=(0, None))
        axes.xaxis.get_major_locator().set_params(integer=True)
        figure.legend(loc="outside right upper", frameon=False)  # beside the lines, not on them
        with written_whole(path) as (part,):  # in a run directory
            figure.savefig(part)


@contextmanager
def _style(text: str) -> Iterator[None]:
    """Sets style and fonts. Letters that no installed font has are drawn as boxes."""
    with matplotlib.rc_context(STYLE | {"font.family": _fonts(text)}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        yield


def _fonts(text: str) -> list[str]:
    missing = missing_letters(text)
    font = find_font(missing) if missing else None
    if font is None:
        return [PLAIN_FAMILY]
    font_manager.fontManager.addfont(font)
    return [PLAIN_FAMILY, font_manager.FontProperties(fname=font).get_name()]
