from utils.export.latency import median_ms, time_in_turn


def test_functions_are_called_in_blocks():
    calls = []
    functions = {name: lambda name=name: calls.append(name) for name in "ab"}
    times = time_in_turn(functions, rounds=2, calls=3)
    assert "".join(calls) == "aaaabbbbaaaabbbb"  # the first of each block is not timed
    assert {name: len(each) for name, each in times.items()} == {"a": 6, "b": 6}
    assert min(times["a"] + times["b"]) >= 0


def test_medians_are_milliseconds(monkeypatch):
    clock = iter([0, 9, 0, 0.001, 0, 0.003, 0, 0.004, 0, 0.005])
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    assert median_ms({"a": lambda: None}, rounds=1, calls=5) == {"a": 4.0}
