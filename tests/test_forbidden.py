"""Checks that no module runs code from data, starts a shell or uses the network needlessly."""

import pytest

from tests.forbidden import find_forbidden
from tests.locks import ROOT

FOLDERS = ("nets", "utils", "benchmarks", "examples")
SOURCES = [*ROOT.glob("*.py"), *(path for each in FOLDERS for path in (ROOT / each).rglob("*.py"))]

# By file: the kind, and why it is safe.
EXCEPTIONS = {
    "benchmarks/int8_loss.py": {"process": "starts the scripts of this project"},
    "benchmarks/ray_jobs.py": {"process": "starts the scripts of this project"},
    "benchmarks/recipe_search.py": {"process": "starts the scripts of this project"},
    "benchmarks/serving.py": {"process": "starts the service and its load on this machine"},
    "benchmarks/serving_clients.py": {"network": "connects to the service on this machine"},
    "benchmarks/train_and_score.py": {"process": "starts the scripts of this project"},
    "benchmarks/workers_speed.py": {
        "process": "starts itself as workers on this machine",
        "network": "finds free ports of this machine; no connection",
    },
    "utils/data/vocxml.py": {"XML": "only for files without a document type, which entities need"},
    "utils/export/web_runtime.py": {"archive": "reads named files of a verified package"},
    "utils/inference/engines/litert.py": {"process": "views a tensor as an array; starts nothing"},
    "utils/npz.py": {"archive": "names the error of NumPy; extracts nothing"},
    "utils/ray_jobs/cluster.py": {"network": "connects to a cluster that the user names"},
    "utils/serving/server.py": {"network": "listens for requests, by default on this machine only"},
    "utils/training/run_lock.py": {"network": "the name of this machine; no connection"},
    "utils/weights/downloads.py": {"network": "for --weights imagenet, verified by SHA-256"},
    "utils/weights/imagenet.py": {"network": "sets the timeout of downloads"},
    "utils/weights/tensorfiles.py": {"pickle": "names the error of torch; unpickles nothing"},
}


def test_source_has_no_forbidden_construct():
    assert len(SOURCES) > 150
    found = {}
    for path in SOURCES:
        for kind, code in find_forbidden(path.read_text(encoding="utf-8")):
            found.setdefault(str(path.relative_to(ROOT)), {}).setdefault(kind, []).append(code)
    unexpected = {
        f"{path}: {code}"
        for path, kinds in found.items()
        for kind, codes in kinds.items()
        if kind not in EXCEPTIONS.get(path, {})
        for code in codes
    }
    assert not unexpected
    assert {path: kinds.keys() for path, kinds in EXCEPTIONS.items()} == {
        path: kinds.keys() for path, kinds in found.items()
    }, "an exception is no longer needed"


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("import pickle", "pickle"),
        ("from joblib import load", "pickle"),
        ("np.load(path)", "pickle"),
        ("np.load(path, allow_pickle=True)", "pickle"),
        ("load(path, allow_pickle=True)", "pickle"),
        ("torch.load(path)", "pickle"),
        ("torch.load(path, weights_only=flag)", "pickle"),
        ("keras.models.load_model(path)", "Keras model"),
        ("layer_from(config, safe_mode=False)", "Keras model"),
        ("run('ls', shell=True)", "shell"),
        ("os.system('ls')", "shell"),
        ("from os import popen", "shell"),
        ("import subprocess as s", "process"),
        ("eval(text)", "code"),
        ("exec(text)", "code"),
        ("yaml.load(text)", "YAML"),
        ("yaml.load(text, Loader=yaml.Loader)", "YAML"),
        ("import xml.etree.ElementTree as ET", "XML"),
        ("from xml.etree.ElementTree import Element, parse", "XML"),
        ("from xml.etree import ElementTree", "XML"),
        ("from xml.dom.minidom import parse", "XML"),
        ("archive.extractall(folder)", "archive"),
        ("shutil.unpack_archive(path)", "archive"),
        ("tempfile.mktemp()", "temporary file"),
        ("def f():\n    from urllib.request import urlopen", "network"),
        ("from urllib import request", "network"),
        ("import http.client", "network"),
        ("session.get(url, verify=False)", "network"),
    ],
)
def test_forbidden_construct_is_found(code, kind):
    assert {found for found, _ in find_forbidden(code)} == {kind}


@pytest.mark.parametrize(
    "code",
    [
        "np.load(path, allow_pickle=False)",
        "torch.load(path, weights_only=True)",
        "yaml.load(text, Loader=yaml.BaseLoader)",
        "from xml.etree.ElementTree import Element, ParseError",
        "from xml.sax.saxutils import escape",
        "from urllib.parse import urlsplit",
        "import defusedxml.ElementTree",
        "from utils.http import x",
        "from .pickle import x",
        "model.compile(optimizer)",
    ],
)
def test_safe_construct_is_not_found(code):
    assert not find_forbidden(code)
