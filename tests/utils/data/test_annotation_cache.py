"""What is read from the cache is what would be read from the files."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from tests.vocset import add_image
from utils.data import file_contents, vocfolder
from utils.data.annotation import read_samples
from utils.data.annotation_cache import cache_path
from utils.data.classes import find_classes
from utils.data.datacheck import decode_all
from utils.data.imagesets import ImageRef
from utils.data.vocfolder import VocFolders

NAMES = ["plain", "empty", "turned", "beyond", "unnamed", "héron", "broken", "blank"]
AN_HOUR_AGO = 10**9 * 3600


@pytest.fixture
def voc(tmp_path, monkeypatch):
    """A folder of every kind of image, all of which are old enough to be kept."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(vocfolder, "WORTH_KEEPING", 1)
    monkeypatch.setattr("utils.data.annotation_cache.SETTLED", -(10**18))
    voc = tmp_path / "VOC2007"
    add_image(voc, "plain", [("cat", (1.1, 2, 30.7, 40)), ("dog", (5, 5, 20, 20), 1)])
    add_image(voc, "empty")
    add_image(voc, "turned", [("cat", (30, 30, 10, 10))], (40, 50))
    add_image(voc, "beyond", [("cat", (-9, 10, 90, 50)), ("cat", ("nan", 1, "inf", 9))])
    add_image(voc, "unnamed", [("", (1, 1, 20, 20)), ("bird", (1, 1, 20, 20))])
    add_image(voc, "héron", [("héron", (1, 1, 20, 20))])
    add_image(voc, "broken")[1].write_text("no xml")
    add_image(voc, "blank")[0].write_bytes(b"no image")
    return voc


def read(voc, classes=("cat", "dog", "héron"), thorough=True):
    """Returns everything that a job reads, as plain text."""
    folders = VocFolders(thorough)
    refs = [ImageRef(voc, name) for name in NAMES]
    found = find_classes(refs, folders)
    samples, faults = read_samples(refs, classes, folders)
    decoded = decode_all(samples, "train", folders)
    folders.save()
    rows = [
        [sample.image_id, str(sample.image), sample.width, sample.height]
        + [[column.tolist(), str(column.dtype)] for column in columns(sample)]
        for sample in decoded.samples
    ]
    digests = sorted(digest.hex() for digest in decoded.by_digest)
    texts = [str(fault) + fault.kind for fault in faults + decoded.faults]
    return json.dumps([rows, digests, texts, found])


def columns(sample):
    return sample.boxes, sample.labels, sample.difficult, sample.crowd


@pytest.fixture
def opened(monkeypatch):
    """Names of the files that are read, in place of their content being taken from the cache."""
    names = []

    def watch(function):
        original = getattr(file_contents, function)

        def reading(*arguments):
            names.extend(each.name for each in arguments if isinstance(each, Path))
            return original(*arguments)

        monkeypatch.setattr(file_contents, function, reading)

    for function in ("read_annotation", "read_image_header", "read_image", "read_header"):
        watch(function)
    return names


def test_results_are_the_same_with_and_without_a_cache(voc, opened):
    plain = read(voc, thorough=False)
    assert read(voc) == plain
    opened.clear()
    assert read(voc) == plain
    assert set(opened) == {"broken.xml", "blank.png"}  # faults are found anew each time
    assert read(voc, ["dog"]) == read(voc, ["dog"], thorough=False)


def test_only_changed_files_are_read_again(voc, opened):
    read(voc)
    xml = voc / "Annotations" / "plain.xml"
    before = xml.stat()
    xml.write_text(xml.read_text().replace("cat", "dog"))  # of the same size
    os.utime(xml, ns=(before.st_atime_ns, before.st_mtime_ns))
    add_image(voc, "empty", image=np.zeros((20, 30, 3), np.uint8))
    opened.clear()
    again = read(voc)
    assert set(opened) == {"plain.xml", "empty.xml", "empty.png", "broken.xml", "blank.png"}
    assert again == read(voc, thorough=False)
    opened.clear()
    assert read(voc) == again
    assert set(opened) == {"broken.xml", "blank.png"}


def test_files_that_changed_just_before_they_were_read_are_not_kept(voc, opened, monkeypatch):
    monkeypatch.setattr("utils.data.annotation_cache.SETTLED", AN_HOUR_AGO)
    read(voc)
    opened.clear()
    read(voc)
    assert "plain.xml" in opened


def test_a_missing_file_is_forgotten(voc):
    read(voc)
    (voc / "Annotations" / "plain.xml").unlink()
    assert read(voc) == read(voc, thorough=False)


@pytest.mark.parametrize("damage", ["cut", "bits", "text", "columns", "empty"])
def test_a_damaged_cache_is_reported_and_written_again(voc, opened, damage, capsys):
    plain = read(voc)
    path = cache_path(voc)
    data = path.read_bytes()
    if damage == "columns":
        with np.load(path) as file:
            np.savez(path, **{**file, "xml_class_of": file["xml_class_of"] + 100})
    else:
        middle = len(data) // 2
        flipped = data[:middle] + bytes(255 - byte for byte in data[middle:])
        path.write_bytes({"cut": data[:middle], "bits": flipped, "text": b"?"}.get(damage, b""))
    assert read(voc) == plain
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"note: {path} is damaged")
    opened.clear()
    assert read(voc) == plain
    assert "plain.xml" not in opened


def test_a_cache_of_python_objects_is_not_opened(voc, capsys):
    plain = read(voc)
    path = cache_path(voc)
    with np.load(path) as file:
        np.savez(path, **{**file, "format": np.array([print], object)}, allow_pickle=True)
    assert read(voc) == plain
    assert "is damaged" in capsys.readouterr().err


def test_a_cache_that_cannot_be_written_is_reported(voc, tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert read(voc) == read(voc, thorough=False)
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("note: cannot keep what was read from")


def test_small_sets_are_not_kept(voc, monkeypatch):
    monkeypatch.setattr(vocfolder, "WORTH_KEEPING", 1000)
    read(voc)
    assert not cache_path(voc).exists()
