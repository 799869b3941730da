"""The folder of `--format web`, and the files of ONNX Runtime Web in it."""

import base64
import dataclasses
import hashlib
import io
import json
import tarfile

import pytest

from tests.exported import metadata_of, small_detector, small_network
from utils.errors import UserError
from utils.export import web, web_runtime
from utils.export.formats import ExportSettings
from utils.inference.engines.session import RuntimeSettings
from utils.inference.metadata import ENTRY, Calibration, Quantization, to_text
from utils.inference.model import find_exports, format_of, load_model

FILES = {name: name.encode() * 3 for names in web_runtime.FILES.values() for name in names}


def package_of(files):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(f"package/dist/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return file.getvalue()


@pytest.fixture
def publish(monkeypatch, tmp_path):
    """Saves a package as if it had been downloaded before."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))

    def save(files):
        data = package_of(files)
        digest = base64.b64encode(hashlib.sha512(data).digest()).decode()
        monkeypatch.setattr(web_runtime, "INTEGRITY", f"sha512-{digest}")
        path = tmp_path / "keras" / "models" / f"onnxruntime-web-{web_runtime.VERSION}.tgz"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    return save


def export(path, precision="float32", model=b"a model"):
    metadata = metadata_of(small_detector("v4-tiny"), batch=1, precision=precision)
    web.export_web(
        ExportSettings("web", precision, 1), metadata, path, lambda _, part: part.write_bytes(model)
    )


def constants(folder):
    """The constants in front of the service worker, by name."""
    lines = (folder / "service_worker.js").read_text().splitlines()
    found = [line.removeprefix("const ").split(" = ", 1) for line in lines[:4]]
    return {name: json.loads(value.removesuffix(";")) for name, value in found}


def test_folder_is_a_model_that_predict_takes(publish, tmp_path):
    pytest.importorskip("onnxruntime")
    from utils.export.onnx import write

    publish(FILES)
    metadata = metadata_of(small_detector("v4-tiny"), batch=1)
    path = tmp_path / "detector_web"

    def write_model(settings, part):
        assert settings == ExportSettings("onnx", batch=1)
        write(small_network("v4-tiny"), metadata, part)

    web.export_web(ExportSettings("web", batch=1), metadata, path, write_model)
    assert format_of(path) == "web"
    assert find_exports(tmp_path) == [path]
    model = load_model(path, RuntimeSettings())
    assert model.metadata == metadata
    assert "ONNX Runtime" in model.open().description
    card = json.loads((path / "model.json").read_text())
    data = (path / "detector.onnx").read_bytes()
    assert (card["bytes"], card["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
    assert card["metadata"]["classes"] == list(metadata.classes)


def test_runtime_has_its_licence_and_digests(publish, tmp_path):
    publish(FILES)
    export(tmp_path / "web")
    folder = tmp_path / "web" / "runtime"
    assert "Microsoft" in (folder / "LICENSE").read_text()
    assert web_runtime.URL in (folder / "README.txt").read_text()
    sums = [line.split("  ") for line in (folder / "SHA256SUMS").read_text().splitlines()]
    assert {name for _, name in sums} == {name.replace(".mjs", ".js") for name in FILES}
    for digest, name in sums:
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest


def quantized_model():
    """An ONNX file without layers, whose metadata say how it was quantized."""
    onnx = pytest.importorskip("onnx")
    quantization = Quantization(Calibration(3, "ab"), ("conv1",))
    metadata = metadata_of(small_detector("v4-tiny"), batch=1, precision="int8")
    model = onnx.ModelProto(ir_version=8)
    model.graph.name = "empty"
    model.metadata_props.add(
        key=ENTRY, value=to_text(dataclasses.replace(metadata, quantization=quantization))
    )
    return model.SerializeToString()


def test_integers_run_on_the_processor_only(publish, tmp_path):
    publish(FILES)
    export(tmp_path / "web", "int8", quantized_model())
    card = json.loads((tmp_path / "web/model.json").read_text())
    assert card["runtimes"] == ["wasm"]
    assert not [*(tmp_path / "web/runtime").glob("*webgpu*")]
    calibration = {"count": 3, "digest": "ab"}
    expected = {"calibration": calibration, "float_layers": ["conv1"]}
    assert card["metadata"]["quantization"] == expected


def test_service_worker_knows_all_files_and_changes_with_them(publish, tmp_path):
    publish(FILES)
    export(tmp_path / "one")
    export(tmp_path / "same")
    export(tmp_path / "other", model=b"another model")
    found = constants(tmp_path / "one")
    files = [path for path in (tmp_path / "one").rglob("*") if path.is_file()]
    paths = {path.relative_to(tmp_path / "one").as_posix(): path.stat().st_size for path in files}
    del paths["service_worker.js"]
    assert {"./", *paths} == {*found["PAGE"], *found["LARGE"]}
    assert found["LARGE"].items() <= paths.items()
    versions = [constants(tmp_path / name)["VERSION"] for name in ("one", "same", "other")]
    assert versions[0] == versions[1] != versions[2]


def test_page_states_the_policy_and_needs_no_other_host(publish, tmp_path):
    publish(FILES)
    export(tmp_path / "web")
    html = (tmp_path / "web/index.html").read_text()
    assert f'<meta http-equiv="Content-Security-Policy" content="{web.WEB_POLICY}">' in html
    assert constants(tmp_path / "web")["POLICY"] == web.WEB_POLICY
    assert "http://" not in html and "https://" not in html
    assert "service" not in html.lower()


def test_nothing_is_left_behind_without_the_package(publish, tmp_path):
    publish({name: FILES[name] for name in web_runtime.FILES["wasm"]})
    with pytest.raises(UserError, match=r"has no ort\.webgpu\.min\.mjs, remove it"):
        export(tmp_path / "web")
    (tmp_path / "keras/models").joinpath(web_runtime.URL.rpartition("/")[2]).unlink()
    with pytest.raises(UserError, match=r"cannot download .*tests use no network.* save it as"):
        export(tmp_path / "web")
    assert not (tmp_path / "web").exists()


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"precision": "int16x8"}, "--format web has no int16x8"),
        ({"batch": 2}, "--format web takes one image per call, remove --batch"),
        ({"batch": None}, "--format web takes one image per call"),
        ({"nms": True}, "--format web suppresses boxes in the page, remove --nms"),
    ],
)
def test_settings_that_a_page_cannot_have_are_refused(options, match):
    with pytest.raises(UserError, match=match):
        ExportSettings("web", **{"batch": 1, **options})
