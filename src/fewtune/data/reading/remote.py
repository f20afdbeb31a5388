"""Data behind an address such as `s3://bucket/photos.parquet` or `https://.../data/`: fetched once, then read from the disk. The only file
that imports fsspec.

A copy is kept in the folder `remote` beside the feature tables, with the mark of each file (its ETag, checksum or time of change, and its
size): what has the same mark is not fetched again. Where a store tells no more than a size, a file of the same size is taken for the same.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from json import dumps
from pathlib import Path, PurePosixPath
from typing import Any, final

from fewtune.errors import InputError
from fewtune.files import expanded, read_json, write_bytes
from fewtune.files.cache_folder import beside_tables
from fewtune.progress import stage
from fewtune.words import harmless

INSTALL = "pip install 'fewtune[remote]'"
PACKAGES = {  # what fsspec needs beside itself
    **dict.fromkeys(("s3", "s3a"), "s3fs"),
    **dict.fromkeys(("gs", "gcs"), "gcsfs"),
    **dict.fromkeys(("http", "https"), "aiohttp requests"),
    **dict.fromkeys(("abfs", "az"), "adlfs"),
    **dict.fromkeys(("sftp", "ssh"), "paramiko"),
}
OFFLINE = "HF_HUB_OFFLINE"  # the variable that says that there is no network, or that nothing may be asked of it
MOST_FILES = 1_000_000
_ADDRESS = re.compile(r"([a-z][a-z0-9+.:-]+):/{1,3}(?=[^/])(.+)", re.IGNORECASE | re.DOTALL)
_MARKS = (
    *("ETag", "etag", "md5Hash", "content_md5", "crc32c", "sha256", "generation", "versionId"),
    *("LastModified", "last_modified", "mtime", "modified", "updated", "created"),
)
_BLOCK = 1 << 22  # bytes
_NOTE = "fetched.json"


@final
@dataclass(frozen=True)
class _Remote:
    """A file of a store: its path there, its mark, and its bytes (None: not told)."""

    path: str
    mark: str
    size: int | None


def address_of(source: object) -> str | None:
    """The address that a source is, None for a local path. A path object lost slashes: s3:/bucket/a.npz, file:/data/a.npz."""
    if not isinstance(source, str | Path):
        return None
    found = _ADDRESS.fullmatch(str(source))
    if found is None or (isinstance(source, Path) and os.path.lexists(source)):
        return None
    slashes = "///" if found[1].lower() == "file" else "//"  # of file there is no machine but this one
    return f"{found[1].lower()}:{slashes}{found[2]}"


def located(source: str | Path) -> Path:
    """The local path of a source: of its copy, if it is an address. Raises InputError where it cannot be fetched."""
    address = address_of(source)
    return expanded(source) if address is None else fetched(address)


def name_of(address: str) -> str:
    """What the data behind an address is called: the stem of its file, or its folder."""
    return PurePosixPath(address.rstrip("/").partition("?")[0]).stem or "data"


def fetched(address: str) -> Path:
    """The copy of a file or folder, fetched where it is not here or has changed. The folder keeps its names; nothing is unpacked or run.

    With HF_HUB_OFFLINE=1 the copy is taken as it is. Raises InputError where fsspec or a package that it needs for this scheme is missing,
    where nothing is at the address or it cannot be reached, for names that lead out of the folder, and for a full disk.
    """
    if "::" in address:
        raise InputError(f"{address}: addresses within addresses are not read: give one scheme://path.")
    kept = beside_tables("remote")
    if kept is None:
        raise InputError(f"there is no folder to keep a copy of {address} in: set FEWTUNE_CACHE to one.")
    called = _safe(PurePosixPath(address.rstrip("/").partition("?")[0]).name or "data", address)
    folder = kept / sha256(address.rstrip("/").encode()).hexdigest()[:32]
    note = _note(folder)
    whole = folder / called
    if os.environ.get(OFFLINE, "").strip().lower() in ("1", "true", "yes", "on"):
        if note is None or not whole.exists():
            raise InputError(f"{address} was never fetched, and {OFFLINE} says that there is no network: unset it, or give a local path.")
        return whole
    with _explained(address, note is not None and whole.exists()):
        store, listed = _listed(address)
        if not listed:
            raise InputError(f"{address} holds no files.")
        known = {} if note is None else note
        wanted = {name: one for name, one in listed.items() if known.get(name) != one.mark or not _is_whole(whole / name, one)}
        _check_room(address, kept, wanted)
        with stage(f"fetching {len(wanted):,} of {len(listed):,} files") if wanted else contextlib.nullcontext():
            for name, one in wanted.items():
                _fetch(store, one, whole / name if name else whole)
                known = known | {name: one.mark}
                write_bytes(folder / _NOTE, dumps(known).encode())
    for name in known.keys() - listed.keys():  # what the store no longer has
        with contextlib.suppress(OSError):
            (whole / name).unlink()
    write_bytes(folder / _NOTE, dumps({name: one.mark for name, one in listed.items()}).encode())
    return whole


def _note(folder: Path) -> dict[str, str] | None:
    """The marks of the files of a copy by their names, None where there is no copy."""
    try:
        found = read_json(folder / _NOTE)
    except (OSError, InputError):
        return None
    return {str(name): str(mark) for name, mark in found.items()} if isinstance(found, dict) else None


def _is_whole(path: Path, one: _Remote) -> bool:
    try:
        return path.is_file() and (one.size is None or path.stat().st_size == one.size)
    except OSError:
        return False


def _listed(address: str) -> tuple[Any, dict[str, _Remote]]:
    """The store, and its files by their names below the address; "" for a single file."""
    try:
        import fsspec
    except ImportError:
        raise InputError(f"{address}: addresses need fsspec: {INSTALL}.") from None
    store, path = fsspec.core.url_to_fs(address)
    info = store.info(path)
    if info.get("type") != "directory":
        return store, {"": _remote(info, path)}
    root = store._strip_protocol(path).rstrip("/")
    listed = {}
    for name, found in store.find(path, detail=True).items():
        inside = str(name)[len(root) :].lstrip("/") if str(name).startswith(root) else str(name)
        listed["/".join(_safe(part, address) for part in inside.split("/"))] = _remote(found, str(name))
        if len(listed) > MOST_FILES:
            raise InputError(f"{address} holds more than {MOST_FILES:,} files: pack them into tar or Parquet shards.")
    return store, listed


def _remote(info: dict[str, Any], path: str) -> _Remote:
    size = info.get("size")
    marks = {key: str(info[key]) for key in _MARKS if info.get(key)}
    return _Remote(path, dumps({**marks, "size": size}, sort_keys=True, default=str), size if isinstance(size, int) else None)


def _safe(part: str, address: str) -> str:
    """A name of a file or folder as it is. Raises InputError for one that would lead elsewhere."""
    if part in ("", ".", "..") or any(c in "/\\\0" or not harmless(c) for c in part) or len(os.fsencode(part)) > 200:
        raise InputError(f"{address} holds a file with the name {part[:80]!r}, which cannot be kept here: rename it.")
    return part


def _check_room(address: str, kept: Path, wanted: dict[str, _Remote]) -> None:
    needed = sum(one.size or 0 for one in wanted.values())
    kept.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(kept).free
    if needed > free:
        raise InputError(
            f"{address} has {needed / 1e9:,.1f} GB to fetch, and {free / 1e9:,.1f} GB are free in {kept}: free some, or set "
            "FEWTUNE_CACHE to a folder with more space."
        )


def _fetch(store: Any, one: _Remote, path: Path) -> None:
    """Copy a file: it is whole or absent."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    try:
        with store.open(one.path, "rb") as there, open(part, "wb") as here:
            shutil.copyfileobj(there, here, _BLOCK)
            here.flush()
            os.fsync(here.fileno())
        if one.size is not None and part.stat().st_size != one.size:
            raise OSError(f"{part.stat().st_size:,} of {one.size:,} bytes came")
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


@contextlib.contextmanager
def _explained(address: str, here: bool) -> Iterator[None]:
    """Turn what stores raise, which is almost everything, into one sentence. `here`: whether there is a copy from before."""
    scheme = address.partition("://")[0]
    try:
        yield
    except (InputError, MemoryError):
        raise
    except FileNotFoundError:
        raise InputError(f"{address} does not exist: check its spelling.") from None
    except ImportError as problem:
        package = PACKAGES.get(scheme)
        todo = f"pip install {package}" if package else f"{_said(problem)}"
        raise InputError(f"{scheme}:// needs a package of its own beside fsspec: {todo}.") from None
    except Exception as problem:
        if isinstance(problem, ValueError) and "Protocol not known" in str(problem):
            raise InputError(f"{address}: fsspec does not know the scheme {scheme}://; expected s3://, gs://, https://, ...") from None
        old = f" (a copy from before is kept: {OFFLINE}=1 takes it)" if here else ""
        raise InputError(f"{address} cannot be read: {_said(problem)}; check the network and your rights{old}.") from None


def _said(problem: BaseException) -> str:
    return " ".join(str(problem).split())[:200].rstrip(".") or type(problem).__name__
