import json

import pytest

from tests.fake_runtime import make_metadata
from utils.errors import JobError
from utils.export.accuracy import Accuracy
from utils.export.search import Goal, Trials, search
from utils.inference.metadata import Calibration, Quantization

RANKED = [f"conv{number}" for number in range(40)]
REFERENCE = Accuracy(0.9, 0.6)
METADATA = make_metadata(precision="int8", quantization=Quantization(Calibration(3, "0")))


class ListWriter:
    """A quantizer whose files are the lists of the layers in float."""

    def write(self, metadata, path):
        path.write_text(json.dumps(metadata.quantization.float_layers))


def run_search(folder, needed, max_loss=0.02, lost=0.1):
    """Searches where a file loses `lost` unless the first `needed` layers are in float."""
    counts = []

    def measure(path):
        layers = json.loads(path.read_text())
        assert layers == RANKED[: len(layers)]
        counts.append(len(layers))
        loss = 0.001 if len(layers) >= needed else lost - 0.001 * len(layers)
        return Accuracy(0.9, 0.6 - loss)

    goal = Goal(REFERENCE, max_loss)
    trials = Trials(ListWriter(), METADATA, folder, "m.onnx", measure, goal)
    try:
        return search(trials, lambda: RANKED), counts
    except JobError as error:
        return str(error), counts


def test_nothing_in_float_if_that_holds(tmp_path, capsys):
    def rank():
        raise AssertionError("nothing must be ranked")

    trials = Trials(
        ListWriter(),
        METADATA,
        tmp_path,
        "m.onnx",
        lambda _: Accuracy(0.89, 0.58),
        Goal(REFERENCE, 0.03),
    )
    (found,) = search(trials, rank)
    assert found.float_layers == ()
    assert found.metadata == METADATA
    assert found.lost.map == pytest.approx(0.02)
    assert capsys.readouterr().err == (
        "trial 1: 0 convolutions in float, mAP50 0.8900, mAP 0.5800, mAP lost 0.0200\n"
    )


@pytest.mark.parametrize(
    ("needed", "expected"),
    [
        (1, [0, 1]),
        (2, [0, 1, 2]),
        (3, [0, 1, 2, 4, 3]),
        (6, [0, 1, 2, 4, 8, 6, 5]),
        (20, [0, 1, 2, 4, 8, 16, 20, 18, 19]),
    ],
)
def test_smallest_number_is_found_by_doubling_and_bisection(tmp_path, needed, expected):
    (first, found), counts = run_search(tmp_path, needed)
    assert counts == expected
    assert first.float_layers == ()
    assert found.float_layers == tuple(RANKED[:needed])
    assert found.lost.map == pytest.approx(0.001)
    assert json.loads(found.path.read_text()) == RANKED[:needed]


def test_files_that_lose_too_much_are_removed(tmp_path):
    run_search(tmp_path, 6)
    kept = sorted(len(json.loads(path.read_text())) for path in tmp_path.iterdir())
    assert kept == [0, 6, 8]
    assert all(path.name.endswith("m.onnx") for path in tmp_path.iterdir())


def test_every_trial_is_reported(tmp_path, capsys):
    run_search(tmp_path, 2)
    assert capsys.readouterr().err.splitlines() == [
        "trial 1: 0 convolutions in float, mAP50 0.9000, mAP 0.5000, mAP lost 0.1000",
        "trial 2: 1 convolution in float, mAP50 0.9000, mAP 0.5010, mAP lost 0.0990",
        "trial 3: 2 convolutions in float, mAP50 0.9000, mAP 0.5990, mAP lost 0.0010",
    ]


def test_limit_that_half_of_the_layers_do_not_reach(tmp_path):
    message, counts = run_search(tmp_path, 21, lost=0.1234)
    assert counts[-1] == 20
    assert message == (
        "mAP falls by 0.1034 at best, with 20 of 40 convolutions in float, which is more than "
        "--max-loss 0.02: accept it with --max-loss 0.104, or use a float precision"
    )
    assert run_search(tmp_path / ".", 21, max_loss=0.104, lost=0.1234)[0][-1].lost.map <= 0.104


def test_gain_is_no_loss(tmp_path):
    ((found,), _) = run_search(tmp_path, 1, max_loss=0.0, lost=-0.05)
    assert found.lost.map == pytest.approx(-0.05)
