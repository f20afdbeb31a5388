"""HEIC photos, as iPhones save them. The only file that imports pillow_heif."""

from __future__ import annotations

from typing import Any

from fewtune.errors import InputError

_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"mif1", b"msf1", b"hevc", b"hevx")
INSTALL = "pip install 'fewtune[heic]'"


def is_heic(content: bytes) -> bool:
    """Whether bytes begin as a HEIC file. (`mif1` may also be AVIF inside, which the reader then refuses.)"""
    return content[4:8] == b"ftyp" and content[8:12] in _BRANDS


def heic_opener() -> Any:
    """Pillow's reader for HEIC: a subclass of ImageFile. It turns pictures upright itself. Raises InputError if pillow-heif is missing."""
    try:
        from pillow_heif import HeifImageFile
    except ImportError as problem:
        raise InputError(f"HEIC photos need pillow-heif: {INSTALL} ({problem}).") from None
    return HeifImageFile
