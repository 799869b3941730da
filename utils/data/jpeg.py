"""Finds JPEG files whose decoding would take minutes."""

import re

# Progressive JPEG, with Huffman or arithmetic coding, see ITU-T T.81, table B.1.
PROGRESSIVE = (0xC2, 0xC6, 0xCA)
OTHER_FRAMES = (0xC0, 0xC1, 0xC3, 0xC5, 0xC7, 0xC9, 0xCB, 0xCD, 0xCE, 0xCF)
END, SCAN = 0xD9, 0xDA
WITHOUT_LENGTH = (0x01, 0xD8)
# Within the data of a scan, 255 is followed by 0 or by one of eight marks to restart.
MARKER = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])")


def count_scanned_pixels(data: bytes) -> int:
    """Counts the pixels that the decoder of a progressive JPEG visits.

    A scan can have a few bytes and still visit all pixels, so that a file of a megabyte can take an
    hour. Programs write about ten scans.

    Args:
        data: The file.

    Returns:
        Number of scans times number of pixels; 0 if the file is not progressive.
    """
    position, scans, pixels = 2, 0, 0
    while found := MARKER.search(data, position):
        kind, position = found[1][0], found.end()
        if kind == END or kind in OTHER_FRAMES:
            break
        if kind in WITHOUT_LENGTH:
            continue
        if kind in PROGRESSIVE:
            height = int.from_bytes(data[position + 3 : position + 5], "big")
            pixels = height * int.from_bytes(data[position + 5 : position + 7], "big")
        scans += kind == SCAN
        position += int.from_bytes(data[position : position + 2], "big")
    return scans * pixels
