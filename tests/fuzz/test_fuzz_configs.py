"""The description of a run, and the weights that must belong to it."""

import dataclasses
import json
import math
import types
import typing

import numpy as np
import pytest

from nets.conventions import KERAS
from nets.versions import VERSIONS
from tests.fuzzing import changed, changed_lines, damaged, judge
from utils.config import Recipe, RunConfig
from utils.run import RunDirectory, read_convention

CLASSES = ["cat", "red car"]


@pytest.fixture
def run(tmp_path):
    config = RunConfig("mobilenetv2", 1.0, KERAS, VERSIONS["v4"], (64, 96), Recipe(), "VOCdevkit")
    RunDirectory(tmp_path).describe(config, CLASSES)
    return RunDirectory(tmp_path)


def check_types(kind, value):
    """Checks that a value is of the type of its field, and finite."""
    if dataclasses.is_dataclass(kind):
        assert type(value) is kind
        for name, field in typing.get_type_hints(kind).items():
            check_types(field, getattr(value, name))
        return
    origin, choices = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Literal:
        assert (type(value), value) in [(type(choice), choice) for choice in choices]
    elif origin in (types.UnionType, typing.Union):
        if value is not None:
            check_types(next(each for each in choices if each is not types.NoneType), value)
    elif origin is tuple:
        assert type(value) is tuple
        if choices[-1] is ...:
            choices = choices[:1] * len(value)
        for each, item in zip(choices, value, strict=True):
            check_types(each, item)
    else:
        assert type(value) is kind or (kind is float and type(value) is int), (kind, value)
        assert not isinstance(value, float) or math.isfinite(value)


def check_description(run):
    found = judge(run.read_description)
    if found is not None:
        config, classes = found
        check_types(RunConfig, config)
        assert classes and all(classes)
        anchors = config.yolo.anchor_array
        assert anchors.ndim == 3 and len(anchors) == len(config.yolo.scale_xy)
        assert np.isfinite(anchors).all() and (anchors > 0).all()
    convention = judge(read_convention, run.path)
    assert convention is None or min(convention.std) > 0
    return found


def test_changed_configs(fuzz, run):
    config = run.description[-1]
    document = json.loads(config.read_text())

    def check(document):
        config.write_text(json.dumps(document))
        check_description(run)

    fuzz(check, document=changed(document))


def test_damaged_configs(fuzz, run):
    config = run.description[-1]
    words = [
        b"{",
        b"}",
        b"[" * 3000,
        b'"',
        b":",
        b"NaN",
        b"Infinity",
        b"1e999",
        b"\\ud800",
        b"9" * 5000,
    ]

    def check(data):
        config.write_bytes(data)
        check_description(run)

    fuzz(check, data=damaged([config.read_bytes(), b"[" * 100_000, b'{"a":' * 5000], words))


def test_changed_classes_and_anchors(fuzz, run):
    classes, anchors, _ = run.description

    def check(names, numbers):
        classes.write_bytes(names)
        anchors.write_bytes(numbers)
        check_description(run)

    fuzz(check, names=changed_lines("cat\ndog\n"), numbers=changed_lines(anchors.read_text()))


def test_damaged_image_names(fuzz, run):
    run.write_images({"train": ["a", "b c"], "val": ["红"]})
    good = run.images.read_bytes()

    def check(data):
        run.images.write_bytes(data)
        names = judge(run.read_images)
        assert all(names.values())

    fuzz(check, data=damaged([good]))
