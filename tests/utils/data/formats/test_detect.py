from pathlib import Path

import pytest

from tests.foreignset import add_coco
from utils.data.formats.detect import conversion_hint, detect_format
from utils.data.imagesets import voc_dirs
from utils.errors import UserError


@pytest.mark.parametrize(
    ("file", "text", "found"),
    [
        ("data.yaml", "train: images\nnames: [cat]", "yolo"),
        ("any.yml", "val: images\nnames: [cat]", "yolo"),
        ("classes.txt", "cat", "yolo"),
        ("labels/classes.txt", "cat", "yolo"),
        ("train/_darknet.labels", "cat", "yolo"),
        ("obj.data", "classes = 1\ntrain = train.txt\nnames = obj.names", "yolo"),
        ("notes.json", '{"categories": []}', None),  # Label Studio's, beside classes.txt
        ("compose.yaml", "services: {}", None),
        ("settings.json", "{}", None),
        ("annotations/notes.txt", "", None),
    ],
)
def test_a_dataset_is_recognized_by_its_files(tmp_path, file, text, found):
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    assert detect_format(tmp_path) == found


@pytest.mark.parametrize(
    "file",
    ["annotations/instances_val.json", "train/_annotations.coco.json", "annotations.json"],
)
def test_coco_is_recognized_by_its_keys(tmp_path, file):
    path = add_coco(tmp_path / file, ["a.jpg"], [])
    assert detect_format(tmp_path) == detect_format(path) == "coco"


def test_the_hint_is_a_command_for_the_shell(tmp_path, monkeypatch):
    folder = tmp_path / "my set"
    add_coco(folder / "all.json", [], [])
    hint = f"`python convert_dataset.py '{folder}' --from coco --out 'my set-voc'`"
    assert conversion_hint(folder).endswith(hint)
    with pytest.raises(UserError, match=r"no VOC folder in .*it is a COCO dataset"):
        voc_dirs(folder)
    with pytest.raises(UserError, match=r"all\.json is not a folder: it is a COCO dataset"):
        voc_dirs(folder / "all.json")
    monkeypatch.chdir(folder)
    assert conversion_hint(tmp_path / "nothing") is None
    assert conversion_hint(Path()).endswith(hint)
