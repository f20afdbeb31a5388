"""The manifest of a folder that fewtune wrote: its `fewtune.json` lists every file with its sha256, and carries a digest of itself.

So one changed bit is noticed, and what fewtune wrote can be told from what somebody else put there. In a folder that grows (an unfinished
run) the list goes on in a second file, a line for each file, written before the file itself.
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

GROWN = "written.txt"  # the list that goes on, in a folder whose record says that it grows
GROWS = "grows"
_LONGEST = 256 << 20  # bytes of a record: more is no description of anything
_DIGEST = "digest"
_HALF = re.compile(r"\.(.+)\.[a-z0-9_]{8}\.tmp")  # what `write_bytes` leaves where it is killed


def sealed(record: Mapping[str, Any]) -> bytes:
    """A record as it is written: JSON that ends in the digest of all that comes before."""
    # read once more, so that whoever reads the file and seals it again gets the very same bytes
    plain = json.loads(_said({k: v for k, v in record.items() if k != _DIGEST}))
    return _said({**plain, _DIGEST: hashlib.sha256(_said(plain)).hexdigest()})


def _said(record: Mapping[str, Any]) -> bytes:
    # a file name that is not UTF-8 holds lone surrogates; written out as \udcXX they are JSON again
    return json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False).encode(errors="backslashreplace")


def read_record(folder: Path) -> tuple[dict[str, Any], bool]:
    """What the record of a folder says, and whether it is as fewtune wrote it, to the last bit.

    Raises InputError or ValueError for a file that is no JSON object, OSError where there is none.
    """
    content = read_regular(folder / RECORD, most=_LONGEST)
    try:
        record = json.loads(content)
        whole = isinstance(record, dict) and sealed(record) == content
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(record, dict):
        raise ValueError("it is no JSON object")
    return record, whole


def write_manifest(folder: Path) -> None:
    """Complete the record that lies in a new folder (none is an empty one): every file beside it is listed, and it is sealed."""
    path = folder / RECORD
    record = json.loads(path.read_bytes()) if path.exists() else {}
    files = {name: sha256(folder / name) for name in sorted(entries(folder)) if name != RECORD}
    write_bytes(path, sealed({**record, "files": files}))


def add_to_manifest(folder: Path, files: Iterable[Path]) -> None:
    """List more files of a folder, written after it was made. Nothing happens where the folder is not fewtune's."""
    if written(folder) is None:
        return
    record, _ = read_record(folder)
    more = {file.relative_to(folder).as_posix(): sha256(file) for file in files}
    write_bytes(folder / RECORD, sealed({**record, "files": {**record["files"], **more}}))


def grow(folder: Path, file: Path, content: bytes) -> None:
    """Write a file into a folder that grows; it is listed before it is there, so that no moment leaves it unlisted."""
    line = f"\n{hashlib.sha256(content).hexdigest()} {file.relative_to(folder).as_posix()}"  # a torn line before ends here
    with open(folder / GROWN, "ab") as listed:
        listed.write(os.fsencode(line))
        listed.flush()
        os.fsync(listed.fileno())
    write_bytes(file, content)


def written(folder: Path) -> dict[str, set[str]] | None:
    """The sha256 (of a file written again, each of them) that fewtune gave every file in a folder, by its path with slashes.

    None for a folder that fewtune did not write, and for one whose record was changed.
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
    """Whether fewtune wrote a file and nobody changed it since; `files` as `written` gives them."""
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
    """Everything in a folder but its folders, links to folders included, at any depth: paths with slashes."""
    for here, folders, files in os.walk(folder):
        inside = Path(here)
        for name in (*files, *(f for f in folders if (inside / f).is_symlink())):
            yield (inside / name).relative_to(folder).as_posix()
