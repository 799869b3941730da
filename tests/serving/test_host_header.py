"""The Host header, which tells requests of websites from those to this machine."""

import json

import pytest

from tests.served import ask, running
from utils.serving.hosts import is_this_machine


def get(served, path, *headers):
    lines = [f"GET {path} HTTP/1.1", *headers, "", ""]
    status, _, body = ask(served.port, "\r\n".join(lines).encode())
    return status, body


@pytest.mark.parametrize(
    "header",
    [
        *("localhost", "LocalHost:8000", "127.0.0.1:8000", "127.9.8.7", "[::1]", "[::1]:8000"),
        *("my-pc", "MY-PC:8000"),
    ],
)
def test_names_of_this_machine(header):
    assert is_this_machine(header, "My-PC")


@pytest.mark.parametrize(
    "header",
    [
        *("evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.1.evil.example"),
        *("192.0.2.1:8000", "[2001:db8::1]:8000", "my-pc.evil.example", "x", ":8000", "[", "127.1"),
    ],
)
def test_names_of_others(header):
    assert not is_this_machine(header, "My-PC")


def test_websites_cannot_read_the_service():
    with running(local_host="127.0.0.1") as served:
        for path in ("/", "/healthz", "/model", "/metrics", "/runs", "/review/images", "/v2"):
            status, body = get(served, path, "Host: evil.example:8000")
            assert status == 421
            assert "Host 'evil.example:8000' is not this machine" in json.loads(body)["error"]


def test_clients_of_this_machine_are_answered():
    with running(local_host="127.0.0.1") as served:
        for host in ("localhost", f"127.0.0.1:{served.port}", "[::1]:8000"):
            assert get(served, "/model", f"Host: {host}")[0] == 200
        assert ask(served.port, b"GET /healthz HTTP/1.0\r\n\r\n")[0] == 200
