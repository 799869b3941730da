"""--help of every script, which must not wait for libraries that take seconds to import."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPTS = {path.stem for path in ROOT.glob("*.py")}
# OpenCV takes less than a second. These scripts import it at once, the others only for their job.
WITH_OPENCV = {"contact_sheet", "convert_dataset", "kmeans_for_anchors", "train", "voc_annotation"}
CODE = """
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module(name).build_parser().format_help()
print({"tensorflow", "keras", "matplotlib", "cv2"} & {*sys.modules})
"""


@pytest.mark.parametrize(
    ("names", "imported"),
    [(SCRIPTS - WITH_OPENCV, "set()\n"), (WITH_OPENCV, "{'cv2'}\n")],
    ids=["without OpenCV", "with OpenCV"],
)
def test_help_imports_no_heavy_library(names, imported):
    command = [sys.executable, "-c", CODE, *sorted(names)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True)
    assert done.stdout == imported
