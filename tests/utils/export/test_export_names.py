"""Names of the files in the export folder of a run."""

from itertools import product

import pytest

from utils.errors import UserError
from utils.export.formats import FORMATS, PRECISIONS, ExportSettings


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        (ExportSettings("onnx"), "detector-float32.onnx"),
        (ExportSettings("onnx", "int8", 1, nms=True), "detector-int8-nms-batch1.onnx"),
        (ExportSettings("openvino", "float16", 4), "detector-float16-batch4_openvino"),
        (ExportSettings("litert", "int8", 1), "detector-int8.tflite"),
        (ExportSettings("litert", "int8", 2), "detector-int8-batch2.tflite"),
    ],
)
def test_names_say_what_is_not_the_default(settings, name):
    assert settings.file_name == name


def test_no_two_exports_of_a_run_have_the_same_name():
    names = []
    for choice in product(FORMATS, PRECISIONS, (None, 1, 2), (False, True)):
        try:
            names.append(ExportSettings(*choice).file_name)
        except UserError:  # the format cannot have it
            continue
    assert len(set(names)) == len(names) > 30
