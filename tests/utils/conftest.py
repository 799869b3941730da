import dataclasses

import pytest

from nets.conventions import KERAS
from nets.versions import VERSIONS, with_anchors
from utils.config import Recipe, RunConfig


@pytest.fixture
def run_config():
    """A config in which all fields differ from their defaults."""
    version = with_anchors(VERSIONS["v4"], VERSIONS["v4"].anchor_array / 3)
    return RunConfig(
        backbone="ghostnet",
        width=0.5,
        convention=dataclasses.replace(KERAS, hard_sigmoid_slope=0.2),
        yolo=dataclasses.replace(version, conv="plain"),
        input_size=(320, 416),
        recipe=Recipe(epochs=None, max_minutes=12.5, optimizer="sgd"),
        data="VOCdevkit",
        train_set="2007:trainval",
        val_set="2012:val",
        split="train on 2007:trainval, validate on 2012:val",
        images="0123456789abcdef",
        weights="imagenet",
        resize="stretch",
    )
