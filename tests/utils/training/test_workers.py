import numpy as np
import pytest

from tests.threaded_workers import run_workers
from utils.errors import UserError
from utils.inference.detections import Detections
from utils.training.shared_results import PassResult, from_bytes, joined, to_bytes
from utils.training.workers import Workers


def test_a_request_to_one_worker_stops_all_at_the_same_step():
    def steps(workers):
        for step in range(9):
            workers.agree(workers.index == 1 and step >= 4, objects=0)
            if workers.stops(False):
                return step
        return None

    assert run_workers(3, steps) == [4, 4, 4]


def test_batches_are_padded_for_the_worker_with_the_most_objects():
    assert run_workers(3, lambda workers: workers.agree(False, 10 * workers.index)) == [20, 20, 20]


def test_all_workers_have_the_time_of_the_chief():
    def times(workers):
        first = workers.now()
        workers.update_time()
        return first, workers.now()

    (first, second), *others = run_workers(3, times)
    assert others == [(first, second)] * 2
    assert second > first


@pytest.mark.parametrize("longest", [0, 1, 100, 8000])  # up to 2 MB, in several messages
def test_workers_gather_data_of_any_lengths(longest):
    data = [b"", bytes(range(251)) * longest, bytes(range(256))]
    assert run_workers(3, lambda workers: workers.gather(data[workers.index])) == [data] * 3


def test_value_of_the_chief_reaches_all_workers_exactly():
    values = [{"map": 0.1 + 0.2, "epoch": 3}, None]
    assert run_workers(2, lambda w: w.from_chief(values[w.index])) == [values[0]] * 2


@pytest.mark.parametrize(("count", "rows"), [(1, [8]), (2, [4, 4]), (4, [2, 2, 2, 2])])
def test_each_worker_prepares_an_equal_part_of_the_batch(count, rows):
    found = run_workers(count, lambda workers: workers.rows(8))
    assert [*map(len, found)] == rows
    assert [row for part in found for row in part] == [*range(8)]


def test_workers_with_other_settings_are_an_error_on_all():
    def compare(workers):
        with pytest.raises(UserError, match=r"worker 2 of 3 \(host2:1002\) .* in lr: start all"):
            workers.require_same({"epochs": 3, "lr": 0.1 if workers.index < 2 else 0.2})
        return True

    assert run_workers(3, compare) == [True] * 3


def test_a_process_alone_exchanges_nothing():
    workers = Workers()
    assert workers.count == 1 and workers.is_chief
    assert workers.rows(8) == range(8)
    assert workers.agree(False, 5) == 5
    assert workers.stops(True) and not workers.stops(False)
    assert workers.from_chief({"a": (1,)}) == {"a": (1,)}
    workers.require_same({"a": 1})
    workers.finish()


def test_parts_of_a_validation_survive_the_exchange():
    found = Detections(
        np.float32([[1, 2, 3, 4.1]]), np.float32([0.3]), np.int32([7]), at_limit=True
    )
    none = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int32))
    part = PassResult([none, found], {"box": 0.1, "class": 0.2}, 3.0)
    empty = PassResult([], {}, 0.0)
    whole = joined([from_bytes(to_bytes(each)) for each in (part, empty, part)])
    assert [len(each) for each in whole.found] == [0, 1, 0, 1]
    for each in whole.found[1::2]:
        np.testing.assert_array_equal(each.boxes, found.boxes)
        np.testing.assert_array_equal(each.scores, found.scores)
        np.testing.assert_array_equal(each.labels, found.labels)
        assert each.at_limit and each.labels.dtype == np.int32
    assert whole.sums == {"box": 0.2, "class": 0.4}
    assert whole.positives == 6.0
