"""The record of a saved model, `fewtune.json`: what can be known of a model before torch is loaded."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast, final, get_args

from fewtune.backbones.providers.text_options import fields_of_name
from fewtune.data.items import Modality, Wanted
from fewtune.errors import InputError
from fewtune.files import RECORD, read_record, recover

T = TypeVar("T")

FORMAT, LEAST_FORMAT = 6, 3  # written and read; 4: ensembles, 5: names of examples and held-out answers, 6: label columns that finetune


SINGLE, JOINT = "bundle", "joint"  # the kinds of records: of a model of one label column, and of several


def is_joint(path: Path) -> bool:
    """Whether a folder holds a model of several label columns (or of numbers, or with columns of numbers among its inputs)."""
    try:
        return bool(read_record(path)[0].get("kind") == JOINT)
    except (OSError, ValueError):
        return False


def check_is_model(path: Path) -> None:
    """Raise InputError for a folder without a record. A folder that a process left half replaced is put in order first."""
    recover(path.resolve())
    if not (path / RECORD).is_file():
        raise InputError(
            f"{path} is no saved model: expected a folder with a fewtune.json, as `fewtune adapt DATA --out {path}` writes it."
        )


def model_record(path: Path, kind: str = SINGLE) -> dict[str, Any]:
    """What fewtune.json says, as it was written. Raises InputError where it is missing, of another kind or format, or changed."""
    check_is_model(path)
    file = path / RECORD
    try:
        record, whole = read_record(path)
    except (OSError, ValueError) as problem:
        raise InputError(f"{file} cannot be read ({str(problem).rstrip('.')}): make the model again.") from None
    if record.get("kind") == JOINT != kind:
        raise InputError(
            f"{path} is a model of several label columns or of numbers, which this command does not take: `fewtune predict`, "
            "`evaluate`, `suggest`, `serve`, `export`, `add-class` and `pack` do, and in Python fewtune.load_columns."
        )
    if record.get("kind") != kind:
        raise InputError(f"{path} is not a saved model (its fewtune.json describes something else): expected what `fewtune adapt` writes.")
    number = record.get("format")
    if type(number) is not int or number > FORMAT:
        raise InputError(f"{path} has format {str(number)[:20]}, newer than this fewtune reads ({FORMAT}): upgrade fewtune.")
    if number < LEAST_FORMAT:
        raise InputError(f"{path} has format {number}, in which a change could not be noticed: make the model again with `fewtune adapt`.")
    if not whole:
        raise InputError(f"{file} was changed or damaged after it was saved (its digest differs): make the model again.")
    return record


@final
@dataclass(frozen=True)
class Glance:
    """What a model labels, and with what."""

    wanted: Wanted
    class_names: tuple[str, ...]


def glance(path: Path) -> Glance:
    """What the record of the model in a folder says, without torch. Raises InputError as `model_record` does."""
    record = model_record(path)
    backbone, names = record.get("backbone"), record.get("class_names")
    modality = backbone.get("modality") if isinstance(backbone, dict) else None
    if modality not in get_args(Modality) or not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError(f"{path} is not a whole fewtune model (modality {str(modality)[:40]!r}): make the model again.")
    called = str(backbone.get("name", "")) if isinstance(backbone, dict) else ""
    return Glance(Wanted(cast(Modality, modality), picture_size(record.get("facts")), fields_of_name(called)), tuple(names))


def picture_size(facts: object) -> tuple[int, ...] | None:
    """Height and width of the grey pictures that a model learned from as one array; None where it did not."""
    size = facts.get("picture_size") if isinstance(facts, Mapping) else None
    return tuple(size) if isinstance(size, list | tuple) else None


def get(record: Mapping[str, Any], name: str, kind: type[T]) -> T:
    """A value of the kind it must be. Raises KeyError and TypeError."""
    value = record[name]
    if not isinstance(value, kind):
        raise TypeError(f"{name} is {str(value)[:40]!r}")
    return value


def known(number: float) -> float | None:
    """A number as records and JSON hold it: None for one that is not finite."""
    return float(number) if math.isfinite(number) else None


def checked_threshold(given: float) -> float:
    """A threshold in [0, 1]. Raises InputError for any other number."""
    if not 0 <= given <= 1:
        raise InputError(f"expected a threshold between 0 and 1, found {given}.")
    return given
