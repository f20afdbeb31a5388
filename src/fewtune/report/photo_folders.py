"""Photos in folders: sorted by their labels, or with their labels drawn on. Nothing that is there is replaced."""

from __future__ import annotations

import io
import itertools
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, final

from PIL import Image

from fewtune.data.examples import Examples
from fewtune.data.items import Files, read_file
from fewtune.data.subset import source_of
from fewtune.errors import InputError
from fewtune.files import distinct_names, numbered, refuse_closed, safe_name, write_bytes
from fewtune.report.drawn_label import labelled
from fewtune.words import counted

if TYPE_CHECKING:
    from fewtune.models.predict import Prediction

NO_LABEL, UNKNOWN = "no label", "unknown"


def check_folder(folder: Path, inputs: Iterable[Path], inside: Sequence[str] = (), *, flag: str) -> None:
    """Raise InputError where `folder`, or one of the folders `inside` it, cannot be written to or is among the inputs.

    A link in the place of an inner folder is refused: what is written must stay inside.
    """
    todo = f"choose another {flag}"
    if os.path.lexists(folder) and not folder.is_dir():
        raise InputError(f"{folder} is not a folder: {todo}.")
    refuse_closed(folder / "photo", todo)
    read = [path.resolve() for path in inputs if path.is_dir()]
    for name in ("", *inside):
        place = folder / name
        if name and os.path.lexists(place) and (place.is_symlink() or not place.is_dir()):
            raise InputError(f"{place} is a link or not a folder: {todo}, or move it away.")
        if any(place.resolve() == one or one in place.resolve().parents for one in read):
            raise InputError(f"{place} is in a folder that is read: its photos would be read too the next time; {todo}.")


@final
@dataclass(frozen=True, eq=False)
class _Shelf:
    """A folder that gets files. `used`: the names that this run has used."""

    folder: Path
    used: set[str] = field(default_factory=set)

    def put(self, name: str, content: bytes | Path) -> bool:
        """Put a file, or a link to a path, into the folder under the name or the next free one; whether it is new. The same thing under
        that name, from an earlier run, stays as it is."""
        for number in itertools.count(1):
            place = self.folder / numbered(name, number)
            if place.name.casefold() in self.used:
                continue
            self.used.add(place.name.casefold())
            try:
                if isinstance(content, Path):
                    self.folder.mkdir(parents=True, exist_ok=True)
                    place.symlink_to(content)
                else:
                    write_bytes(place, content, new=True)
                return True
            except FileExistsError:
                if _holds(place, content):
                    return False
        raise AssertionError


def _holds(place: Path, content: bytes | Path) -> bool:
    """Whether a file is what would be written."""
    try:
        if isinstance(content, Path):
            return place.is_symlink() and place.readlink() == content
        return not place.is_symlink() and place.is_file() and place.stat().st_size == len(content) and read_file(place) == content
    except (OSError, InputError):
        return False


def folders_of(class_names: Sequence[str]) -> dict[str, str]:
    """The folder of each class, under "class NAME", of photos without a label and of unknown ones."""
    keys = (*(f"class {name}" for name in class_names), NO_LABEL, UNKNOWN)
    return dict(zip(keys, distinct_names((*class_names, NO_LABEL, UNKNOWN)), strict=True))


def sort_photos(
    folder: Path, examples: Examples, predictions: Sequence[Prediction], class_names: Sequence[str], *, links: bool
) -> list[str]:
    """Copy each photo, or make a link to it, into the folder of its label; returns sentences.

    Photos without a label go into "no label", and those that are like no class into "unknown". Photos that cannot be read, and those that
    are no files of their own, stay where they are.
    """
    names = folders_of(class_names)
    shelves = {key: _Shelf(folder / name) for key, name in names.items()}
    new, there, loose = Counter[str](), 0, 0
    for row, p in enumerate(predictions):
        path = file_of(examples, row)
        if not p.scores:
            continue
        if path is None:
            loose += 1
            continue
        key = f"class {p.label}" if p.label is not None else UNKNOWN if p.unknown else NO_LABEL
        if shelves[key].put(safe_name(path.name), Path(os.path.abspath(path)) if links else read_file(path)):  # noqa: PTH100
            new[names[key]] += 1
        else:
            there += 1
    listed = ", ".join(f"{name} {count}" for name, count in sorted(new.items()))
    said = [f"{counted(new.total(), 'link' if links else 'photo', ('is', 'are'))} now in {folder}{f': {listed}' if listed else ''}."]
    return said + ([f"{counted(there, 'photo', ('was', 'were'))} there already."] if there else []) + _loose(loose)


def _loose(count: int) -> list[str]:
    return [f"{counted(count, 'photo', ('is', 'are'))} not in a file of its own and not sorted."] if count else []


def annotate_photos(folder: Path, examples: Examples, predictions: Sequence[Prediction]) -> list[str]:
    """Write a copy of each photo with its label and probability below it; returns sentences. EXIF data is left out."""
    shelf, new, there = _Shelf(folder), 0, 0
    for row, p in enumerate(predictions):
        if not p.scores:
            continue
        path = file_of(examples, row)
        photo = examples.items.fetch(row)
        assert isinstance(photo, Image.Image)
        name = safe_name(path.name if path is not None else examples.row_names[row])
        jpeg = name.lower().endswith((".jpg", ".jpeg"))
        if shelf.put(name if jpeg or name.lower().endswith(".png") else f"{name}.png", _encoded(labelled(photo, *words_of(p)), jpeg=jpeg)):
            new += 1
        else:
            there += 1
    said = [f"{counted(new, 'photo')} with labels drawn on {'is' if new == 1 else 'are'} now in {folder}."]
    return said + ([f"{counted(there, 'photo', ('was', 'were'))} there already."] if there else [])


def words_of(p: Prediction) -> tuple[str, str]:
    """The label, and what stands behind it."""
    best = max(p.scores, key=p.scores.__getitem__)
    sure = f"{100 * p.probability:.0f}%"
    if p.label is not None:
        return p.label, sure
    return (UNKNOWN if p.unknown else NO_LABEL), f"({best} {sure})"


def file_of(examples: Examples, row: int) -> Path | None:
    """The file of a row, None where it has none of its own."""
    items, at = source_of(examples.items, row)
    return items.paths[at] if isinstance(items, Files) else None


def _encoded(image: Image.Image, *, jpeg: bool) -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG" if jpeg else "PNG", **({"quality": 92} if jpeg else {}))
    return out.getvalue()
