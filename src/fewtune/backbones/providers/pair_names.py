"""Names of two towers side by side: `pair:IMAGE+TEXT`, each of them the name of a backbone with its own options."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

from fewtune.backbones.defaults import is_size, sized
from fewtune.backbones.known import SIZES
from fewtune.backbones.providers.names import BARE, PAIR, PROVIDERS, Name, in_folder, read_name
from fewtune.data.items import Modality
from fewtune.errors import InputError
from fewtune.files import expanded
from fewtune.plugins import registered

WEIGHTS = "weights"  # of one tower: the path of a local file or folder
OPTIONS = ("width",)
_SHAPE = "pair:IMAGE+TEXT, such as pair:timm:mobilenetv2_100+hf:FOLDER"


@final
@dataclass(frozen=True)
class Tower:
    """One tower: its name, and the local weights that were given for it."""

    name: Name
    weights: Path | None = None


def is_pair(full: str) -> bool:
    """Whether a backbone's name is that of two towers."""
    return full.partition(":")[0] == PAIR


def read_pair(full: str) -> tuple[Tower, Tower, Name]:
    """(the image tower, the text tower, the pair itself with its own options) of `pair:IMAGE+TEXT` or `pair:IMAGE+TEXT+width=256`.

    A tower may be small, base or large, and may have `weights=PATH` among its options. A `+` separates towers only where the name of a
    provider follows, so folders may contain one. Raises InputError for anything else than two towers, for an unknown provider and for
    weights that do not exist.
    """
    parts = _parts(full.removeprefix(f"{PAIR}:"))
    if len(parts) < 2 or not all(parts[:2]):
        raise InputError(f"{full!r}: expected two towers, {_SHAPE}.")
    if any(is_pair(part) for part in parts[:2]):
        raise InputError(f"{full!r}: a tower of a pair is one model, found another pair: expected {_SHAPE}.")
    options = dict(_option(full, part) for part in parts[2:])
    image, text = _tower(parts[0], "image"), _tower(parts[1], "text")
    return image, text, _whole(full, (image, text), options)


def pair_name(image: str, text: str, *, width: int) -> Name:
    """The name of a pair of two named backbones with a common space of this width."""
    return read_pair(f"{PAIR}:{image}+{text}+width={width}")[2]


def placed(towers: Sequence[Tower], folders: Sequence[tuple[Path | None, Path | None]]) -> list[Tower]:
    """The towers, each read from its (folder, weights), where they are known."""
    return [
        Tower(tower.name if folder is None else in_folder(tower.name, folder), weights or tower.weights)
        for tower, (folder, weights) in zip(towers, folders, strict=True)
    ]


def _parts(said: str) -> list[str]:
    known = "|".join(re.escape(p) for p in (*PROVIDERS, PAIR, *registered("fewtune.backbones")))
    bare = "|".join(re.escape(p) for p in (*BARE, *SIZES))
    options = "|".join(OPTIONS)
    return re.split(rf"\+(?=(?:{known}):|(?:{bare})(?:,|\+|$)|(?:{options})=)", said)


def _option(full: str, part: str) -> tuple[str, str]:
    name, equals, value = part.partition("=")
    if not equals or name not in OPTIONS or not value:
        raise InputError(f"{full!r}: expected two towers and perhaps +width=256, found {part!r}.")
    return name, value


def _tower(part: str, modality: Modality) -> Tower:
    if is_size(part):
        size, comma, more = part.partition(",")
        part = sized(size, modality) + comma + more
    name = read_name(part)
    given = name.options.get(WEIGHTS)
    if given is None:
        return Tower(name)
    path = expanded(given).absolute()
    if not path.exists():
        raise InputError(f"the weights {given} do not exist: expected a local safetensors or pt file, or a folder.")
    options = {option: value for option, value in name.options.items() if option != WEIGHTS}
    shown = ",".join([name.full.split(",")[0], *(f"{option}={value}" for option, value in options.items())])
    return Tower(replace(name, full=shown, options=options), path)


def _whole(full: str, towers: Sequence[Tower], options: dict[str, str]) -> Name:
    """The name of the pair, without paths."""
    shown = "+".join([*(tower.name.full for tower in towers), *(f"{option}={value}" for option, value in options.items())])
    return Name(f"{PAIR}:{shown}", PAIR, full.removeprefix(f"{PAIR}:"), options)
