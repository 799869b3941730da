import json

import pytest

from utils.training.budget import TimeBudget


def test_share_of_the_time_for_training():
    assert TimeBudget(None).share(1e9) == 0.0
    budget = TimeBudget(100.0)
    assert [budget.share(second) for second in (0, 25, 100, 1000)] == [0.0, 0.25, 1.0, 1.0]
    budget.continue_from(0.0, 20.0)  # preparing took 20 s
    budget.reserve(30.0, 20.0)  # so training takes from second 20 to 70
    assert [budget.share(second) for second in (20, 45, 70)] == [0.0, 0.5, 1.0]


def test_share_neither_jumps_nor_goes_back_when_the_reserve_changes():
    budget = TimeBudget(100.0)
    budget.reserve(50.0, 25.0)
    assert budget.share(25.0) == 0.25
    assert budget.share(50.0) == 1.0
    budget.reserve(25.0, 30.0)  # after 0.25 + 0.75 / 5
    assert budget.share(30.0) == pytest.approx(0.4)
    assert budget.share(52.5) == pytest.approx(0.7)  # half of the way from second 30 to 75
    budget.reserve(0.0, 80.0)
    assert budget.share(90.0) == 1.0  # it was complete before


def test_restored_budget_continues():
    budget = TimeBudget(100.0)
    budget.reserve(20.0, 10.0)
    budget.spent, budget.validation = 3.0, 1.5
    restored = TimeBudget(100.0)
    restored.restore(json.loads(json.dumps(budget.to_json())))
    assert restored.to_json() == budget.to_json()
    assert restored.share(40.0) == budget.share(40.0)


def test_budget_restored_with_a_higher_limit_goes_on():
    complete = TimeBudget(100.0)
    complete.reserve(20.0, 10.0)
    complete.continue_from(complete.share(90.0), 90.0)
    extended = TimeBudget(200.0)
    extended.restore(complete.to_json())
    assert extended.share(90.0) == 0.5
    assert extended.share(135.0) == pytest.approx(0.75)  # half of the way from second 90 to 180
