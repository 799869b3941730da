import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from nets.assigner import GroundTruth, assign, shape_iou
from nets.versions import VERSIONS

ANCHORS = VERSIONS["v4"].anchor_array
SIZE = (64, 96)  # levels of 8x12, 4x6 and 2x3 cells: 288 + 72 + 18 predictions


def assigned(boxes, labels, match_iou=1.0, neighbours=False):
    """Returns the assignment of the second image of a batch: {row: index of the ground truth}."""
    boxes = np.asarray(boxes, np.float32).reshape(1, -1, 4)
    labels = np.asarray(labels, np.int32)[None]
    mirrored = np.float32([SIZE[1], SIZE[0]] * 2) - boxes[..., [2, 3, 0, 1]]
    boxes, labels = np.concatenate([mirrored, boxes]), np.concatenate([labels, labels])
    truth = GroundTruth(ops.convert_to_tensor(boxes), ops.convert_to_tensor(labels))
    result = assign(truth, ANCHORS, SIZE, match_iou, neighbours)
    rows, positive, objectness = (ops.convert_to_numpy(part)[1] for part in result)
    candidates_per_object = len(rows) // boxes.shape[1]
    claims = {int(rows[i]): i // candidates_per_object for i in np.flatnonzero(positive)}
    assert len(claims) == positive.sum(), "two ground truths share a prediction"
    assert set(np.flatnonzero(objectness)) == set(claims)
    return claims


def test_shape_iou_by_hand():
    # 10x20 in 20x20: shared 200 of 400. 10x20 and 40x10: shared 100 of 200 + 400 - 100.
    iou = shape_iou(ops.convert_to_tensor([[10.0, 20.0]]), np.float32([[20, 20], [40, 10]]))
    np.testing.assert_allclose(ops.convert_to_numpy(iou), [[0.5, 0.2]], atol=1e-6)


def test_the_cell_of_the_centre_at_the_level_of_the_best_anchor_is_assigned():
    # 40x28 is the third anchor of stride 8. Centre (50, 30): column 6, row 3.
    assert assigned([[30, 16, 70, 44]], [0]) == {(3 * 12 + 6) * 3 + 2: 0}
    # 72x146 is the third of stride 16: column 3, row 1 of 4x6 cells, which follow 288 rows.
    assert assigned([[14, -43, 86, 103]], [0]) == {288 + (1 * 6 + 3) * 3 + 2: 0}


def test_all_anchors_of_a_similar_shape_are_assigned():
    # The IoU of 40x28 and 19x36 is 19x28 / 1272 = 0.42. With 12x16 it is 0.17; with 36x75, 0.36;
    # with 76x55, 0.27; with 72x146, 0.11. Four exceed 0.213: the last two of stride 8, two of 16.
    claims = assigned([[30, 16, 70, 44]], [0], match_iou=0.213)
    stride8, stride16 = (3 * 12 + 6) * 3, 288 + (1 * 6 + 3) * 3
    assert claims == {stride8 + 1: 0, stride8 + 2: 0, stride16 + 0: 0, stride16 + 1: 0}


def test_two_ground_truths_never_share_a_prediction():
    better, worse = [30, 16, 70, 44], [31, 16, 69, 44]
    row = (3 * 12 + 6) * 3 + 2
    assert assigned([worse, better], [0, 1]) == {row: 1}
    assert assigned([better, better], [0, 1]) == {row: 0}  # if equal, the earlier one


def test_the_earliest_of_800_equal_ground_truths_wins():
    claims = assigned([[30, 16, 70, 44]] * 800, [0] * 800, neighbours=True)
    assert set(claims.values()) == {0}


def test_the_two_nearest_neighbouring_cells_are_assigned():
    # Centre (50, 30) at stride 8 is (6.25, 3.75) in cells. Nearest neighbours: left and below.
    expected = [(3, 6), (3, 5), (4, 6)]
    claims = assigned([[30, 16, 70, 44]], [0], neighbours=True)
    assert claims == {(row * 12 + column) * 3 + 2: 0 for row, column in expected}


def test_neighbours_beyond_the_border_are_left_out():
    # Centre (2, 62) is (0.25, 7.75) in a grid of 12 x 8 cells, with none on the left and below.
    claims = assigned([[-18, 48, 22, 76]], [0], neighbours=True)
    assert claims == {(7 * 12 + 0) * 3 + 2: 0}


def test_the_centre_cell_wins_against_a_better_shape_from_a_neighbouring_cell():
    # Centres (45, 30) and (50, 30): columns 5.6 and 6.25, so each is the other's neighbour.
    exact, wider = [25, 16, 65, 44], [29, 16, 71, 44]
    claims = assigned([exact, wider], [0, 1], neighbours=True)
    assert claims[(3 * 12 + 6) * 3 + 2] == 1 and claims[(3 * 12 + 5) * 3 + 2] == 0


def test_padding_is_assigned_to_nothing():
    assert assigned([[30, 16, 70, 44], [0, 0, 0, 0]], [-1, -1]) == {}


def test_a_centre_on_the_far_border_is_in_the_last_cell():
    claims = assigned([[90, 58, 102, 70]], [0])  # centre (96, 64) of an input of 96x64
    assert list(claims) == [(7 * 12 + 11) * 3]


def by_loops(boxes, labels, match_iou, neighbours):
    """Applies the same rules to one ground truth and one anchor at a time."""
    claims = {}
    for index, (box, label) in enumerate(zip(boxes, labels, strict=True)):
        if label < 0:
            continue
        x1, y1, x2, y2 = (float(side) for side in box)
        fits = []
        for width, height in ANCHORS.reshape(-1, 2).tolist():
            shared = min(x2 - x1, width) * min(y2 - y1, height)
            fits.append(shared / ((x2 - x1) * (y2 - y1) + width * height - shared))
        for anchor, fit in enumerate(fits):
            if fit <= match_iou and anchor != int(np.argmax(fits)):
                continue
            level, slot = divmod(anchor, 3)
            stride = 8 << level
            columns, rows = SIZE[1] // stride, SIZE[0] // stride
            x, y = (x1 + x2) / 2 / stride, (y1 + y2) / 2 / stride
            column, row = min(max(int(x), 0), columns - 1), min(max(int(y), 0), rows - 1)
            cells = [(column, row)]
            if neighbours:
                cells.append((column + (-1 if x - column < 0.5 else 1), row))
                cells.append((column, row + (-1 if y - row < 0.5 else 1)))
            for place, (column, row) in enumerate(cells):
                if not (0 <= column < columns and 0 <= row < rows):
                    continue
                key = (0, 288, 360)[level] + (row * columns + column) * 3 + slot
                rank = (place == 0, int(fit * 1e4))
                if key not in claims or rank > claims[key][0]:
                    claims[key] = (rank, index)
    return {key: index for key, (_, index) in claims.items()}


@st.composite
def objects(draw):
    count = draw(st.integers(1, 8))
    boxes = []
    for _ in range(count):
        x, y = draw(st.integers(0, 80)), draw(st.integers(0, 50))
        boxes.append((x, y, x + draw(st.integers(3, 96)), y + draw(st.integers(3, 64))))
    return boxes, draw(st.lists(st.integers(-1, 3), min_size=count, max_size=count))


@settings(max_examples=60, deadline=None)
@given(objects(), st.sampled_from([0.213, 0.5, 1.0]), st.booleans())
def test_assignment_equals_plain_loops(made, match_iou, neighbours):
    boxes, labels = made
    expected = by_loops(boxes, labels, match_iou, neighbours)
    found = assigned(boxes, labels, match_iou, neighbours)
    assert found.keys() == expected.keys()
    # Shape IoUs that agree to four digits count as equal; rounding may decide between them.
    differing = [key for key in found if found[key] != expected[key]]
    for key in differing:
        sizes = [np.subtract(boxes[i][2:], boxes[i][:2]) for i in (found[key], expected[key])]
        fits = ops.convert_to_numpy(
            shape_iou(ops.convert_to_tensor(np.float32(sizes)), ANCHORS.reshape(-1, 2))
        )
        assert np.abs(fits[0] - fits[1]).min() == pytest.approx(0, abs=2e-4)
