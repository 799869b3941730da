import argparse

import numpy as np
import pytest
import supervision

from utils.inference.detections import Detections
from utils.inference.line_counter import Line, LineCounter, describe_crossings, parse_line

SIDE = 20
DOWN = Line((100, 50), (100, 150))


def frame(*centres, labels=None, ids=None):
    """Makes detections with their centres at these points, and the ids 1, 2, ..."""
    corners = np.array(
        [[x - SIDE / 2, y - SIDE / 2, x + SIDE / 2, y + SIDE / 2] for x, y in centres]
    )
    count = len(centres)
    return Detections(
        corners.astype(np.float32).reshape(-1, 4),
        np.ones(count, np.float32),
        np.array(labels or [0] * count, np.int32),
        track_ids=np.array(ids or range(1, count + 1), np.int32),
    )


def count(line, *frames):
    counter = LineCounter(line)
    for found in frames:
        counter.update(found, alive={1, 2, 3})
    return counter.counts


@pytest.mark.filterwarnings("ignore:Arrays of 2-dimensional vectors:DeprecationWarning")
@pytest.mark.parametrize("angle", [0, 40, 90, 200, 290])
@pytest.mark.parametrize("order", [1, -1])
def test_directions_are_those_of_supervision(angle, order):
    turned = np.deg2rad(angle)
    along = 100 * np.array([np.cos(turned), np.sin(turned)])
    across = np.array([-along[1], along[0]])
    start = np.array([300.0, 300.0])
    ways = [start + along / 2 + part * across for part in (-1, -0.5, 0.5, 1)][::order]
    frames = [frame(way) for way in ways]
    zone = supervision.LineZone(*(supervision.Point(*point) for point in (start, start + along)))
    for found in frames:
        zone.trigger(
            supervision.Detections(
                xyxy=found.boxes, class_id=found.labels, tracker_id=found.track_ids
            )
        )
    counts = count(Line(tuple(start), tuple(start + along)), *frames)
    assert {name: sum(each.values()) for name, each in counts.items()} == {
        "in": zone.in_count,
        "out": zone.out_count,
    }
    assert zone.in_count + zone.out_count == 1


def test_every_crossing_counts_in_its_direction():
    there_and_back = [frame((x, 100)) for x in (80, 120, 80, 120)]
    assert count(DOWN, *there_and_back) == {"in": {0: 2}, "out": {0: 1}}


def test_a_box_that_trembles_on_the_line_does_not_count():
    # A tenth of 20 pixels is 2: these centres are on neither side.
    trembling = [frame((x, 100)) for x in (80, 98.5, 101.5, 98.5, 101.5, 99)]
    assert count(DOWN, *trembling) == {"in": {}, "out": {}}
    assert count(DOWN, *trembling, frame((103, 100))) == {"in": {0: 1}, "out": {}}


@pytest.mark.parametrize(("y", "crossings"), [(49, 0), (51, 1), (149, 1), (151, 0)])
def test_the_extension_of_the_line_does_not_count(y, crossings):
    counts = count(DOWN, frame((80, y)), frame((120, y)))
    assert counts["in"].get(0, 0) == crossings


def test_an_object_that_walks_around_the_end_does_not_count():
    way = [(80, 100), (80, 30), (100, 20), (120, 30), (120, 100)]
    assert count(DOWN, *map(frame, way)) == {"in": {}, "out": {}}


def test_a_fast_object_crosses_where_its_way_meets_the_line():
    assert count(DOWN, frame((50, 0)), frame((110, 120))) == {"in": {0: 1}, "out": {}}  # at y = 100
    assert count(DOWN, frame((50, 0)), frame((110, 48))) == {"in": {}, "out": {}}  # at y = 40


def test_an_object_that_is_hidden_at_the_line_counts():
    hidden = frame()
    assert count(DOWN, frame((80, 100)), hidden, hidden, frame((120, 100)))["in"] == {0: 1}


def test_the_class_is_the_most_frequent_one_of_the_track():
    labels = [2, 2, 0, 2]
    frames = [
        frame((x, 100), labels=[label]) for x, label in zip((70, 80, 120, 130), labels, strict=True)
    ]
    assert count(DOWN, *frames) == {"in": {2: 1}, "out": {}}


def test_detections_without_a_track_do_not_count_and_dead_tracks_are_forgotten():
    assert count(DOWN, frame((80, 100), ids=[-1]), frame((120, 100), ids=[-1]))["in"] == {}
    # The id 9 is not alive, so nothing remains of its first frame.
    assert count(DOWN, frame((80, 100), ids=[9]), frame((120, 100), ids=[9]))["in"] == {}


def test_crossings_in_words():
    crossings = {"in": {1: 2, 0: 1}, "out": {}}
    assert describe_crossings(crossings, ["car", "bus"]) == ["in: 1 car, 2 bus", "out: 0"]


def test_a_line_is_four_numbers():
    assert parse_line("1, 2.5,-3,400") == Line((1, 2.5), (-3, 400))
    for text in ("", "1,2,3", "1,2,3,4,5", "nan,1,2,3", "1,2,1,2", "1;2;3;4"):
        with pytest.raises(argparse.ArgumentTypeError):
            parse_line(text)
