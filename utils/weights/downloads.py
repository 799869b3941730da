"""Downloads files of weights that Keras does not provide, and packages of npm.

A file is accepted only if its digest is the published one. torchvision puts the first digits of the
SHA-256 into the names of its files. For files of timm, the Hugging Face hub is asked at the time of
the download: this detects damage, but not a file that was replaced on the hub. The SHA-512 of a
package is a part of this project, and is compared whenever the package is used.
"""

import base64
import hashlib
import io
import json
import os
import re
import shutil
import sys
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from tqdm import tqdm

from utils.errors import JobError, UserError, disk_failure
from utils.files import written_whole

TORCH_NAME = re.compile(r"-([0-9a-f]{8,})\.pth")  # as in torch.hub
CONNECT_SECONDS = 10.0  # without a network a download must fail soon instead of hanging
HEADERS = {"User-Agent": "swapyolo"}  # some servers refuse Python's default
HUB_ADDRESS = re.compile(r"(.+)/([^/]+/([^/]+))/resolve/main/([^/]+)")


class _SameScheme(HTTPRedirectHandler):
    """Follows a redirect only if it keeps the scheme, so that HTTPS stays HTTPS."""

    def redirect_request(self, req: Request, *args: Any) -> Request | None:
        target = args[-1]
        if urlsplit(target).scheme != req.type:
            raise URLError(f"redirected to {target}")
        return super().redirect_request(req, *args)


def fetch(url: str) -> Path:
    """Returns a published file, downloaded once into the folder of Keras' own downloads.

    Args:
        url: Address of a file of torchvision or on the Hugging Face hub.

    Returns:
        Path of the complete and verified file.

    Raises:
        UserError: The file cannot be downloaded or saved, or is not the published one; no file is
            left behind.
        JobError: The disk is full or fails.
    """
    hub = HUB_ADDRESS.fullmatch(url)
    name = f"{hub[3]}{Path(url).suffix}" if hub else url.rpartition("/")[2]
    path = _saved(name)
    if path.is_file():
        return path
    advice = "download this file elsewhere and give it with --weights FILE"
    try:
        expected = _sha256_on_hub(*hub.group(1, 2, 4)) if hub else TORCH_NAME.search(name)[1]
        data = _download(url, name)
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise UserError(f"cannot download {url} ({reason}), {advice}") from error
    except (ValueError, LookupError, TypeError) as error:
        raise UserError(f"cannot download {url} (its SHA-256 is unknown), {advice}") from error
    found = hashlib.sha256(data).hexdigest()
    if not found.startswith(expected):
        raise UserError(
            f"{url} is not the published file (SHA-256 {found} instead of {expected}), {advice}"
        )
    _save(path, data)
    return path


def fetch_package(url: str, integrity: str) -> Path:
    """Returns a package of npm, downloaded once into the same folder; says so when it downloads.

    Args:
        url: Address of the package.
        integrity: Its digest in the form of npm: `sha512-`, and the SHA-512 in Base64.

    Returns:
        Path of the complete and verified file.

    Raises:
        UserError: The package cannot be downloaded or saved, or is not the published one; nothing
            is saved then.
        JobError: The disk is full or fails.
    """
    path = _saved(url.rpartition("/")[2])
    if path.is_file():
        if (found := _integrity(path.read_bytes())) != integrity:
            raise UserError(f"{path} is not the published file ({found}), remove it")
        return path
    advice = f"download it elsewhere and save it as {path}"
    print(f"note: downloading {url} to {path}", file=sys.stderr)
    try:
        data = _download(url, path.name)
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise UserError(f"cannot download {url} ({reason}), {advice}") from error
    if (found := _integrity(data)) != integrity:
        raise UserError(
            f"{url} is not the published file ({found} instead of {integrity}), {advice}"
        )
    _save(path, data)
    return path


def _integrity(data: bytes) -> str:
    return f"sha512-{base64.b64encode(hashlib.sha512(data).digest()).decode()}"


def _saved(name: str) -> Path:
    """Returns the path of a file in the folder of Keras' own downloads."""
    return Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras") / "models" / name


def _save(path: Path, data: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(path, shared=True) as (part,):  # several workers may download at once
            part.write_bytes(data)
    except OSError as error:
        kind = JobError if disk_failure(error) else UserError
        raise kind(
            f"cannot save {path} ({error.strerror}), set KERAS_HOME to a folder that can be written"
        ) from error


def _sha256_on_hub(hub: str, repository: str, file: str) -> str:
    """Returns the SHA-256 of a large file, which is its object ID in Git LFS."""
    entries = json.loads(_download(f"{hub}/api/models/{repository}/tree/main", file))
    digits = {entry["path"]: entry for entry in entries}[file]["lfs"]["oid"]
    if not re.fullmatch("[0-9a-f]{64}", digits):
        raise ValueError(f"{digits} is not a SHA-256")
    return digits


def _download(url: str, name: str) -> bytes:
    data = io.BytesIO()
    with (
        build_opener(_SameScheme).open(
            Request(url, headers=HEADERS), timeout=CONNECT_SECONDS
        ) as response,
        tqdm.wrapattr(response, "read", total=response.length, desc=name, delay=1) as body,
    ):
        shutil.copyfileobj(body, data)
    return data.getvalue()
