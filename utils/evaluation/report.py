"""The content of a report, and its format as a text table."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nets.choices import check_choices
from utils.data.samples import Sample
from utils.evaluation.metrics import Evaluation
from utils.evaluation.settings import Metric
from utils.evaluation.wording import (
    CLASS_METRICS,
    COCO_METRICS,
    class_value,
    headline,
    percent,
)
from utils.inference.detections import Detections
from utils.text import format_table


@dataclass(frozen=True, eq=False)
class Report:
    """An evaluation and how to present it.

    Attributes:
        title: Heading.
        subtitle: One line that says what was scored, and with which settings.
        samples: Images with their ground truth.
        detections: Detections per image.
        evaluation: The result of scoring them.
        metric: Which headline metric is shown.
        has_images: Whether the image files of the samples can be read.

    Raises:
        ValueError: The metric is unknown.
    """

    title: str
    subtitle: str
    samples: Sequence[Sample]
    detections: Sequence[Detections]
    evaluation: Evaluation
    metric: Metric = "voc"
    has_images: bool = True

    def __post_init__(self) -> None:
        check_choices(self)

    @property
    def metrics(self) -> dict[str, Any]:
        """The JSON document of the evaluation."""
        return self.evaluation.metrics

    @property
    def classes(self) -> list[str]:
        """Names of the classes, by label."""
        return list(self.evaluation.curves)


def format_report(report: Report) -> str:
    """Formats the metrics as text: one row per class, the means, and the headline in a frame."""
    metrics = report.metrics
    voc, coco = metrics["voc"], metrics["coco"]
    rows = [["class", *CLASS_METRICS.values()]]
    for name, class_metrics in metrics["per_class"].items():
        rows.append([name, *(class_value(key, class_metrics[key]) for key in CLASS_METRICS)])
    means = [percent(mean) for mean in (voc["map"], voc["map_11pt"], coco["map"])]
    rows.append(["mean", *means, *[""] * (len(CLASS_METRICS) - len(means))])
    head, *body, mean = format_table(rows).splitlines()
    rule = "-" * len(head)
    others = "   ".join(f"{name} {percent(coco[key])}" for key, name in COCO_METRICS.items())
    name, value = headline(metrics, report.metric)
    framed = f"|   {name}   {percent(value)}   |"
    frame = "+" + "=" * (len(framed) - 2) + "+"
    heading = f"{report.title}: {report.subtitle}, {metrics['images']} images"
    lines = [heading, "", head, rule, *body, rule, mean, "", others, "", frame, framed, frame]
    return "\n".join(lines) + "\n"
