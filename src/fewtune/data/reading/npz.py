"""Reading the arrays of an `.npz`, which may be damaged or hostile: sizes are read from the headers before anything is unpacked."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from fewtune.data.room import byte_limit, check_room
from fewtune.errors import InputError
from fewtune.files import open_regular

Arrays: TypeAlias = Mapping[str, np.ndarray[Any, Any]]
_MAGIC = b"\x93NUMPY"


def load_npz(path: Path) -> Arrays:
    """The arrays of an `.npz`, without unpickling; other files in the archive are skipped.

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
                arrays = [info for info in archive.infolist() if _checked(archive, info, path)]
                check_room(path, sum(info.file_size for info in arrays), byte_limit())
                return {info.filename.removesuffix(".npy"): _read(archive, info) for info in arrays}
    except InputError:
        raise
    except Exception as problem:  # zipfile, zlib and NumPy's headers raise almost every kind of exception on hostile bytes
        said = str(problem).splitlines()
        raise InputError(f"{path} cannot be read as .npz: {said[0][:200] if said else type(problem).__name__}.") from None


def _checked(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> bool:
    """Whether an entry is an array. Raises InputError if its header and its number of bytes do not agree."""
    with archive.open(info) as file:
        if file.read(len(_MAGIC)) != _MAGIC:
            return False
        version = tuple(file.read(2))
        if version not in ((1, 0), (2, 0)):
            raise InputError(f"{path}: {info.filename} has an unknown version of the array format: save it again.")
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
        if dtype.hasobject:
            raise InputError(f"{path} holds Python objects, which are never loaded: save numbers, or strings as a unicode array.")
        promised = math.prod(shape) * dtype.itemsize
        if min(shape, default=0) < 0 or promised != info.file_size - file.tell():
            raise InputError(
                f"{path} cannot be read as .npz: {info.filename} does not hold an array of shape {list(shape)}, as its header says."
            )
    return True


def _read(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray[Any, Any]:
    with archive.open(info) as file:
        made: np.ndarray[Any, Any] = np.lib.format.read_array(file, allow_pickle=False)
    return made
