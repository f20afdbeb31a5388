"""Backbone names: `provider:NAME,option=value,...`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

from fewtune.backbones.known import SIZES
from fewtune.backbones.providers.suggest import suggestions
from fewtune.errors import InputError, unknown
from fewtune.files import expanded
from fewtune.plugins import registered

SMALL = ("conv4", "resnet12", "mlp")
BARE = ("pixels", "precomputed", "embedded", *SMALL)  # named without a model
PROVIDERS = ("timm", "open_clip", "hf", *BARE)
PAIR = "pair"  # two towers, each of them a backbone (`providers.pair_names`)


@final
@dataclass(frozen=True)
class Name:
    """The parts of a backbone's name. `model` is a hub name or a local folder ("" for names without a model).

    `full`: the name as it is shown and recorded. For a local folder, it has only the last part of the path, so that no path is published.
    """

    full: str
    provider: str
    model: str
    options: Mapping[str, str]

    @property
    def folder(self) -> Path | None:
        """The local folder in the name, None for a hub name."""
        return Path(self.model).absolute() if self.model and Path(self.model).is_dir() else None

    def check(self, known: Iterable[str]) -> None:
        """Raise InputError for an option that the provider does not have."""
        names = set(known)
        for option in self.options:
            if option not in names:
                raise unknown(f"option of {self.provider}:", option, names)

    def integer(self, option: str, default: int) -> int:
        """A whole number of at least 1."""
        value = self.options.get(option, str(default))
        if not value.isdecimal() or int(value) < 1:
            raise InputError(f"{self.full}: expected a whole number of at least 1 for {option}, found {value!r}.")
        return int(value)

    def numbers(self, option: str, default: tuple[float, ...]) -> tuple[float, ...]:
        """One number, or several separated by slashes: `mean=0.5` or `mean=0.48/0.46/0.41`; as many as in `default`."""
        if option not in self.options:
            return default
        try:
            values = tuple(float(part) for part in self.options[option].split("/"))
        except ValueError:
            values = ()
        if len(values) not in (1, len(default)) or not all(map(math.isfinite, values)):
            wanted = "a number" if len(default) == 1 else f"a number, or {len(default)} separated by slashes"
            raise InputError(f"{self.full}: expected {wanted} for {option}, found {self.options[option]!r}.")
        return values * (len(default) // len(values))

    def share(self, option: str, default: float) -> float:
        """A number above 0 and at most 1."""
        value = self.numbers(option, (default,))[0]
        if not 0 < value <= 1:
            raise InputError(f"{self.full}: expected {option} above 0 and at most 1, found {value:g}.")
        return value

    def choice(self, option: str, known: tuple[str, ...], default: str) -> str:
        """One of some words."""
        value = self.options.get(option, default)
        if value not in known:
            raise unknown(option, value, known)
        return value

    def flag(self, option: str, default: bool) -> bool:
        """true or false."""
        return self.choice(option, ("true", "false"), str(default).lower()) == "true"


def read_name(full: str) -> Name:
    """The parts of a name. Raises InputError for an unknown provider or a malformed option."""
    if full.partition(":")[0] == PAIR:
        from fewtune.backbones.providers.pair_names import read_pair

        return read_pair(full)[2]
    head, *parts = full.split(",")
    provider, _, model = head.partition(":")
    if head in SIZES:
        raise InputError(f"{head} is one model for images and another for texts: `fewtune backbones` shows their names; give one of them.")
    own = provider in PROVIDERS
    if not own and provider not in (others := registered("fewtune.backbones")):
        known = {p: p if p in BARE else f"{p}:NAME" for p in (*PROVIDERS, *others)} | {PAIR: "pair:IMAGE+TEXT", "run": "run:FOLDER"}
        if near := suggestions(head, known, SMALL):
            raise InputError(f"unknown backbone {head!r}: did you mean {' or '.join(near)}?")
        raise InputError(f"unknown backbone {head!r}: known are {', '.join((*SIZES, *known.values()))}; see `fewtune backbones`.")
    if own and (provider in BARE) == bool(model):
        raise InputError(f"{full!r}: expected {provider if model else provider + ':NAME'}, with options after commas.")
    if model.startswith(("/", "./", "../", "~")):
        model = str(expanded(model))
        if not Path(model).is_dir():
            raise InputError(f"{full!r}: the folder {model} does not exist.")
    options = {}
    for part in parts:
        name, equals, value = part.partition("=")
        if not name or not equals or not value:
            raise InputError(f"{full!r}: expected options such as size=160, found {part!r}.")
        options[name.strip()] = value.strip()
    made = Name(full, provider, model, options)
    return made if made.folder is None else in_folder(made, made.folder)


def in_folder(name: Name, folder: Path) -> Name:
    """The same model and options, read from a local folder."""
    if name.provider == PAIR:  # a folder that holds both towers
        return replace(name, model=str(folder))
    last = folder.name if folder.name not in ("", "..") else folder.resolve().name
    options = "".join(f",{option}={value}" for option, value in name.options.items())
    return replace(name, full=f"{name.provider}:{last}{options}", model=str(folder))
