"""The files of ONNX Runtime Web, from its package of npm."""

import hashlib
import tarfile
from pathlib import Path

from utils.errors import UserError
from utils.weights.downloads import fetch_package

NAME, VERSION = "ONNX Runtime Web", "1.30.0"
URL = f"https://registry.npmjs.org/onnxruntime-web/-/onnxruntime-web-{VERSION}.tgz"
# As `npm view onnxruntime-web@1.30.0 dist.integrity` prints it.
INTEGRITY = (
    "sha512-q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8p"
    "ZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
)
# By provider: its script, and what that loads. The build for WebGPU also runs on the processor, but
# slower and with twice as many bytes to load.
FILES = {
    "wasm": ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"),
    "webgpu": (
        "ort.webgpu.min.mjs",
        "ort-wasm-simd-threaded.asyncify.mjs",
        "ort-wasm-simd-threaded.asyncify.wasm",
    ),
}
README = f"""\
The files in this folder are those of onnxruntime-web {VERSION}, unchanged except for their names:
.mjs is .js here, as some servers send .mjs with a type that browsers refuse. Their licence is in
LICENSE, those of the software in them are in ThirdPartyNotices.txt at
https://github.com/microsoft/onnxruntime/tree/v{VERSION}

Package: {URL}
Its digest: {INTEGRITY}
The SHA-256 of each file is in SHA256SUMS: sha256sum -c SHA256SUMS
"""
# The package has no file with its licence. This is LICENSE of its repository.
LICENSE = """\
MIT License

Copyright (c) Microsoft Corporation

Permission is hereby granted, free of charge, to any person obtaining a copy
of this software and associated documentation files (the "Software"), to deal
in the Software without restriction, including without limitation the rights
to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all
copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
SOFTWARE.
"""


def read_runtime(providers: tuple[str, ...]) -> dict[str, bytes]:
    """Returns the files of some providers, by name, with their licence and digests.

    The package is downloaded on first use; see `utils.weights.downloads.fetch_package`.

    Args:
        providers: Keys of `FILES`.

    Raises:
        UserError: The package cannot be downloaded, or is not the published one.
    """
    names = [name for provider in providers for name in FILES[provider]]
    package = fetch_package(URL, INTEGRITY)
    found = {name.replace(".mjs", ".js"): data for name, data in _read(package, names).items()}
    sums = [f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in found.items()]
    texts = {"LICENSE": LICENSE, "README.txt": README, "SHA256SUMS": "".join(sums)}
    return found | {name: text.encode() for name, text in texts.items()}


def _read(package: Path, names: list[str]) -> dict[str, bytes]:
    """Reads files of a package into memory; nothing is unpacked to a path that it states."""
    with tarfile.open(package) as archive:
        members = {member.name: member for member in archive if member.isfile()}
        missing = [name for name in names if f"package/dist/{name}" not in members]
        if missing:
            raise UserError(f"{package} has no {missing[0]}, remove it")
        return {name: archive.extractfile(members[f"package/dist/{name}"]).read() for name in names}
