import io

import pytest

from tests.terminal import Terminal
from utils.config import Recipe
from utils.training.display import Display, epoch_line
from utils.training.progress import Progress

TERMS = {"box": 1.0, "objectness": 2.0, "class": 0.5}
SCORES = {"val_loss": 4.25, "map50": 0.8125, "map": 0.5, "measured_at": 0.5}
FIRST = "epoch 1/2  loss 3.5000  box 1.0000  objectness 2.0000  class 0.5000  lr 1.00e-03"


@pytest.fixture
def clock(monkeypatch):
    seconds = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: seconds[0])
    return seconds


def train(stream, clock, seconds_per_step):
    """Shows two epochs of three steps, the second one without a validation."""
    progress = Progress(Recipe(epochs=2, freeze_share=0.0, batch_size=4), steps_per_epoch=3)
    display = Display(progress, stream=stream)
    for scores in (SCORES, {}):
        with display.epoch():
            for _ in range(3):
                clock[0] += seconds_per_step
                progress.add_losses(TERMS)
                progress.add_timing(seconds_per_step)
                progress.step += 1
                display.advance()
        progress.end_epoch(1e-3)
        progress.history[-1].update(scores)
        display.end_epoch()
    return stream.getvalue()


def test_log_has_a_line_per_epoch(clock):
    lines = train(io.StringIO(), clock, 8.0).splitlines()
    assert lines == [
        f"{FIRST}  0.5 img/s  val_loss 4.2500  mAP50 0.8125  mAP 0.5000  best so far",
        f"{FIRST}  0.5 img/s".replace("1/2", "2/2"),
    ]


def test_log_has_at_most_a_line_per_minute_within_an_epoch(clock):
    text = train(io.StringIO(), clock, 40.0)
    assert "\r" not in text and text.endswith("\n")
    within = [line for line in text.splitlines() if "step" in line]
    losses = "loss 3.5000  box 1.0000  objectness 2.0000  class 0.5000"
    assert within == [  # 80 s after the start, and 80 s after the line of the first epoch
        f"epoch 1/2, step 2/3  {losses}  0.1 img/s  02:40 left",
        f"epoch 2/2, step 2/3  {losses}  0.1 img/s  00:40 left",
    ]


def test_terminal_has_a_bar_that_vanishes_and_lines_that_stay(clock):
    screen = train(Terminal(), clock, 40.0)
    assert "step" in screen and "\r" in screen
    lines = [line for line in screen.split("\n") if line]
    # Each line is written after the bar was erased with spaces.
    assert [line.rsplit("\r", 1)[-1].startswith("epoch") for line in lines] == [True, True]
    assert lines[0].endswith("mAP 0.5000  best so far")
    erased = lines[0].rsplit("\r", 2)[-2]
    assert not erased.strip()


def test_line_of_an_epoch_whose_steps_were_all_skipped():
    row = {"epoch": 3, "learning_rate": 0.01, "images_per_second": 8.0, "skipped": 2}
    assert epoch_line(row, None, False) == "epoch 3  lr 1.00e-02  8.0 img/s  skipped 2"
