"""Methods that choose their tasks: what a study lets them choose from, and what they may know of the target."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import final

import numpy as np
import torch
from torch import Tensor

from fewtune.backbones.backbone import Backbone
from fewtune.data.examples import Examples, Integers
from fewtune.data.row_space import RowSpace
from fewtune.errors import InputError
from fewtune.keys import key
from fewtune.learning.budget import each_phase
from fewtune.learning.ground import Ground
from fewtune.learning.method import Method
from fewtune.learning.phase import Phase, Step, phases_of
from fewtune.tasks.candidates import candidate_tasks, few_rows
from fewtune.tasks.chosen import Again, Chosen, Named
from fewtune.tasks.samplers import Sampled
from fewtune.tasks.selection import Evidence
from fewtune.tasks.task import Tasks
from fewtune.words import option

ROWS = 10  # of a class in a candidate task, and
WAYS = 15  # its classes where the sampler does not say: tasks of 150 rows, as Xu et al. take


@final
@dataclass(frozen=True, eq=False)
class Reserved:
    """Rows of the target that choose tasks and that no episode uses: their places in the target's space, and their classes."""

    rows: Integers
    labels: Integers


def reserve(examples: Examples, each: int) -> tuple[Examples, Reserved]:
    """(the same rows, the reserved ones unlabelled; the first `each` rows of every class by the digests of their content).

    Raises InputError where a class would be left without rows.
    """
    order = sorted(range(len(examples)), key=examples.row_digests.__getitem__)
    taken: dict[int, list[int]] = {}
    for row in order:
        label = int(examples.labels[row])
        if label >= 0 and len(taken.setdefault(label, [])) < each:
            taken[label].append(row)
    for label, mine in taken.items():
        if len(mine) == int((examples.labels == label).sum()):
            raise InputError(
                f"class {examples.class_names[label]!r} has {len(mine)} rows, and {each} of each class are reserved to choose tasks by: "
                f"reserve fewer with {option('--reserved N')}."
            )
    rows = np.array(sorted(row for mine in taken.values() for row in mine), dtype=np.int64)
    labels = examples.labels.copy()
    labels[rows] = -1
    column = replace(examples.column, values=labels)
    rest = replace(examples, columns={**examples.columns, examples.target: column})
    if (known := examples.__dict__.get("row_digests")) is not None:
        rest.__dict__["row_digests"] = known
    return rest, Reserved(rows, examples.labels[rows])


def chooses(method: Method) -> bool:
    """Whether a method's tasks are still to be chosen."""
    return any(isinstance(p.sampler, Chosen) and not isinstance(p.sampler.selection, Named) for p in phases_of(method.phases))


def chooses_again(phases: tuple[Step, ...]) -> bool:
    """Whether a phase chooses its tasks anew by what earlier ones have trained."""
    return any(isinstance(p.sampler, Chosen) and isinstance(p.sampler.selection, Again) for p in phases_of(phases))


def reserved_facts(target: RowSpace, reserved: Reserved) -> list[str]:
    """The content and the class of each reserved row, one a line."""
    places = [target.locate(int(row)) for row in reserved.rows]
    digests = [target.sources[source].row_digests[row].hex() for source, row in places]
    return [f"reserved {digest} {label}" for digest, label in zip(digests, reserved.labels.tolist(), strict=True)]


def candidate_ways(method: Method) -> int:
    """The classes of a candidate task: as many as the episodes drawn from the chosen ones have."""
    inner = [p.sampler.sampler for p in phases_of(method.phases) if isinstance(p.sampler, Chosen)]
    return max((s.ways for s in inner if isinstance(s, Sampled)), default=WAYS)


def candidates_of(tasks: Tasks, source: RowSpace, ways: int, count: int) -> Tasks:
    """What is chosen from: `count` candidates of `ways` classes a source, a few rows of each class."""
    return candidate_tasks(few_rows(tasks, source, ROWS), ways, count, key(0, "candidates"))


def evidence_of(backbone: Backbone, source: RowSpace, features: Tensor, reserved: Reserved) -> Evidence:
    """What a choice looks at: the target's reserved rows among its `features` [N, D], and the source's rows by the backbone as it is."""
    read = _remembering(lambda rows: backbone.embed(backbone.start(), source, rows))
    return Evidence(features=read, target=features[torch.from_numpy(reserved.rows)].float(), target_label=torch.from_numpy(reserved.labels))


def chosen_again(phase: Phase, weights: Mapping[str, Tensor], ground: Ground, target: RowSpace, tasks: Tasks, reserved: Reserved) -> Phase:
    """A phase whose tasks are chosen anew when it begins (`Again`), by the features that the weights at hand give; any other as it is.

    `ground`: of the source; `target`: the space of the reserved rows.
    """
    sampler = phase.sampler
    if not (isinstance(sampler, Chosen) and isinstance(sampler.selection, Again)):
        return phase
    held = ground.held(weights)
    read = _remembering(lambda rows: ground.backbone.embed(held, ground.space, rows))
    with torch.no_grad():
        mine = ground.backbone.embed(held, target, reserved.rows)
    evidence = Evidence(features=read, target=mine, target_label=torch.from_numpy(reserved.labels))
    return replace(phase, sampler=sampler.chosen_again(tasks, evidence))


def _remembering(embed: Callable[[Integers], Tensor]) -> Callable[[Integers], Tensor]:
    """The features of rows, each computed once."""
    known: dict[int, Tensor] = {}

    def read(rows: Integers) -> Tensor:
        new = np.array(sorted(set(rows.tolist()) - known.keys()), dtype=np.int64)
        if len(new):
            with torch.no_grad():
                found = embed(new)
            known.update(zip(new.tolist(), found.cpu(), strict=True))
        return torch.stack([known[row] for row in rows.tolist()])

    return read


def resolved(phases: tuple[Step, ...], candidates: Tasks, evidence: Evidence) -> tuple[Step, ...]:
    """The same phases with their chosen tasks by name."""

    def resolve(phase: Phase) -> Phase:
        sampler = phase.sampler
        return replace(phase, sampler=sampler.resolved(candidates, evidence)) if isinstance(sampler, Chosen) else phase

    return each_phase(phases, resolve)
