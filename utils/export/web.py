"""Exports a run to a folder of static files that detects in the browser itself."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from utils.export.formats import ExportSettings
from utils.export.web_runtime import NAME, VERSION, read_runtime
from utils.files import refuse_existing, written_whole
from utils.inference.engines.session import RuntimeSettings
from utils.inference.engines.web import MODEL
from utils.inference.metadata import Metadata, to_text
from utils.inference.model import load_model
from utils.page.views import POLICY, ROOT, browser_files

# ONNX Runtime Web compiles WebAssembly, for which there is a word of its own in the policy.
WEB_POLICY = f"{POLICY}; script-src 'self' 'wasm-unsafe-eval'"
RUNTIME, CARD, WORKER = "runtime", "model.json", "service_worker.js"
# Integer convolutions run only on the processor; on the GPU, they would be computed in float.
INTEGER_PROVIDERS, FLOAT_PROVIDERS = ("wasm",), ("webgpu", "wasm")

WriteModel = Callable[[ExportSettings, Path], None]


def export_web(
    settings: ExportSettings, metadata: Metadata, path: Path, write_model: WriteModel
) -> None:
    """Writes a folder with the page, the model and ONNX Runtime Web.

    Args:
        settings: What is exported.
        metadata: The metadata of the model, without quantization.
        path: Folder to write; must not exist.
        write_model: Writes the model to a path, with the settings of an ONNX file.

    Raises:
        UserError: The path exists, or ONNX Runtime Web cannot be downloaded.
    """
    refuse_existing(path)
    providers = INTEGER_PROVIDERS if metadata.precision == "int8" else FLOAT_PROVIDERS
    runtime = read_runtime(providers)  # before the long part
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path, shared=True) as (part,):
        part.mkdir()
        write_model(replace(settings, format="onnx"), part / MODEL)
        if metadata.precision == "int8":  # how it was quantized is known only now
            metadata = load_model(part / MODEL, RuntimeSettings()).metadata
        model = (part / MODEL).read_bytes()
        large = {f"{RUNTIME}/{name}": data for name, data in runtime.items()}
        page = browser_files(WEB_POLICY)
        page[CARD] = _card(model, metadata, providers).encode()
        worker = _service_worker(page, {MODEL: model, **large})
        for name, data in {**page, **large, WORKER: worker.encode()}.items():
            (part / name).parent.mkdir(exist_ok=True)
            (part / name).write_bytes(data)


def _card(model: bytes, metadata: Metadata, providers: tuple[str, ...]) -> str:
    """Returns what the page has to know about the model, as JSON."""
    card = {
        "model": MODEL,
        "bytes": len(model),
        "sha256": hashlib.sha256(model).hexdigest(),
        "runtime": f"{NAME} {VERSION}",
        "runtimes": providers,
        "metadata": json.loads(to_text(metadata)),
    }
    return json.dumps(card, ensure_ascii=False, indent=2) + "\n"


def _service_worker(page: Mapping[str, bytes], large: Mapping[str, bytes]) -> str:
    """Returns the service worker for files by path: small ones of the page, and large ones."""
    source = (ROOT / WORKER).read_text("utf-8")
    digests = {
        name: hashlib.sha256(data).hexdigest() for name, data in sorted({**page, **large}.items())
    }
    version = hashlib.sha256(json.dumps([source, digests]).encode())
    constants = {
        "VERSION": version.hexdigest()[:16],
        "POLICY": WEB_POLICY,
        "PAGE": ["./", *page],
        "LARGE": {name: len(data) for name, data in large.items()},
        # Servers send index.html for the folder.
        "DIGESTS": {"./": digests["index.html"], **digests},
    }
    lines = [f"const {name} = {json.dumps(value)};\n" for name, value in constants.items()]
    return "".join(lines) + source
