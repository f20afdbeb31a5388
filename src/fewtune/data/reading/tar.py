"""Tar archives as WebDataset writes them: files of one example stand together, `key.jpg` with `key.cls`, `key.json` or `key.txt`.

Nothing is unpacked. The headers are read once, with the small files of labels; images are read from the archive where they are used. Links,
devices and folders are passed over, and names are never used as paths.
Reference: https://github.com/webdataset/webdataset (the layout).
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from io import BufferedReader
from pathlib import Path
from typing import Any, ClassVar, final

from PIL import Image

from fewtune.data.examples import Skipped
from fewtune.data.images import decode
from fewtune.data.items import Modality, content_digest
from fewtune.data.reading.columns import USUAL
from fewtune.data.reading.order import IMAGE_SUFFIXES, ignored, some
from fewtune.data.reading.table import Lazy, Table
from fewtune.data.room import byte_limit, check_room
from fewtune.errors import InputError
from fewtune.files import open_regular
from fewtune.words import harmless, option

LARGEST = 4 << 20  # bytes of a file of labels or of one text, and of a name
LARGEST_IMAGE = 1 << 30  # bytes of an encoded image
_HELD = 700  # bytes in memory for each example, roughly
_SMALL = frozenset({".cls", ".json", ".txt"})
_LAYOUT = "expected files of one example side by side, as in 0001.jpg and 0001.cls (or .json, .txt)"


@final
@dataclass(frozen=True, eq=False)
class Sample:
    """One example of an archive: where its image lies, and what its small files hold."""

    archive: int
    key: str
    image: tuple[int, int] | None
    values: dict[str, Any]


@final
@dataclass(frozen=True, eq=False)
class ArchivedImages:
    """Encoded images inside tar archives: `places` of each, (archive, first byte, bytes), None where an example has none."""

    paths: Sequence[Path]
    places: Sequence[tuple[int, int, int] | None]
    names: Sequence[str]
    modality: Modality = "image"
    on_disk: ClassVar[bool] = True

    def __len__(self) -> int:
        return len(self.places)

    def read(self, row: int) -> bytes:
        """The encoded bytes of one image. Raises InputError where it cannot be read."""
        place = self.places[row]
        if place is None:
            raise InputError(f"{self.names[row]}: the picture is missing.")
        archive, start, size = place
        try:
            with open_regular(self.paths[archive]) as file:
                file.seek(start)
                content = file.read(size)
        except OSError as problem:
            raise InputError(f"{self.paths[archive]} cannot be read: {problem.strerror or problem}.") from None
        if len(content) < size:
            raise InputError(f"{self.names[row]} cannot be read: the archive is shorter than it was.")
        return content

    def fetch(self, row: int, size_hint: int | None = None) -> Image.Image:
        return decode(self.read(row), name=self.names[row], size_hint=size_hint)

    def digest(self, row: int) -> bytes:
        return content_digest(self.read(row))


def read_tar(path: Path, *more: Path, name: str | None = None) -> tuple[Table, tuple[Skipped, ...]]:
    """The examples of one or several archives as a table, and what was passed over.

    Columns: `image`, or `text` where no example has an image (from .txt); `label` from .cls; `caption` from a .txt beside an image; and
    what the objects of .json hold. Raises InputError for a compressed or damaged archive, for a file that is too large, for two files of
    one example with the same role, and where nothing can be read.
    """
    paths = (path, *more)
    held: list[Sample] = []
    skipped: list[Skipped] = []
    for number, one in enumerate(paths):
        held += _samples(one, number, skipped)
        check_room(one, _HELD * len(held), byte_limit())
    if not held:
        raise InputError(f"{path} holds no examples: {_LAYOUT}.")
    names = [f"{paths[sample.archive].name}:{_shown(sample.key)}" for sample in held]
    images = ArchivedImages(paths, [None if s.image is None else (s.archive, *s.image) for s in held], names)
    columns: dict[str, list[str]] = {}
    pictured = any(sample.image is not None for sample in held)
    if pictured:
        columns["image"] = []
    small = dict.fromkeys(role for sample in held for role in sample.values)
    renamed = {"cls": "label", "txt": "caption" if pictured else "text"}
    for role in sorted(small, key=lambda role: role.startswith(".")):  # a file of its own comes before the same word in a .json
        columns.setdefault(renamed.get(role, role.removeprefix(".")), []).append(role)
    made = Lazy(columns, lambda column: images if column == "image" and pictured else _values(held, columns[column]))
    return Table(name or path.stem, made, len(held), names.__getitem__, path.parent), tuple(skipped)


def check_labels(path: Path, table: Table) -> None:
    """Raise InputError for an archive in which nothing has a usual name for a label."""
    if any(column.casefold() in USUAL["label"] for column in table.columns):
        return
    there = [column for column in table.columns if column not in ("image", "text", "caption")]
    other = f", or name one of {some(there, 8)} with {option('--label NAME')}" if there else ""
    raise InputError(f"{path} holds no labels: expected a file 0001.cls (or a label in 0001.json) beside each 0001.jpg{other}.")


def _values(held: Sequence[Sample], roles: Sequence[str]) -> list[Any]:
    return [next((sample.values[role] for role in roles if sample.values.get(role) is not None), None) for sample in held]


@final
class _Bounded:
    """An open file of which nothing large is read at once: the headers of an archive may promise anything."""

    def __init__(self, file: BufferedReader) -> None:
        self.file, self.tell, self.seek = file, file.tell, file.seek

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= LARGEST:
            raise tarfile.ReadError(f"a header of {size:,} bytes")
        return self.file.read(size)


@final
@dataclass(eq=False)
class _Open:
    """The example whose files are being read."""

    key: str = ""
    image: tuple[int, int] | None = None
    values: dict[str, Any] = field(default_factory=dict)


def _samples(path: Path, number: int, skipped: list[Skipped]) -> list[Sample]:
    found: list[Sample] = []
    at = _Open()

    def close() -> None:
        if at.key and (at.image is not None or at.values):
            found.append(Sample(number, at.key, at.image, at.values))

    with open_regular(path) as file:
        _check_start(path, file)
        size = os.fstat(file.fileno()).st_size
        for member in _members(path, file):
            why = _passed_over(member)
            if why is not None:
                skipped.extend([Skipped(f"{path.name}:{_shown(member.name)}", why)] if why else [])
                continue
            if member.offset_data + member.size > size:
                raise InputError(f"{path} is cut off: {_shown(member.name)} goes beyond its end; copy it again.")
            key, suffix = _split(member.name)
            if key != at.key:
                close()
                at = _Open(key)
            _add(path, file, member, suffix, at, skipped)
        close()
    if twice := next((s.key for s, n in zip(found, _numbered(found), strict=True) if n), None):
        raise InputError(f"{path} holds {twice} in two places: {_LAYOUT}.")
    return found


def _numbered(found: Sequence[Sample]) -> list[bool]:
    """Whether each key has stood before."""
    seen: set[str] = set()
    again = []
    for sample in found:
        again.append(sample.key in seen)
        seen.add(sample.key)
    return again


def _check_start(path: Path, file: BufferedReader) -> None:
    start = file.read(6)
    file.seek(0)
    if start.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")):
        raise InputError(f"{path} is compressed, so rows cannot be read where they lie: uncompress it to a plain .tar first.")


def _members(path: Path, file: BufferedReader) -> Any:
    """The entries of an archive, one after another; what it is read with keeps none of them."""
    try:
        with tarfile.open(fileobj=_Bounded(file), mode="r:") as archive:  # type: ignore[call-overload]  # read, seek and tell are enough
            while (member := archive.next()) is not None:
                place = file.tell()
                yield member
                file.seek(place)
                archive.members = []
            file.seek(archive.offset)
            if any(file.read(tarfile.BLOCKSIZE)):  # tarfile takes a damaged header for the end
                raise tarfile.ReadError(f"the header at byte {archive.offset:,} is damaged")
    except (tarfile.TarError, ValueError, OverflowError, UnicodeError, EOFError) as problem:
        if isinstance(problem, InputError):
            raise
        said = (str(problem).splitlines() or [type(problem).__name__])[0][:200].rstrip(".")
        raise InputError(f"{path} cannot be read as a tar archive ({said}): make it again, or unpack it and give the folder.") from None


def _passed_over(member: tarfile.TarInfo) -> str | None:
    """Why an entry is no file of an example ("" where nobody needs to know), or None."""
    if member.isdir() or ignored(member.name.rsplit("/", 1)[-1]):
        return ""
    if member.issym() or member.islnk():
        return "a link"
    if not member.isreg() or member.issparse():
        return "not a plain file"
    return None


def _split(name: str) -> tuple[str, str]:
    """The key of an entry, and the suffix of its file, in lower case: the name to the first dot of its last part, and the last suffix."""
    folder, _, last = name.rpartition("/")
    stem, _, rest = last.partition(".")
    return f"{folder}/{stem}" if folder else stem, "." + rest.rpartition(".")[2].lower()


def _add(path: Path, file: BufferedReader, member: tarfile.TarInfo, suffix: str, at: _Open, skipped: list[Skipped]) -> None:
    """Put a file to its example."""
    what = f"{path.name}:{_shown(member.name)}"
    if suffix in IMAGE_SUFFIXES:
        if at.image is not None:
            raise InputError(f"{what}: the example {_shown(at.key)} has two images: {_LAYOUT}.")
        if member.size > LARGEST_IMAGE:
            raise InputError(f"{what} has {member.size:,} bytes, more than the limit of {LARGEST_IMAGE:,} for an image.")
        at.image = (member.offset_data, member.size)
        return
    if suffix not in _SMALL:
        skipped.append(Skipped(what, f"not an image, a text or a label (suffix {suffix!r})"))
        return
    if member.size > LARGEST:
        raise InputError(f"{what} has {member.size:,} bytes, more than the limit of {LARGEST:,} for a text or a label.")
    file.seek(member.offset_data)
    content = file.read(member.size)
    role = suffix[1:]
    if role in at.values or (role == "json" and any(key.startswith(".") for key in at.values)):
        raise InputError(f"{what}: the example {_shown(at.key)} has two files {suffix}: {_LAYOUT}.")
    text = _text(content, what)
    at.values |= _record(text, what) if role == "json" else {role: text.strip() if role == "cls" else text}


def _text(content: bytes, what: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{what} holds a byte that is not UTF-8: save it as UTF-8.") from None


def _record(text: str, what: str) -> dict[str, Any]:
    """The values of a .json, each under its word with a dot before it, so that they are not taken for files of their own."""
    import json

    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as problem:
        raise InputError(f"{what} is not JSON ({problem}): expected one object.") from None
    if not isinstance(found, dict):
        raise InputError(f'{what}: expected one JSON object such as {{"label": ...}}, found something else.')
    return {f".{key}": value for key, value in found.items()}


def _shown(name: str) -> str:
    """A name for messages: of letters alone, and not too long."""
    return "".join(c if harmless(c) else "?" for c in name)[:200]
