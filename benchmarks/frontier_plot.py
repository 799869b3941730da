"""The picture of `benchmarks.frontier`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.frontier_points import Point, frontier

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

MARKERS = "os^Dv"  # of the versions
PANEL_HEIGHT = 216  # of a panel, in points of 1/72 inch
LABEL_HEIGHT, LABEL_OFFSET = 11, 7  # of a label, and from its point, in the same


@dataclass(frozen=True)
class Panel:
    """One of the plots.

    Attributes:
        label: Label of the x axis.
        cost: Returns the x of a point.
        score: Returns the y of a point.
    """

    label: str
    cost: Callable[[Point], float]
    score: Callable[[Point], float]


PANELS = (
    Panel(
        "milliseconds of the network, OpenVINO in float32, batch 1",
        lambda p: p.ms[0],
        lambda p: p.map,
    ),
    Panel("GFLOPs", lambda p: p.gflops, lambda p: p.map),
    Panel("parameters, millions", lambda p: p.params / 1e6, lambda p: p.map),
    Panel(
        "INT8 file, MB, with the mAP of this file", lambda p: p.int8_megabytes, lambda p: p.int8_map
    ),
)


def draw_frontier(points: Sequence[Point], title: str, path: Path) -> None:
    """Plots mAP on the validation images against four costs.

    Each backbone has a colour and each version a marker, which is hollow if the training started
    from random weights. A line joins the points that score better than all cheaper ones, which have
    labels.

    Args:
        points: The detectors.
        title: Title of the picture.
        path: The PNG to write.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    backbones = list(dict.fromkeys(point.backbone for point in points))
    versions = list(dict.fromkeys(point.yolo for point in points))
    palette = plt.get_cmap("tab10" if len(backbones) <= 10 else "tab20").colors
    colours = {name: palette[i % len(palette)] for i, name in enumerate(backbones)}
    markers = {name: MARKERS[i % len(MARKERS)] for i, name in enumerate(versions)}
    figure, axes = plt.subplots(2, 2, figsize=(11, 8), sharey=True, layout="constrained")
    for panel, each in zip(PANELS, axes.flat, strict=True):
        _draw_panel(each, panel, points, colours, markers)
    for each in axes[:, 0]:
        each.set_ylabel("mAP on the validation images")
    low, high = axes[0, 0].get_ylim()
    axes[0, 0].set_ylim(low, high + 0.1 * (high - low))  # room for labels
    for panel, each in zip(PANELS, axes.flat, strict=True):
        _draw_frontier(each, panel, points)
    figure.suptitle(title, fontsize=10)
    figure.legend(handles=_legend(colours, markers), loc="outside lower center", ncols=6)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _draw_panel(
    axes: "Axes",
    panel: Panel,
    points: Sequence[Point],
    colours: dict[str, tuple],
    markers: dict[str, str],
) -> None:
    from matplotlib.ticker import LogLocator, NullLocator

    for point in points:
        colour = colours[point.backbone]
        axes.plot(
            panel.cost(point),
            panel.score(point),
            markers[point.yolo],
            color=colour,
            markerfacecolor=colour if point.is_pretrained else "white",
            markersize=8,
            markeredgewidth=1.8,
        )
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_locator(NullLocator())
    low, high = (limit([*map(panel.cost, points)]) for limit in (min, max))
    axes.set_xlim(low / 3, high * 1.2)  # room for labels on the left
    axes.set_xlabel(panel.label)
    axes.grid(alpha=0.3)


def _draw_frontier(axes: "Axes", panel: Panel, points: Sequence[Point]) -> None:
    best = frontier(points, panel.cost, panel.score)
    right, (bottom, top) = axes.get_xlim()[1], axes.get_ylim()
    costs, scores = [*map(panel.cost, best)], [*map(panel.score, best)]
    line = {"drawstyle": "steps-post", "color": "0.75", "linewidth": 1, "zorder": 1}
    axes.plot([*costs, right], [*scores, scores[-1]], **line)
    lowest = 0.0
    for point, x, y in zip(best, costs, scores, strict=True):
        # No point is above the line, so a label can be moved up until it clears the one before.
        height = (y - bottom) / (top - bottom) * PANEL_HEIGHT
        offset = max(LABEL_OFFSET, lowest - height)
        lowest = height + offset + LABEL_HEIGHT
        axes.annotate(
            f"{point.backbone} {point.yolo}",
            (x, y),
            (-5, offset),
            textcoords="offset points",
            ha="right",
            fontsize=8,
        )


def _legend(colours: dict[str, tuple], markers: dict[str, str]) -> list["Line2D"]:
    from matplotlib.lines import Line2D

    def entry(label: str, marker: str, colour: object, face: object) -> Line2D:
        style = {"color": colour, "markerfacecolor": face, "markersize": 8}
        return Line2D([], [], linestyle="", marker=marker, label=label, **style)

    return [
        *(entry(name, "o", colour, colour) for name, colour in colours.items()),
        *(entry(name, marker, "0.3", "0.3") for name, marker in markers.items()),
        entry("from pretrained weights", "o", "0.3", "0.3"),
        entry("from random weights", "o", "0.3", "white"),
    ]
