import numpy as np
import pytest

from utils.data.samples import Sample
from utils.errors import UserError
from utils.evaluation.boxfiles import read_box_files, write_box_files
from utils.inference.detections import Detections
from utils.text import unique_file_names


def test_boxes_are_read_back_exactly(tmp_path):
    rng = np.random.default_rng(0)
    classes = ["a cat", "difficult", "猫 2"]
    samples, detections = [], []
    for image_id in ("x/y", "x_y", "ж 3"):
        boxes = np.sort(rng.uniform(0, 999, (20, 2, 2)).astype(np.float32), axis=1).reshape(20, 4)
        labels = rng.integers(0, 3, 20).astype(np.int32)
        difficult = rng.random(20) < 0.5
        samples.append(Sample(image_id, None, boxes, labels, difficult, 999, 999))
        scores = np.float32(10.0) ** rng.uniform(-6, 0, 20).astype(np.float32)
        detections.append(Detections(boxes[::-1], scores, labels[::-1]))
    write_box_files(tmp_path, samples, detections, classes)
    (tmp_path / "detection-results" / ".part.a.txt").write_text("a cat 0.")  # left by a kill
    read_samples, read_detections, read_classes, notes = read_box_files(
        tmp_path / "ground-truth", tmp_path / "detection-results"
    )
    assert (read_classes, notes) == (sorted(classes), [])
    to_label = np.array([read_classes.index(name) for name in classes])
    # "x/y" becomes x_y, so x_y becomes x_y_2.
    assert [each.image_id for each in read_samples] == ["x_y", "x_y_2", "ж 3"]
    for written, read in zip(samples, read_samples, strict=True):
        np.testing.assert_array_equal(read.boxes, written.boxes)
        np.testing.assert_array_equal(read.labels, to_label[written.labels])
        np.testing.assert_array_equal(read.difficult, written.difficult)
    for written, read in zip(detections, read_detections, strict=True):
        np.testing.assert_array_equal(read.boxes, written.boxes)
        np.testing.assert_array_equal(read.scores, written.scores)
        np.testing.assert_array_equal(read.labels, to_label[written.labels])


def test_file_names_are_valid_and_unique():
    names = unique_file_names(["a/b", "a:b", "A_b", "", "x" * 300])
    assert names == ["a_b", "a_b_2", "A_b_3", "_", "x" * 100]


@pytest.fixture
def folders(tmp_path):
    """Returns a function that writes two folders of text files, given as `{name: text}`."""

    def write(truths, detections):
        for folder, files in (("gt", truths), ("dets", detections)):
            (tmp_path / folder).mkdir()
            for name, text in files.items():
                (tmp_path / folder / name).write_text(text, encoding="utf-8")
        return tmp_path / "gt", tmp_path / "dets"

    return write


def test_hand_written_files_are_read(folders):
    text = "\ufeffpotted plant 1 2 3.5 4e0 difficult\r\n\r\n  dog 0 0 0 0  \r\n"
    samples, detections, classes, _ = read_box_files(
        *folders({"a.txt": text}, {"a.txt": "potted plant 1 1 2 3 4"})
    )
    assert classes == ["dog", "potted plant"]
    assert samples[0].boxes.tolist() == [[1, 2, 3.5, 4], [0, 0, 0, 0]]
    assert samples[0].difficult.tolist() == [True, False]
    assert detections[0].labels.tolist() == [1]


@pytest.mark.parametrize(
    ("truth", "detection", "message"),
    [
        ("cat 1 2 3 4\ncat 1 2 3", "", r"gt.a\.txt:2: cannot read 'cat 1 2 3'"),
        ("1 2 3 4", "", r"gt.a\.txt:1"),
        ("cat 1 2 3 4", "cat 0.9 1 2 3", r"dets.a\.txt:1: .* expected `class score xmin"),
        ("cat 1 2 3 4", "cat 0.9 1 2 3 nan", r"dets.a\.txt:1: .* not finite, expected `class"),
        ("cat 1 2 3 4", "cat nan 1 2 3 4", r"dets.a\.txt:1: .* not finite, expected `class"),
        ("cat 1 2 inf 4", "", r"gt.a\.txt:1: .* not finite, expected `class"),
        ("cat 1 2 3 4", "\ncat 95 1 2 3 4", r"dets.a\.txt:2: the score .* not between 0 and 1"),
        ("cat 1 2 3 4", "cat -3 1 2 3 4", r"dets.a\.txt:1: the score .* not between 0 and 1"),
        ("cat 1 2 3 4", "cat 0.9 1 2 1e300 4", r"dets.a\.txt:1: .* more than 16777216 pixels"),
        ("cat -1e8 2 3 4", "", r"gt.a\.txt:1: .* more than 16777216 pixels away, expected `class"),
        ("cat 1 2 3 4", "cat 0.9 30 2 3 4", r"dets.a\.txt:1: .* ends before it begins"),
        ("cat 1 20 3 4", "", r"gt.a\.txt:1: .* ends before it begins, expected `class xmin"),
        ("", "cat 0.9 1 2 3 4", "no object in any file of .*gt"),
    ],
)
def test_malformed_lines_are_errors(folders, truth, detection, message):
    with pytest.raises(UserError, match=message):
        read_box_files(*folders({"a.txt": truth}, {"a.txt": detection}))


def test_unreadable_folders_are_errors(folders, tmp_path):
    truths, detections = folders({"a.txt": "cat 1 2 3 4"}, {})
    with pytest.raises(UserError, match=r"no \.txt file in .*dets"):
        read_box_files(truths, detections)
    with pytest.raises(UserError, match=r"no folder .*nowhere"):
        read_box_files(truths, tmp_path / "nowhere")
    (truths / "latin.txt").write_bytes("pingüino 1 2 3 4".encode("latin-1"))
    with pytest.raises(UserError, match=r"latin\.txt is not UTF-8"):
        read_box_files(truths, truths)


def test_unmatched_files_and_classes_are_noted(folders):
    samples, detections, classes, notes = read_box_files(
        *folders(
            {"a.txt": "cat 1 2 3 4", "b.txt": "cat 1 2 3 4"},
            {"a.txt": "cat 0.9 1 2 3 4\nfish 0.8 1 2 3 4\n", "c.txt": "cat 0.9 1 2 3 4"},
        )
    )
    assert classes == ["cat"]
    assert [len(found) for found in detections] == [1, 0]
    assert [each.image_id for each in samples] == ["a", "b"]
    assert "'fish'" in notes[0]
    assert "no detection file for b" in notes[1]
    assert "no ground truth file for c" in notes[2]


def test_detections_of_other_classes_only_are_not_scored(folders):
    truths, found = folders({"a.txt": "cat 1 2 3 4"}, {"a.txt": "Cat 0.9 1 2 3 4"})
    _, detections, classes, notes = read_box_files(truths, found)
    assert (classes, len(detections[0])) == (["cat"], 0)
    assert notes == [
        "class 'Cat' is not in the ground truth: its 1 detections are not scored",
        f"no class of {found} (Cat) is in {truths} (cat), use the same names in both",
    ]
