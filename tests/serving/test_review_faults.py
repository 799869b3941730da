"""The lines of the review about images that could not be computed."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from utils.serving.refusals import FAILED, Refusal, bad_request, too_late
from utils.serving.review import Review


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (TimeoutError(), "data/a.jpg: not computed in time"),
        (too_late(), "data/a.jpg: the request was not answered in time, try again later"),
        (Refusal(500, "failed", FAILED), "data/a.jpg: the service failed on it, see its log"),
        (Refusal(500, "failed", "NaN for a.jpg"), "data/a.jpg: NaN for a.jpg"),
        (bad_request("cannot read image data/a.jpg"), "cannot read image data/a.jpg"),
    ],
    ids=str,
)
def test_faults_name_the_image_once(error, line):
    def run_aside(decode):
        raise error

    review = Review(SimpleNamespace(run_aside=run_aside), Path("data"))
    review._review(0, SimpleNamespace(image=Path("data/a.jpg")))
    assert (review.faults, review.skipped, review.results) == ([line], 1, {})
