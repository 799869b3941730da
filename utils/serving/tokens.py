"""The bearer token that requests must carry."""

import hmac
import re
from pathlib import Path

from utils.errors import UserError

# RFC 6750, section 2.1.
TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")
SHORTEST = 16  # characters
SCHEME = "bearer "


def read_token(path: Path) -> str:
    """Reads a token, the only line of a file.

    Raises:
        UserError: The file has no token, or one that is too short or that no header can carry.
        OSError: The file cannot be read.
    """
    token = path.read_text(encoding="utf-8", errors="replace").strip()
    if not TOKEN.fullmatch(token) or len(token) < SHORTEST:
        raise UserError(
            f"{path} has no token: write one line of at least {SHORTEST} letters, digits and "
            "-._~+/ to it, for example with: openssl rand -hex 32"
        )
    return token


def is_authorized(header: str | None, token: str) -> bool:
    """Returns whether an Authorization header carries the token.

    The time of the comparison does not depend on where the first difference is.
    """
    header = header or ""
    given = header[len(SCHEME) :].strip() if header[: len(SCHEME)].lower() == SCHEME else ""
    return hmac.compare_digest(given.encode(errors="replace"), token.encode())
