"""Downloads from a server on this machine that stands in for the publishers."""

import base64
import errno
import hashlib
import json
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from nets.backbones import list_backbones, resolve
from utils.errors import JobError, UserError
from utils.weights.downloads import fetch, fetch_package

CONTENT = bytes(range(256)) * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
INTEGRITY = f"sha512-{base64.b64encode(hashlib.sha512(CONTENT).digest()).decode()}"
LISTING = "/api/models/timm/net_100.in1k/tree/main"
HUB_FILE = "/timm/net_100.in1k/resolve/main/model.safetensors"


class Publisher(ThreadingHTTPServer):
    """Serves `files`, bytes by path, without the last `cut` bytes, and records the requests.

    `moved` has other addresses by path.
    """

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.files, self.requests, self.cut, self.moved = {}, [], 0, {}

    def serve_on_hub(self, content, sha256):
        listing = [{"path": "README.md"}, {"path": "model.safetensors", "lfs": {"oid": sha256}}]
        self.files[LISTING] = json.dumps(listing).encode()
        self.files[HUB_FILE] = content
        return self.url + HUB_FILE


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.requests.append(self.path)
        if address := self.server.moved.get(self.path):
            self.send_response(302)
            self.send_header("Location", address)
            return self.end_headers()
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
    """The folder of Keras' downloads."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return tmp_path / "keras" / "models"


def files_in(cache):
    return [path.name for path in cache.iterdir()] if cache.is_dir() else []


def assert_refused(url, match, cache):
    """The error is one line with the address and a remedy, and no file is left behind."""
    with pytest.raises(UserError, match=match) as error:
        fetch(url)
    assert url in str(error.value)
    assert "--weights FILE" in str(error.value)
    assert "\n" not in str(error.value)
    assert files_in(cache) == []


def test_file_is_saved_if_its_hash_begins_with_the_digits_in_its_name(publisher, cache):
    name = f"net-{SHA256[:8]}.pth"
    publisher.files[f"/{name}"] = CONTENT
    path = fetch(f"{publisher.url}/{name}")
    assert path == cache / name
    assert path.read_bytes() == CONTENT
    assert files_in(cache) == [name]
    assert fetch(f"{publisher.url}/{name}") == path
    assert len(publisher.requests) == 1, "the second call reads the saved file"


def test_file_of_the_hub_is_saved_if_its_hash_is_the_published_one(publisher, cache):
    url = publisher.serve_on_hub(CONTENT, SHA256)
    path = fetch(url)
    assert path == cache / "net_100.in1k.safetensors"
    assert path.read_bytes() == CONTENT
    assert fetch(url) == path
    assert publisher.requests == [LISTING, HUB_FILE]


def test_file_with_another_hash_is_refused(publisher, cache):
    publisher.files["/net-0123456789.pth"] = CONTENT
    assert_refused(
        f"{publisher.url}/net-0123456789.pth", f"SHA-256 {SHA256} instead of 01234", cache
    )
    assert_refused(publisher.serve_on_hub(CONTENT, "0" * 64), "not the published file", cache)


def test_truncated_file_is_refused(publisher, cache):
    name = f"net-{SHA256[:10]}.pth"
    publisher.files[f"/{name}"] = CONTENT
    publisher.cut = 1000
    assert_refused(f"{publisher.url}/{name}", "not the published file|IncompleteRead", cache)


@pytest.mark.parametrize("sha256", ["", "0123", None])
def test_without_a_hash_nothing_is_downloaded(publisher, cache, sha256):
    assert_refused(publisher.serve_on_hub(CONTENT, sha256), "its SHA-256 is unknown", cache)
    publisher.files[LISTING] = b"<html>Please log in to this network</html>"
    assert_refused(publisher.url + HUB_FILE, "its SHA-256 is unknown", cache)
    assert HUB_FILE not in publisher.requests


def test_redirects_are_followed_only_within_the_scheme(publisher, cache):
    name = f"net-{SHA256[:8]}.pth"
    publisher.files["/elsewhere"] = CONTENT
    publisher.moved[f"/{name}"] = f"{publisher.url}/elsewhere"
    assert fetch(f"{publisher.url}/{name}").read_bytes() == CONTENT
    (cache / name).unlink()
    for address in (f"https{publisher.url[4:]}/elsewhere", "ftp://127.0.0.1/elsewhere"):
        publisher.moved[f"/{name}"] = address
        assert_refused(f"{publisher.url}/{name}", rf"\(redirected to {address}", cache)


def test_all_published_weights_are_downloaded_by_https():
    published = [spec.pretrained for spec in map(resolve, list_backbones())]
    urls = [url for each in published if hasattr(each, "urls") for url in each.urls.values()]
    assert len(urls) >= 6
    assert all(url.startswith("https://") for url in urls)


def test_error_for_a_missing_file_names_its_address(publisher, cache):
    assert_refused(f"{publisher.url}/net-0123456789.pth", "Not Found", cache)
    assert_refused(publisher.url + HUB_FILE, "Not Found", cache)


def test_error_without_a_network_names_the_address(cache):
    elsewhere = "http://192.0.2.1"  # which the tests may not connect to
    assert_refused(f"{elsewhere}/net-0123456789.pth", r"\(tests use no network", cache)
    assert_refused(elsewhere + HUB_FILE, r"\(tests use no network", cache)


def test_full_disk_is_a_failed_job_and_leaves_no_file(publisher, cache, monkeypatch):
    def write_bytes(path, data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    url = publisher.serve_on_hub(CONTENT, SHA256)
    monkeypatch.setattr(Path, "write_bytes", write_bytes)
    with pytest.raises(JobError, match=r"cannot save .*net_100\.in1k\.safetensors \(No space left"):
        fetch(url)
    assert files_in(cache) == []


def test_error_for_a_read_only_folder_names_it(publisher, monkeypatch, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "file"))
    url = publisher.serve_on_hub(CONTENT, SHA256)
    with pytest.raises(UserError, match=r"cannot save .*file.*set KERAS_HOME"):
        fetch(url)


def test_package_is_saved_once_and_compared_at_each_use(publisher, cache, capsys):
    url = f"{publisher.url}/net-1.0.0.tgz"
    publisher.files["/net-1.0.0.tgz"] = CONTENT
    path = fetch_package(url, INTEGRITY)
    assert path == cache / "net-1.0.0.tgz"
    assert path.read_bytes() == CONTENT
    assert f"note: downloading {url} to {path}" in capsys.readouterr().err
    assert fetch_package(url, INTEGRITY) == path
    assert capsys.readouterr().err == ""
    assert len(publisher.requests) == 1, "the second call reads the saved file"
    path.write_bytes(CONTENT[1:])
    with pytest.raises(UserError, match=r"net-1\.0\.0\.tgz is not the published file .*remove it"):
        fetch_package(url, INTEGRITY)


def test_package_that_cannot_be_had_is_an_error_that_says_where_to_put_it(publisher, cache):
    publisher.files["/net-1.0.0.tgz"] = CONTENT[1:]
    for url, reason in {
        f"{publisher.url}/net-1.0.0.tgz": "is not the published file",
        f"{publisher.url}/other-1.0.0.tgz": "Not Found",
        "http://192.0.2.1/net-1.0.0.tgz": "tests use no network",
    }.items():
        with pytest.raises(UserError, match=reason) as error:
            fetch_package(url, INTEGRITY)
        path = cache / url.rpartition("/")[2]
        assert str(error.value).endswith(f"download it elsewhere and save it as {path}")
        assert "\n" not in str(error.value)
    assert files_in(cache) == []
