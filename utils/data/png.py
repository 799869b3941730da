"""Prepares PNG files for OpenCV, whose decoder would write to standard error."""

import struct
import zlib

SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Chunks that do not change the pixels that OpenCV decodes. libpng warns of colour profiles that are
# common but not quite valid.
METADATA = (
    *(b"iCCP", b"sRGB", b"gAMA", b"cHRM", b"sBIT", b"bKGD", b"hIST"),
    *(b"sPLT", b"pHYs", b"tEXt", b"zTXt", b"iTXt", b"tIME"),
)


def without_metadata(data: bytes) -> bytes | None:
    """Removes the chunks of `METADATA` from a PNG file and verifies the checksums of the others.

    Args:
        data: The file, which begins with `SIGNATURE`.

    Returns:
        The file without metadata; None if it is damaged or truncated.
    """
    kept = [SIGNATURE]
    position, kind = len(SIGNATURE), b""
    while kind != b"IEND":
        if len(data) < position + 12:
            return None
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if kind not in METADATA:
            checksum = data[end - 4 : end]
            if checksum != zlib.crc32(data[position + 4 : end - 4]).to_bytes(4, "big"):
                return None
            kept.append(data[position:end])
        position = end
    return b"".join(kept)
