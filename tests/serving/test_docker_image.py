"""The image of the service has only some of the packages that training needs."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
MODULES = {"opencv-python": "cv2", "pillow": "PIL", "pyyaml": "yaml"}  # with another name
CODE = """
import sys
sys.modules.update(dict.fromkeys({absent!r}))  # importing them is an error
import serve, utils.serving.server, utils.inference.engines.onnx
"""


def test_service_needs_only_the_packages_of_the_image():
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    required = {line.partition("==")[0] for line in lines if "==" in line}
    docker = (ROOT / "Dockerfile").read_text()
    present = set(re.search(r"\^\((\S+)\)==' requirements\.txt", docker)[1].split("|"))
    assert present < required
    absent = sorted(MODULES.get(name, name) for name in required - present)
    code = CODE.format(absent=absent)
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
