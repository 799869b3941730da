"""To which cluster a job connects, without Ray."""

import os
import socket
import sys
from types import ModuleType

import pytest

from utils.errors import UserError
from utils.ray_jobs import cluster
from utils.ray_jobs.cluster import connected, find_cluster


@pytest.fixture
def connections(monkeypatch):
    """Puts a module in the place of Ray; returns address and options of each connection."""
    made = []
    ray, data = ModuleType("ray"), ModuleType("ray.data")
    ray.data, ray.shutdown, ray.__version__ = data, lambda: None, "0"
    ray.init = lambda address, **options: made.append((address, options))
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setitem(sys.modules, "ray.data", data)
    monkeypatch.setattr(os, "environ", {**os.environ})
    for name in ("RAY_ADDRESS", "RAY_AUTH_TOKEN"):
        os.environ.pop(name, None)
    monkeypatch.setattr(cluster, "_check_reachable", lambda *_: None)
    return made


@pytest.mark.parametrize(
    ("flag", "variable", "expected"),
    [
        (None, None, "local"),
        (None, "10.0.0.1:6379", "10.0.0.1:6379"),
        ("auto", "10.0.0.1:6379", "auto"),
        ("10.0.0.2:6379", "local", "10.0.0.2:6379"),
        ("local", "10.0.0.1:6379", "local"),
        (None, "local", "local"),
    ],
)
def test_flag_comes_before_the_variable_and_a_new_cluster_is_closed_to_others(
    connections, flag, variable, expected
):
    if variable:
        os.environ["RAY_ADDRESS"] = variable
    with connected(find_cluster(flag)):
        pass
    [(address, options)] = connections
    assert address == expected
    assert ("RAY_AUTH_TOKEN" in os.environ) == (expected == "local")
    assert ("object_store_memory" in options) == (expected == "local")


@pytest.mark.parametrize(
    "address",
    ["10.0.0.1", "ray://10.0.0.1:10001", ":6379", "host:", "host:no", "host:0", "host:65536"],
)
def test_what_is_no_address_is_a_usage_error(address):
    message = f"{address} is no address of a Ray cluster, specify HOST:PORT or auto"
    with pytest.raises(UserError, match=message):
        find_cluster(address)


def test_address_where_nothing_listens_is_an_error_at_once():
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        assert find_cluster(address) == address
    with pytest.raises(UserError, match=f"cannot connect to a Ray cluster at {address}, check"):
        find_cluster(address)


def test_cluster_that_ended_without_ray_stop_is_an_error_at_once(tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert find_cluster("auto") == "auto"  # none was started here, which Ray reports itself
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        (tmp_path / "ray").mkdir()
        (tmp_path / "ray" / "ray_current_cluster").write_text(address)
        assert find_cluster("auto") == "auto"
    with pytest.raises(UserError, match=f"at {address}; start one, or run `ray stop`"):
        find_cluster("auto")
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert find_cluster("auto") == "auto"
