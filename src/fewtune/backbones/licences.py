"""The licence of weights that lie in a local folder, as the files beside them say it."""

from __future__ import annotations

from pathlib import Path

from fewtune.backbones.providers.packable import licence_in
from fewtune.errors import InputError
from fewtune.files import read_regular
from fewtune.words import one_line

_NAMES = ("LICENSE", "LICENCE", "LICENSE.txt", "LICENCE.txt", "LICENSE.md", "LICENCE.md", "COPYING")
_CARDS = ("README.md", "MODEL_CARD.md")
_MOST, _LONGEST = 1 << 20, 80  # bytes of a file, letters of a licence


def licence_beside(path: Path) -> str | None:
    """The licence of the weights at a path, a file or a folder: what the head of the model card in the folder names, else the first line of
    a file LICENSE, with the file's name. None where neither says it."""
    folder = path if path.is_dir() else path.parent
    for name in _CARDS:
        if found := licence_in(_read(folder / name)):
            return one_line(found)[:_LONGEST]
    for name in _NAMES:
        if lines := _read(folder / name).split("\n"):
            first = next((line.strip("# \t\r") for line in lines if line.strip("# \t\r")), "")
            if first:
                return f"{one_line(first)[:_LONGEST]} (the file {name} beside them)"
    return None


def _read(file: Path) -> str:
    try:
        return read_regular(file, most=_MOST).decode("utf-8", "replace")
    except (OSError, InputError):
        return ""
