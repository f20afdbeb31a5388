"""The outline of a bench: what puts its cells together without data and models. Workers share it as a JSON file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias, final

from fewtune.errors import InputError
from fewtune.evaluation.cells import Cell, cells_of, key_of
from fewtune.evaluation.facts import backbone_fact
from fewtune.evaluation.study import Bench, Study
from fewtune.files import read_regular
from fewtune.spec import digest, text

OUTLINE = "outline.json"
Spelled: TypeAlias = tuple[str, bool]  # a method's text, and whether it learns from a source


@final
@dataclass(frozen=True)
class Outline:
    """`identity`: the digest of the bench. `targets`, `backbones` and `left_out` (sentences): of each study. `settings`: (study, protocol,
    ways, shots) in order. `methods`: by name, then by variant. `cells` with their keys, in order. `caption`, `items` (what rows are
    called), `remarks` and `beside`: for the table. `facts`: digests of the data and the backbone of each study, and of what its methods
    learn from and how.
    """

    identity: str
    targets: tuple[str, ...]
    backbones: tuple[str, ...]
    left_out: tuple[tuple[str, ...], ...]
    settings: tuple[tuple[int, int, str, str], ...]
    methods: Mapping[str, Mapping[str, Spelled]]
    cells: tuple[tuple[Cell, str], ...]
    caption: str
    items: str
    metric: str
    remarks: tuple[str, ...] = ()
    beside: tuple[tuple[str, str], ...] = ()
    facts: tuple[tuple[str, str, str], ...] = ()

    def setting(self, study: int, protocol: int) -> int:
        """The number of a study's setting among those of all."""
        return next(n for n, (s, p, _, _) in enumerate(self.settings) if (s, p) == (study, protocol))

    def encoded(self) -> bytes:
        """The content of the JSON file."""
        cells = [[c.study, c.method, c.variant, c.seed, name] for c, name in self.cells]
        return json.dumps({**self.__dict__, "cells": cells}, indent=1).encode()


def outline_of(bench: Bench, remarks: tuple[str, ...] = (), *, keys: bool = False) -> Outline:
    """The outline of a bench; `keys`: with the keys of its cells, which take time where there is much data."""
    made = {name: {label: (text(m), bool(m.phases)) for label, m in found.items()} for name, found in bench.methods.items()}
    return Outline(
        identity=digest(bench.text()),
        targets=bench.targets,
        backbones=bench.backbones,
        left_out=tuple(study.left_out() for study in bench.studies),
        settings=bench.settings,
        methods=made,
        cells=tuple((cell, key_of(cell, bench) if keys else "") for cell in cells_of(bench)),
        caption=bench.caption,
        metric=bench.studies[0].metric,
        items=f"{bench.studies[0].target.modality}s",
        remarks=remarks,
        beside=tuple(bench.studies[0].beside.items()),
        facts=tuple(map(_facts, bench.studies)),
    )


def _facts(study: Study) -> tuple[str, str, str]:
    """Digests of the rows of a study, of its backbone, and of what its methods learn from and how, but for the seeds."""
    rows = digest("\n".join(source.digest() for source in study.target.sources))
    learned = "\n".join([text(replace(study.training, seeds=(0,))), *study.learned_from()])
    return rows, digest(backbone_fact(study.backbone)), digest(learned)


def read_outline(folder: Path) -> Outline:
    """The outline that workers share in a folder. Raises InputError where it is absent or damaged."""
    path = folder / OUTLINE
    try:
        return outline_from(json.loads(read_regular(path)))
    except (OSError, ValueError, KeyError, TypeError, IndexError) as problem:
        raise InputError(f"{path} is damaged or absent ({problem}): start the study again in another folder.") from None


def outline_from(record: Mapping[str, Any]) -> Outline:
    """What `encoded` wrote, as JSON gives it."""
    found = dict(record)
    found["cells"] = tuple((Cell(*one[:4]), one[4]) for one in found["cells"])
    found["methods"] = {n: {label: (m[0], m[1]) for label, m in one.items()} for n, one in found["methods"].items()}
    for name in ("targets", "backbones", "remarks"):
        found[name] = tuple(found[name])
    for name in ("left_out", "settings", "beside", "facts"):
        found[name] = tuple(map(tuple, found[name]))
    return Outline(**found)
