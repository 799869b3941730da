"""ImageNet weights that Keras does not have, fetched from those who publish them.

A file is taken only if its SHA-256 is the one that its publisher tells. torchvision writes the
first digits into the file's name, which stands here; of timm's files the Hugging Face hub tells it
at the time, so that there damage is found out, but a file that was exchanged on the hub is not.
"""

import hashlib
import io
import json
import os
import re
import shutil
from http.client import HTTPException
from pathlib import Path
from urllib.request import Request, urlopen

from tqdm import tqdm

from utils.errors import UserError

PYTORCH = "https://download.pytorch.org/models"
HUB = "https://huggingface.co"

# By backbone and width. torchvision: models/shufflenetv2.py; timm: the models with weights among
# those of timm.list_pretrained(). All of them want the convention "torch".
PUBLISHED = {
    "efficientnet_lite0": {
        1.0: f"{HUB}/timm/efficientnet_lite0.ra_in1k/resolve/main/model.safetensors"
    },
    "ghostnet": {1.0: f"{HUB}/timm/ghostnet_100.in1k/resolve/main/model.safetensors"},
    "shufflenetv2": {
        0.5: f"{PYTORCH}/shufflenetv2_x0.5-f707e7126e.pth",
        1.0: f"{PYTORCH}/shufflenetv2_x1-5666bf0f80.pth",
        1.5: f"{PYTORCH}/shufflenetv2_x1_5-3c479a10.pth",
        2.0: f"{PYTORCH}/shufflenetv2_x2_0-8be3c8ee.pth",
    },
}

TORCH_NAME = re.compile(r"-([0-9a-f]{8,})\.pth")  # as torch.hub.load_state_dict_from_url reads it
HEADERS = {"User-Agent": "swapyolo"}  # some servers turn the name of Python's library away
HUB_ADDRESS = re.compile(r"(.+)/([^/]+/([^/]+))/resolve/main/([^/]+)")


def fetch(url: str) -> Path:
    """The file of that address, from the folder where Keras keeps its own or else from the network.

    Args:
        url: one of `PUBLISHED`.

    Returns:
        The path, which holds a whole and checked file or, after an error, none.

    Raises:
        UserError: the file cannot be fetched or kept, or is not the published one.
    """
    hub = HUB_ADDRESS.fullmatch(url)
    name = f"{hub[3]}{Path(url).suffix}" if hub else url.rpartition("/")[2]
    path = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras") / "models" / name
    if path.is_file():
        return path
    advice = "get this file elsewhere and give it with --weights FILE"
    try:
        digits = _digits_of_hub(*hub.group(1, 2, 4)) if hub else TORCH_NAME.search(name)[1]
        data = _download(url, name)
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise UserError(f"cannot fetch {url} ({reason}), {advice}") from error
    except (ValueError, LookupError, TypeError) as error:
        raise UserError(f"cannot fetch {url} (no word of its SHA-256), {advice}") from error
    found = hashlib.sha256(data).hexdigest()
    if not found.startswith(digits):
        raise UserError(f"{url} is not as published (SHA-256 {found}, not {digits}), {advice}")
    try:
        _keep(data, path)
    except OSError as error:
        raise UserError(
            f"cannot keep {path} ({error.strerror}), set KERAS_HOME to a folder to write in"
        ) from error
    return path


def _digits_of_hub(hub: str, repository: str, file: str) -> str:
    """A large file's SHA-256, by which Git LFS names it."""
    entries = json.loads(_download(f"{hub}/api/models/{repository}/tree/main", file))
    digits = {entry["path"]: entry for entry in entries}[file]["lfs"]["oid"]
    if not re.fullmatch("[0-9a-f]{64}", digits):
        raise ValueError(f"{digits} is no SHA-256")
    return digits


def _download(url: str, name: str) -> bytes:
    data = io.BytesIO()
    with (
        urlopen(Request(url, headers=HEADERS)) as answer,
        tqdm.wrapattr(answer, "read", total=answer.length, desc=name, delay=1) as body,
    ):
        shutil.copyfileobj(body, data)
    return data.getvalue()


def _keep(data: bytes, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}")  # several workers may fetch at once
    try:
        part.write_bytes(data)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
