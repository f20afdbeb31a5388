"""The orientation of a photo, read from its EXIF block in a few lines of our own.

Pillow's EXIF reader warns about every corrupt entry, even if it only opens a JPEG, and warnings cannot be silenced safely in threads.
So the EXIF block of a JPEG is found and read here, and then hidden from Pillow.
Reference: CIPA DC-008, "Exchangeable image file format for digital still cameras", sections 4.5, 4.6.4 (tag 0x0112).
"""

from __future__ import annotations

import struct

_MARK = b"Exif\x00\x00"


def without_exif(content: bytes) -> tuple[bytes, int]:
    """A JPEG with its EXIF blocks hidden (same length, one letter changed), and its orientation 1..8."""
    turn, position, hidden = 1, 2, None
    while position + 4 <= len(content) and content[position] == 0xFF:
        marker = content[position + 1]
        if marker == 0xFF:  # padding
            position += 1
            continue
        if marker == 0xDA or marker == 0xD9:  # start or end of the picture
            break
        if 0xD0 <= marker <= 0xD8 or marker == 0x01:  # markers without a length
            position += 2
            continue
        length = int.from_bytes(content[position + 2 : position + 4], "big")
        body = position + 4
        if marker == 0xE1 and content.startswith(_MARK, body):
            if hidden is None:
                hidden, turn = bytearray(content), orientation(content[body : position + 2 + length])
            hidden[body] = ord("e")
        position += 2 + max(length, 2)
    return (content if hidden is None else bytes(hidden)), turn


def orientation(exif: bytes) -> int:
    """The orientation 1..8 in an EXIF block (with or without its "Exif" mark); 1 (upright) if there is no valid one."""
    tiff = exif.removeprefix(_MARK)
    order = {b"II*\x00": "<", b"MM\x00*": ">"}.get(tiff[:4])
    if order is None:
        return 1
    try:
        (start,) = struct.unpack_from(order + "L", tiff, 4)
        (count,) = struct.unpack_from(order + "H", tiff, start)
        for entry in range(count):
            tag, kind, _, value = struct.unpack_from(order + "HHLH", tiff, start + 2 + 12 * entry)
            if tag == 0x0112:
                return value if kind == 3 and 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1
