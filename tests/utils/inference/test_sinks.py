import numpy as np
import pytest

from tests.red_finder import picture
from utils.data.images import read_image
from utils.files import OutputFolder
from utils.inference.detections import Detections
from utils.inference.frames import Frame
from utils.inference.sinks import ClassCounts, Crops, NothingFoundNote
from utils.inference.sources import Source

IMAGE = Source("a.png", is_image=True, name="a")
VIDEO = Source("v.mp4", is_image=False, name="v")
CLASSES = ["cat", "red cell", "AC/DC: live\t*?"]


def make_frame(*labels, source=IMAGE, number=None):
    boxes = np.tile(np.float32([1.5, 2.5, 10.2, 12]), (len(labels), 1))
    detections = Detections(boxes, np.ones(len(labels), np.float32), np.array(labels, np.int32))
    return Frame(source, picture(24, 32), detections, CLASSES, number)


@pytest.mark.parametrize(
    ("label", "name"), [(0, "a_cat.png"), (1, "a_red_cell.png"), (2, "a_AC_DC_live_.png")]
)
def test_crops_have_clean_names(tmp_path, label, name):
    Crops(OutputFolder(tmp_path)).take(make_frame(label))
    assert list(tmp_path.iterdir()) == [tmp_path / name]


def test_crops_are_rounded_outwards(tmp_path):
    frame = make_frame(0)
    frame.image[2:12, 1:11] = 0
    Crops(OutputFolder(tmp_path)).take(frame)
    crop = read_image(tmp_path / "a_cat.png")
    assert crop.shape == (10, 10, 3)
    assert (crop == 0).all()


def test_counts_follow_the_labels_and_restart_with_each_video(capsys):
    counts = ClassCounts()
    for labels in ((1, 1, 0), (0, 0)):
        counts.take(make_frame(*labels))
        counts.end(IMAGE)
    for videos in (((1,), (0, 0), (1, 1)), ((0,), ())):
        for number, labels in enumerate(videos):
            counts.take(make_frame(*labels, source=VIDEO, number=number))
        counts.end(VIDEO)
    counts.finish()
    assert capsys.readouterr().out.splitlines() == [
        *("  1 cat, 2 red cell", "  2 cat"),
        *("  maximum in one frame: 2 cat, 2 red cell", "  maximum in one frame: 1 cat"),
        "in all images: 3 cat, 2 red cell",
    ]


@pytest.mark.parametrize(("labels", "expected"), [([], True), ([0], False)])
def test_note_appears_only_if_nothing_was_found(capsys, labels, expected):
    note = NothingFoundNote()
    note.take(make_frame())
    note.take(make_frame(*labels))
    note.end(IMAGE)
    note.finish()
    assert ("nothing was found" in capsys.readouterr().err) == expected


def test_note_is_silent_if_no_source_could_be_read(capsys):
    NothingFoundNote().finish()
    assert capsys.readouterr().err == ""
