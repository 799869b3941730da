"""Files of a publisher on this machine, in the place of those on the network."""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from utils.errors import UserError
from utils.weights.downloads import fetch

CONTENT = bytes(range(256)) * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
LISTING = "/api/models/timm/net_100.in1k/tree/main"
HUB_FILE = "/timm/net_100.in1k/resolve/main/model.safetensors"


class Publisher(ThreadingHTTPServer):
    """Serves `files`, bytes by path, and counts what is asked for; `cut` leaves out their end."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Answer)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.files, self.asked, self.cut = {}, [], 0

    def serve_on_hub(self, content, digits):
        listing = [{"path": "README.md"}, {"path": "model.safetensors", "lfs": {"oid": digits}}]
        self.files[LISTING] = json.dumps(listing).encode()
        self.files[HUB_FILE] = content
        return self.url + HUB_FILE


class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        content = self.server.files.get(self.path)
        if content is None:
            return self.send_error(404)
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) - self.server.cut])

    def log_message(self, *args):
        pass


@pytest.fixture
def publisher():
    with Publisher() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    """Where Keras keeps what it downloads."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return tmp_path / "keras" / "models"


def kept(cache):
    return [path.name for path in cache.iterdir()] if cache.is_dir() else []


def assert_refused(url, match, cache):
    """The error is one line with the address and the way out, and no file is left behind."""
    with pytest.raises(UserError, match=match) as error:
        fetch(url)
    assert url in str(error.value)
    assert "--weights FILE" in str(error.value)
    assert "\n" not in str(error.value)
    assert kept(cache) == []


def test_a_file_is_kept_if_it_begins_with_the_digits_of_its_name(publisher, cache):
    name = f"net-{SHA256[:8]}.pth"
    publisher.files[f"/{name}"] = CONTENT
    path = fetch(f"{publisher.url}/{name}")
    assert path == cache / name
    assert path.read_bytes() == CONTENT
    assert kept(cache) == [name]
    assert fetch(f"{publisher.url}/{name}") == path
    assert len(publisher.asked) == 1, "the second time it is read from the folder"


def test_a_file_of_the_hub_is_kept_if_it_is_as_the_hub_says(publisher, cache):
    url = publisher.serve_on_hub(CONTENT, SHA256)
    path = fetch(url)
    assert path == cache / "net_100.in1k.safetensors"
    assert path.read_bytes() == CONTENT
    assert fetch(url) == path
    assert publisher.asked == [LISTING, HUB_FILE]


def test_another_file_is_refused(publisher, cache):
    publisher.files["/net-0123456789.pth"] = CONTENT
    assert_refused(f"{publisher.url}/net-0123456789.pth", f"SHA-256 {SHA256}, not 01234", cache)
    assert_refused(publisher.serve_on_hub(CONTENT, "0" * 64), "not as published", cache)


def test_a_file_cut_short_is_refused(publisher, cache):
    name = f"net-{SHA256[:10]}.pth"
    publisher.files[f"/{name}"] = CONTENT
    publisher.cut = 1000
    assert_refused(f"{publisher.url}/{name}", "not as published|IncompleteRead", cache)


@pytest.mark.parametrize("digits", ["", "0123", None])
def test_without_a_hash_nothing_is_fetched(publisher, cache, digits):
    assert_refused(publisher.serve_on_hub(CONTENT, digits), "no word of its SHA-256", cache)
    publisher.files[LISTING] = b"<html>Please log in to this network</html>"
    assert_refused(publisher.url + HUB_FILE, "no word of its SHA-256", cache)
    assert HUB_FILE not in publisher.asked


def test_what_is_not_there_is_told_with_its_address(publisher, cache):
    assert_refused(f"{publisher.url}/net-0123456789.pth", "Not Found", cache)
    assert_refused(publisher.url + HUB_FILE, "Not Found", cache)


def test_no_network_is_told_with_the_address_of_the_file(cache):
    elsewhere = "http://192.0.2.1"  # which the tests may not connect to
    assert_refused(f"{elsewhere}/net-0123456789.pth", r"\(tests use no network", cache)
    assert_refused(elsewhere + HUB_FILE, r"\(tests use no network", cache)


def test_a_folder_that_cannot_be_written_is_named(publisher, monkeypatch, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "file"))
    url = publisher.serve_on_hub(CONTENT, SHA256)
    with pytest.raises(UserError, match=r"cannot keep .*file.*set KERAS_HOME"):
        fetch(url)
