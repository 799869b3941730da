import threading
from contextlib import closing
from functools import partial

import pytest

from utils import lookahead
from utils.errors import JobError
from utils.lookahead import look_ahead, read_ahead, read_one

DEADLINE = 20  # seconds until a test that waits for a thread fails
TIMEOUT = 1.0  # seconds that a test waits for a result; enough for one that comes


def test_results_come_in_order_although_later_tasks_finish_first():
    finished = [threading.Event() for _ in range(4)]

    def task(number):
        if number < 3:
            assert finished[number + 1].wait(DEADLINE)
        finished[number].set()
        return number

    tasks = [partial(task, number) for number in range(4)]
    assert list(look_ahead(tasks, depth=4, workers=4)) == [0, 1, 2, 3]


def test_no_tasks_give_no_results():
    assert list(look_ahead([], depth=3)) == []


@pytest.mark.parametrize("depth", [1, 3])
def test_at_most_depth_tasks_are_taken_ahead(depth):
    taken = []

    def tasks():
        for number in range(10):
            taken.append(number)
            yield partial(int, number)

    for number, result in enumerate(look_ahead(tasks(), depth, workers=2)):
        assert result == number
        # This result is one of the `depth` tasks; the next task is taken only at the next step.
        assert len(taken) == min(number + depth, 10)


def test_tasks_run_before_their_results_are_requested():
    started = threading.Event()
    results = look_ahead([partial(int, 0), started.set], depth=2)
    assert next(results) == 0
    assert started.wait(DEADLINE)
    assert list(results) == [None]


def test_tasks_are_taken_in_the_calling_thread_and_run_in_others():
    threads = {"taken": set(), "run": set()}

    def tasks():
        for _ in range(3):
            threads["taken"].add(threading.get_ident())
            yield lambda: threads["run"].add(threading.get_ident())

    list(look_ahead(tasks(), depth=2, workers=2))
    assert threads["taken"] == {threading.get_ident()}
    assert threading.get_ident() not in threads["run"]


def test_an_error_is_raised_in_place_of_its_result():
    tasks = [partial(int, "0"), partial(int, "1"), partial(int, "two"), partial(int, "3")]
    results = look_ahead(tasks, depth=4)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ValueError, match="two"):
        next(results)
    with pytest.raises(StopIteration):
        next(results)


def test_a_result_that_takes_too_long_is_an_error():
    release = threading.Event()
    results = look_ahead([partial(int, 0), partial(release.wait, DEADLINE)], 2, timeout=TIMEOUT)
    assert next(results) == 0
    with pytest.raises(TimeoutError):
        next(results)
    release.set()


def test_closing_early_drops_tasks_that_have_not_started():
    release, started = threading.Event(), []

    def task(number):
        started.append(number)
        assert number == 0 or release.wait(DEADLINE)

    with closing(look_ahead((partial(task, n) for n in range(10)), 4, timeout=60)) as results:
        next(results)
    release.set()
    for thread in threading.enumerate():
        if thread.name.startswith("look-ahead"):
            thread.join(DEADLINE)
            assert not thread.is_alive()
    assert started in ([0], [0, 1])


def test_closing_early_with_a_timeout_does_not_wait():
    release = threading.Event()
    results = look_ahead([partial(int, 0), partial(release.wait, DEADLINE)], 2, timeout=60)
    next(results)
    results.close()
    assert any(thread.name.startswith("look-ahead") for thread in threading.enumerate())
    release.set()


def test_closing_early_without_a_timeout_waits_for_running_tasks():
    started, release, finished = threading.Event(), threading.Event(), []

    def task():
        started.set()
        assert release.wait(DEADLINE)
        finished.append(True)

    results = look_ahead([partial(int, 0), task], 2)
    next(results)
    assert started.wait(DEADLINE)
    threading.Timer(0.05, release.set).start()
    results.close()
    assert finished == [True]


def test_threads_that_hang_do_not_keep_the_process_from_exiting():
    release = threading.Event()
    results = look_ahead([partial(int, 0), partial(release.wait, DEADLINE)], 2, timeout=60)
    next(results)
    threads = [each for each in threading.enumerate() if each.name.startswith("look-ahead")]
    assert threads
    assert all(thread.daemon for thread in threads)
    release.set()
    results.close()


def test_reading_ahead_names_the_item_that_gives_no_data(monkeypatch):
    monkeypatch.setattr(lookahead, "READ_TIMEOUT", TIMEOUT)
    release = threading.Event()

    def read(name):
        return name if name == "a.jpg" else release.wait(DEADLINE)

    results = read_ahead(read, ["a.jpg", "b.jpg", "c.jpg"], depth=3, workers=2)
    assert next(results) == "a.jpg"
    with pytest.raises(JobError, match=r"b\.jpg gave no data for 1 s.* still responds"):
        next(results)
    with pytest.raises(JobError, match=r"name of c"):
        read_one(lambda item: read(item), "c", lambda item: f"name of {item}")
    release.set()


def test_reading_ahead_is_lazy_and_keeps_order_and_errors():
    results = read_ahead(int, iter(["0", "1", "two", "3"]), depth=2, workers=2)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ValueError, match="two"):
        next(results)
    assert list(read_ahead(int, [])) == []
