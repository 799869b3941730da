"""The examples find the same boxes as the run, without importing anything of the project."""

import ast
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.exported import make_run
from utils.data.encoding import write_image
from utils.export.formats import ExportSettings
from utils.export.job import describe, export_float
from utils.inference.thresholds import Thresholds

EXAMPLES = Path(__file__).parents[1] / "examples"
THRESHOLDS = Thresholds(confidence=0.3, iou=0.4, max_boxes=50)
FORMATS = {
    "onnxruntime": ("onnx", "onnxruntime", None),
    "openvino": ("openvino", "openvino", None),
    "litert": ("litert", "ai_edge_litert", 1),
    "saved_model": ("saved_model", "tensorflow", None),
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def photo():
    """An image that is shrunk and padded, with large and small patterns."""
    random = np.random.default_rng(11)
    return random.integers(0, 256, (10, 9, 3), np.uint8).repeat(17, axis=0).repeat(17, axis=1)


@pytest.mark.parametrize("name", FORMATS)
def test_example_finds_the_boxes_of_the_run(name, run, photo, tmp_path, monkeypatch, capsys):
    form, package, batch = FORMATS[name]
    pytest.importorskip(package)
    settings = ExportSettings(form, batch=batch)
    model = tmp_path / settings.file_name
    export_float(run, settings, describe(run, settings, THRESHOLDS), model)
    write_image(tmp_path / "photo.png", photo)
    monkeypatch.setattr(sys, "argv", ["example", str(model), str(tmp_path / "photo.png")])
    capsys.readouterr()
    runpy.run_path(str(EXAMPLES / f"detect_{name}.py"))
    lines = [line.rsplit(maxsplit=5) for line in capsys.readouterr().out.splitlines()]

    (expected,) = run.predictor(THRESHOLDS)([photo])
    assert len(expected) > 5
    assert [line[0] for line in lines] == [run.classes[label] for label in expected.labels]
    numbers = np.array([line[1:] for line in lines], float)
    np.testing.assert_allclose(numbers[:, 0], expected.scores, atol=2e-4)
    np.testing.assert_allclose(numbers[:, 1:], expected.boxes, atol=0.02)


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_example_is_short_and_imports_nothing_of_the_project(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) < 60
    imports = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Import)]
    imports += [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom)]
    names = {getattr(node, "module", None) or node.names[0].name for node in imports}
    assert not {name.partition(".")[0] for name in names} & {"nets", "utils", "tests"}
