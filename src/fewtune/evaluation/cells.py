"""Cells: a study in pieces, each computed by itself, kept under a digest of all that its value depends on.

Whatever computes the cells (a loop, several machines) and in whatever order, the study is the same.
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias, final

import numpy as np

from fewtune.errors import InputError
from fewtune.evaluation.answers import Scores
from fewtune.evaluation.result import UNTRAINED
from fewtune.evaluation.study import DEFAULTS, Bench, Study
from fewtune.evaluation.training_settings import Cost
from fewtune.spec import digest

Place: TypeAlias = tuple[int, int]  # (protocol number, seed of the episodes)
_SAID = "said"
_BROKEN = (OSError, ValueError, TypeError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)


@final
@dataclass(frozen=True)
class Cell:
    """A method on one target through one backbone, trained by one seed.

    `study`: the number of target and backbone in the bench. `variant`: a value of a sweep, which the cell judges on validation episodes; or
    None: the cell tests the method, with the value that the sweep chose. `seed`: of the training, UNTRAINED where nothing is trained.
    """

    study: int
    method: str
    variant: str | None
    seed: int

    @property
    def title(self) -> str:
        """The cell in words."""
        return " ".join(filter(None, (self.method, self.variant, "" if self.seed == UNTRAINED else f"seed {self.seed}")))


@final
@dataclass(frozen=True, eq=False)
class CellValue:
    """`scores` by (protocol number, episode seed): none where a variant was judged. `cost` of training, and what was noticed."""

    scores: Mapping[Place, Scores]
    cost: Cost | None = None
    notes: tuple[str, ...] = ()


def cells_of(bench: Bench) -> list[Cell]:
    """All cells in order: what a cell needs comes before it."""
    found = []
    for number, study in enumerate(bench.studies):
        for name, variants in study.methods.items():
            method, seeds = variants[DEFAULTS], study.training.seeds
            if method.frozen:
                found.append(Cell(number, name, None, UNTRAINED))
                continue
            if name not in study.beside:
                found += [Cell(number, name, label, seeds[0]) for label in variants if label != DEFAULTS]
            found += [Cell(number, name, None, seed) for seed in (seeds if method.phases else seeds[:1])]
    return found


def needed_by(cell: Cell, bench: Bench) -> list[Cell]:
    """What must be done before a cell: the judging of all values of its method's sweep."""
    if cell.variant is not None or cell.seed == UNTRAINED:
        return []
    study = bench.studies[cell.study]
    name = study.beside.get(cell.method, cell.method)
    return [Cell(cell.study, name, label, study.training.seeds[0]) for label in study.methods[name] if label != DEFAULTS]


def key_of(cell: Cell, bench: Bench) -> str:
    """32 hexadecimal digits for all that a cell's value depends on; other methods, targets, backbones and training seeds are not part of
    it.
    """
    study = bench.studies[cell.study]
    name = study.beside.get(cell.method, cell.method)
    methods = {one: study.methods[one] for one in dict.fromkeys((name, cell.method))}
    first = study.training.seeds[:1]
    alone = Study.alone(study, methods, replace(study.training, seeds=first))
    return digest(f"{alone}\ncell {cell.method!r} {cell.variant!r} seed {cell.seed}")


def encoded(value: CellValue) -> bytes:
    """A cell's value as the content of an `.npz` file."""
    arrays: dict[str, Any] = {}
    for (setting, seed), scores in value.scores.items():
        for name, column in asdict(scores).items():
            if column is not None:
                arrays[f"{setting}/{seed}/{name}"] = np.asarray(column)
    said = json.dumps({"cost": value.cost and asdict(value.cost), "notes": value.notes}).encode()
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **{_SAID: np.frombuffer(said, dtype=np.uint8)}, **arrays)
    return buffer.getvalue()


def decoded(content: bytes, path: Path) -> CellValue:
    """What `encoded` wrote; `path` is named where it is damaged. Raises InputError then."""
    try:
        found: dict[Place, dict[str, Any]] = {}
        with np.load(io.BytesIO(content), allow_pickle=False) as stored:
            said = json.loads(stored[_SAID].tobytes())
            for name in stored.files:
                if name != _SAID:
                    setting, seed, column = name.split("/")
                    found.setdefault((int(setting), int(seed)), {})[column] = stored[name]
        scores = {place: Scores(**{**columns, "seconds": float(columns["seconds"])}) for place, columns in found.items()}
        return CellValue(scores, said["cost"] and Cost(**said["cost"]), tuple(said["notes"]))
    except _BROKEN as problem:
        raise InputError(f"{path} is damaged ({problem}): remove it to test again.") from None
