"""Reading the arrays of an `.npz`, which may be damaged or hostile: sizes are read from the headers before anything is unpacked.

A large array of several axes that is stored as it is (as `np.savez` writes it) is mapped: its values stay in the file and are read where
they are used.
"""

from __future__ import annotations

import math
import mmap
import zipfile
import zlib
from collections.abc import Mapping
from io import BufferedReader
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from fewtune.data.room import byte_limit, check_room
from fewtune.errors import InputError
from fewtune.files import open_regular

Arrays: TypeAlias = Mapping[str, np.ndarray[Any, Any]]
_MAGIC = b"\x93NUMPY"
MAPPED = 64 << 20  # bytes from which an array is mapped
_BLOCK = 1 << 24  # bytes checked at once
_LOCAL = 30  # bytes before the name of a part, in the archive


def load_npz(path: Path) -> Arrays:
    """The arrays of an `.npz`, without unpickling; other files in the archive are skipped.

    Arrays [N, ...] of MAPPED bytes and more that are not compressed are read-only, and mapped from the file, which must stay as it is.
    Raises InputError for a broken file, for arrays of Python objects, and for more than `check_room` allows.
    """
    try:
        with open_regular(path) as file:
            start = file.read(6)
            if start == _MAGIC:
                raise InputError(f"{path} is a single array: expected an .npz with arrays x and y.")
            if not start.startswith(b"PK"):
                raise InputError(f"{path} cannot be read as .npz: it is not a zip archive.")
            file.seek(0)
            with zipfile.ZipFile(file) as archive:
                axes = {info: _checked(archive, info, path) for info in archive.infolist()}
                arrays = [info for info, found in axes.items() if found is not None]
                mapped = {info for info in arrays if axes[info] != 1 and _can_be_mapped(info)}
                check_room(path, sum(info.file_size for info in arrays if info not in mapped), byte_limit())
                return {
                    info.filename.removesuffix(".npy"): _mapped(file, archive, info) if info in mapped else _read(archive, info)
                    for info in arrays
                }
    except InputError:
        raise
    except Exception as problem:  # zipfile, zlib and NumPy's headers raise almost every kind of exception on hostile bytes
        said = str(problem).splitlines()
        raise InputError(f"{path} cannot be read as .npz: {said[0][:200] if said else type(problem).__name__}.") from None


def _checked(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> int | None:
    """How many axes an entry has, None where it is no array. Raises InputError if its header and its number of bytes do not agree."""
    with archive.open(info) as file:
        if file.read(len(_MAGIC)) != _MAGIC:
            return None
        file.seek(0)
        try:
            shape, _, dtype = _header(file)
        except KeyError:
            raise InputError(f"{path}: {info.filename} has an unknown version of the array format: save it again.") from None
        if dtype.hasobject:
            raise InputError(f"{path} holds Python objects, which are never loaded: save numbers, or strings as a unicode array.")
        promised = math.prod(shape) * dtype.itemsize
        if min(shape, default=0) < 0 or promised != info.file_size - file.tell():
            raise InputError(
                f"{path} cannot be read as .npz: {info.filename} does not hold an array of shape {list(shape)}, as its header says."
            )
    return len(shape)


def _read(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray[Any, Any]:
    with archive.open(info) as file:
        made: np.ndarray[Any, Any] = np.lib.format.read_array(file, allow_pickle=False)
    return made


def _header(file: Any) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether columns come first, and type of an array. Raises KeyError for an unknown version of the format."""
    version = np.lib.format.read_magic(file)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    found: tuple[tuple[int, ...], bool, np.dtype[Any]] = readers[version](file)
    return found


def _can_be_mapped(info: zipfile.ZipInfo) -> bool:
    return info.compress_type == zipfile.ZIP_STORED and not info.flag_bits & 1 and info.file_size >= MAPPED


def _mapped(file: BufferedReader, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray[Any, Any]:
    """The array as it lies in the file. Raises ValueError where the part is not what the archive says of it."""
    with archive.open(info) as part:
        shape, by_column, dtype = _header(part)
        header = part.tell()
    whole = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    local = whole[info.header_offset : info.header_offset + _LOCAL]
    start = info.header_offset + _LOCAL + int.from_bytes(local[26:28], "little") + int.from_bytes(local[28:30], "little")
    content = memoryview(whole)[start : start + info.file_size]
    checked = 0
    for at in range(0, len(content), _BLOCK):
        checked = zlib.crc32(content[at : at + _BLOCK], checked)
    if len(content) != info.file_size or checked != info.CRC:
        raise ValueError(f"{info.filename} is damaged")
    made = np.frombuffer(whole, dtype=dtype, count=math.prod(shape), offset=start + header)
    return made.reshape(shape, order="F" if by_column else "C")
