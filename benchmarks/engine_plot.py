"""The plot of `benchmarks.engines`."""

from pathlib import Path

MIN_MARGIN = 0.01  # of mAP, so that differences by rounding do not look large


def draw_engines(rows: list[dict], path: Path) -> None:
    """Plots mAP against the milliseconds from file to boxes, one point per file.

    Args:
        rows: Records of `benchmarks.engines`. Of their speeds, those of one image with the largest
            number of threads are shown.
        path: The PNG to write.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    threads = max(speed["threads"] for speed in rows[0]["speeds"])
    times = {row["file"]: _time_of(row, threads) for row in rows}
    # Models of one precision have almost the same mAP: their names are placed at several heights.
    heights = (8, -14, 20, -26, 32, -38)
    for number, row in enumerate(sorted(rows, key=lambda row: times[row["file"]])):
        point = times[row["file"]], row["map"] or 0.0
        axes.plot(*point, "o")
        axes.annotate(
            row["file"],
            point,
            (4, heights[number % len(heights)]),
            textcoords="offset points",
            fontsize=8,
            arrowprops={"arrowstyle": "-", "color": "0.7"},
        )
    axes.set(
        xlabel=f"milliseconds from file to boxes, one image, {threads} threads",
        ylabel="mAP on the validation images",
    )
    axes.set_xlim(0, 1.3 * max(times.values()))  # room for names
    scores = [row["map"] or 0.0 for row in rows]
    margin = max(MIN_MARGIN, 0.4 * (max(scores) - min(scores)))
    axes.set_ylim(min(scores) - margin, max(scores) + margin)
    axes.ticklabel_format(useOffset=False)
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _time_of(row: dict, threads: int) -> float:
    for speed in row["speeds"]:
        if (speed["threads"], speed["batch"]) == (threads, 1):
            return speed["file_to_boxes_ms"][0]
    raise ValueError(f"{row['file']} was not timed with {threads} threads")
