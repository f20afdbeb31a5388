"""The manifest of a folder that fewtune wrote: its `fewtune.json` lists every file with its sha256, and carries a digest of itself.

So a change of one bit is noticed, and files of fewtune can be distinguished from files of others. In a folder that grows (an unfinished
run), the list is continued in a second file: one line for each file, written before the file itself.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from fewtune.errors import InputError
from fewtune.files.plain import RECORD, read_regular, sha256, write_bytes

GROWN = "written.txt"  # the continued list, in a folder whose record says that it grows
GROWS = "grows"
_LONGEST = 256 << 20  # bytes of a record: a larger file is not a record
_DIGEST = "digest"
_HALF = re.compile(r"\.(.+)\.[a-z0-9_]{8}\.tmp")  # the file that `write_bytes` leaves behind if it is killed


def sealed(record: Mapping[str, Any]) -> bytes:
    """A record as it is written: JSON that ends in the digest of everything before."""
    # parsed again, so that reading the file and sealing it again gives exactly the same bytes
    plain = json.loads(_said({k: v for k, v in record.items() if k != _DIGEST}))
    return _said({**plain, _DIGEST: hashlib.sha256(_said(plain)).hexdigest()})


def _said(record: Mapping[str, Any]) -> bytes:
    # a file name that is not UTF-8 holds lone surrogates; written as \udcXX they are valid JSON
    return json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False).encode(errors="backslashreplace")


def read_record(folder: Path) -> tuple[dict[str, Any], bool]:
    """The content of a folder's record, and whether it is exactly as fewtune wrote it.

    Raises InputError or ValueError for a file that is not a JSON object, OSError if there is no file.
    """
    content = read_regular(folder / RECORD, most=_LONGEST)
    try:
        record = json.loads(content)
        whole = isinstance(record, dict) and sealed(record) == content
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(record, dict):
        raise ValueError("it is not a JSON object")
    return record, whole


def write_manifest(folder: Path) -> None:
    """Complete the record in a new folder (an empty one if there is none): list every file beside it, and seal it."""
    path = folder / RECORD
    record = json.loads(path.read_bytes()) if path.exists() else {}
    files = {name: sha256(folder / name) for name in sorted(entries(folder)) if name != RECORD}
    write_bytes(path, sealed({**record, "files": files}))


def add_to_manifest(folder: Path, files: Iterable[Path]) -> None:
    """List more files of a folder that were written after it was made. Does nothing if the folder is not fewtune's."""
    if written(folder) is None:
        return
    record, _ = read_record(folder)
    more = {file.relative_to(folder).as_posix(): sha256(file) for file in files}
    write_bytes(folder / RECORD, sealed({**record, "files": {**record["files"], **more}}))


def grow(folder: Path, file: Path, content: bytes) -> None:
    """Write a file into a folder that grows. It is listed before it exists, so it is never unlisted."""
    line = f"\n{hashlib.sha256(content).hexdigest()} {file.relative_to(folder).as_posix()}"  # ends a torn line before it
    with open(folder / GROWN, "ab") as listed:
        listed.write(os.fsencode(line))
        listed.flush()
        os.fsync(listed.fileno())
    write_bytes(file, content)


def written(folder: Path) -> dict[str, set[str]] | None:
    """The sha256 of every file that fewtune wrote in a folder, by its path with slashes (several if it was written several times).

    None for a folder that fewtune did not write, and for a folder with an edited record.
    """
    try:
        record, whole = read_record(folder)
        listed = record["files"]
        names = [PurePosixPath(name) for name in listed]
    except (OSError, ValueError, LookupError, TypeError):
        return None
    if not whole or not isinstance(listed, dict) or any(name.is_absolute() or ".." in name.parts for name in names):
        return None
    found = {name: {str(digest)} for name, digest in listed.items()}
    if record.get(GROWS) is True:
        found[GROWN] = set()  # it has no digest of its own
    if GROWN in found and (folder / GROWN).is_file():
        for line in os.fsdecode(read_regular(folder / GROWN)).splitlines():
            digest, _, name = line.partition(" ")
            found.setdefault(name, set()).add(digest)
    return found


def is_ours(folder: Path, name: str, files: Mapping[str, set[str]]) -> bool:
    """Whether fewtune wrote a file and nobody has changed it; `files` is the result of `written`."""
    if name == RECORD:
        return True
    path, grows = PurePosixPath(name), files.get(GROWN) == set()
    if name == GROWN and grows:
        return (folder / GROWN).is_file()
    half = _HALF.fullmatch(path.name) if grows else None
    if half is not None and ((path.parent / half[1]).as_posix() in files or half[1] == RECORD):
        return True
    try:
        return name in files and sha256(folder / name) in files[name]
    except (OSError, InputError):
        return False


def entries(folder: Path) -> Iterator[str]:
    """All files in a folder at any depth, and all links, also to folders: paths with slashes."""
    for here, folders, files in os.walk(folder):
        inside = Path(here)
        for name in (*files, *(f for f in folders if (inside / f).is_symlink())):
            yield (inside / name).relative_to(folder).as_posix()
