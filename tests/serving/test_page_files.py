"""The files of the pages: their policy, and what is not among them."""

import re

import pytest

from utils.page.views import service_files

PATHS = ["/" if path == "index.html" else f"/{path}" for path in service_files()]
NAMESPACE = "http://www.w3.org/2000/svg"


@pytest.mark.parametrize("path", PATHS)
def test_policy_allows_only_files_of_the_service(client, path):
    answer = client.get(path)
    assert answer.status_code == 200
    directives = dict(
        each.strip().split(" ", 1) for each in answer.headers["content-security-policy"].split(";")
    )
    assert directives.pop("default-src") == "'self'"
    assert directives.pop("img-src") == "'self' blob: data:"
    assert set(directives.values()) == {"'none'"}  # so scripts and styles are those of 'self'
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", PATHS)
def test_files_need_no_other_host_and_no_build(client, path):
    text = client.get(path).text.replace(NAMESPACE, "")
    assert not re.search(r"https?://|//[a-z]+\.[a-z]|<style|\son[a-z]+=|<script(?! type)", text)


@pytest.mark.parametrize(
    "name",
    ["x.js", "..%2fapp.py", "%2e%2e/app.py", "..%5capp.py", "%2fetc%2fpasswd", "", "frame.html"],
)
def test_other_files_are_not_served(client, name):
    assert client.get(f"/static/{name}").status_code == 404


def test_page_is_open_but_the_model_needs_the_token(serve):
    client = serve(token="0123456789abcdef")
    codes = [client.get(path).status_code for path in ("/", "/static/page.css", "/model")]
    assert codes == [200, 200, 401]
