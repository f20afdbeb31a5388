"""What is transferred between runs: lines and barriers, rewinding and criticality by group, depth, margins, agreement of errors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from fewtune.backbones.text_preparation import TextPreparation
from fewtune.data.examples import Examples
from fewtune.data.reading.two_texts import check_fields
from fewtune.errors import InputError
from fewtune.progress import Progress
from fewtune.statistics.by_group import ByGroup, accuracy_by_group
from fewtune.statistics.intervals import Interval, wilson_interval
from fewtune.statistics.paired import paired_interval
from fewtune.studies.transferred.asked import Asked, Floats, rows_to_ask
from fewtune.studies.transferred.settings import TransferSettings
from fewtune.studies.transferred.shifted import Shifted, under_shifts
from fewtune.studies.transferred.solutions import HEAD, Solution, check_together, without_heads
from fewtune.transfer import (
    Agreement,
    Barrier,
    Criticality,
    Probe,
    Valley,
    barrier,
    chosen_groups,
    criticality,
    depth_probe,
    error_agreement,
    interpolation,
    layer_features,
    layer_norms,
    margins,
    reestimated,
    rewind,
    valley,
    with_buffers,
)

Weights = Mapping[str, Tensor]


@final
@dataclass(frozen=True, eq=False)
class Pair:
    """Two runs. `points` [P], `accuracy` [P]: the line between them, 0 is the first. Barriers in shares, nats and shares; `agreement` of
    their errors; `apart`: the Euclidean distance of their weights; `one_start`: whether both began with the same weights (None: unknown).
    """

    first: str
    second: str
    points: tuple[float, ...]
    accuracy: Floats
    barriers: Mapping[str, Barrier]
    agreement: Agreement
    apart: float
    one_start: bool | None


@final
@dataclass(frozen=True, eq=False)
class Judged:
    """One run. `accuracy`; `margin`: the median margin of the logarithms of probabilities; `depth`: a new head on every group, of the end
    and of the start; `norms`: (start, end) by group; `drops`: by how much accuracy falls when a group is rewound, paired over rows;
    `valleys`: the error on the way of each group with noise; `groups`: accuracy by domain of the data, None where it has no two. What needs
    the start is empty where it is unknown.
    """

    name: str
    accuracy: Interval
    margin: float
    depth: Mapping[str, Probe]
    start_depth: Mapping[str, Probe]
    norms: Mapping[str, tuple[float, float]]
    drops: Mapping[str, Interval]
    criticality: Criticality | None
    valleys: Mapping[str, Valley] = field(default_factory=dict)
    groups: ByGroup | None = None


@final
@dataclass(frozen=True, eq=False)
class Transferred:
    """All that `compare_runs` found on `count` test rows of `data`."""

    data: str
    count: int
    runs: tuple[Judged, ...]
    pairs: tuple[Pair, ...]
    details: tuple[str, ...]
    shifts: tuple[Shifted, ...] = ()


def compare_runs(solutions: Sequence[Solution], examples: Examples, settings: TransferSettings) -> Transferred:
    """Compare runs on labelled data. Raises InputError for other architectures or heads, a lone run without a start, unknown groups, or
    rows of two texts where a run reads one (and the other way round)."""
    if not solutions:
        raise InputError("expected at least one run to compare, found none.")
    for one in solutions:
        if isinstance(one.backbone.preparation, TextPreparation):
            check_fields(examples, one.backbone.preparation.fields)
    given = without_heads(list(solutions)) if settings.probe or any(one.bundle is None for one in solutions) else list(solutions)
    given = check_together(given)
    groups = chosen_groups(given[0].backbone.groups, settings.groups)
    asked = rows_to_ask(given, examples, settings.rows, settings.seed)
    shifts = under_shifts(given, asked, settings.shifts, settings.seed)
    couples = list(combinations(given, 2))
    if not couples and given[0].start is not None:  # one run: the line from its start to its end
        couples = [(_begun(given[0]), given[0])]
    settle = _settling(couples, asked, settings)
    steps = len(couples) * len(settings.points) + len(given) * (1 + len(groups))
    with Progress(steps, "measuring", quiet=settings.quiet) as progress:

        def measure(weights: Weights) -> Floats:
            found = asked.probabilities(weights)
            progress.advance(1)
            return found

        pairs = tuple(_pair(one, two, asked, measure, settle, settings) for one, two in couples)
        runs = tuple(_judged(one, asked, groups, measure, settings) for one in given)
    return Transferred(examples.name, len(asked.test), runs, pairs, tuple(_details(given, asked, settle is not None)), shifts)


def _begun(solution: Solution) -> Solution:
    """The start of a run with the head of its end."""
    assert solution.start is not None
    head = {n: t for n, t in solution.end.items() if n.startswith(HEAD)}
    return Solution(f"start of {solution.name}", solution.backbone, {**solution.start, **head}, solution.start, solution.bundle)


def _settling(
    couples: Sequence[tuple[Solution, Solution]], asked: Asked, settings: TransferSettings
) -> Callable[[Weights], Weights] | None:
    """How BatchNorm statistics are estimated again, on the first 256 rows; None where they stay."""
    named = [n for one, _ in couples[:1] for n in one.end if n.rpartition(".")[2] in ("running_mean", "running_var")]
    differ = any(not torch.equal(one.end[n], two.end[n]) for n in named for one, two in couples)
    if not named or not (differ if settings.batchnorm is None else settings.batchnorm):
        return None
    batches = asked.inputs(np.concatenate([asked.train, asked.test])[:256])
    batches = [batch for batch in batches if len(batch) == len(batches[0])]
    return lambda weights: reestimated(asked.backbone, weights, batches)


def _pair(
    one: Solution,
    two: Solution,
    asked: Asked,
    measure: Callable[[Weights], Floats],
    settle: Callable[[Weights], Weights] | None,
    settings: TransferSettings,
) -> Pair:
    p = interpolation(one.end, two.end, measure, settings.points, settle)  # [P, M, K]
    truth = asked.truth
    right = p.argmax(-1) == truth
    loss = -np.log(np.maximum(p[:, np.arange(len(truth)), truth], 1e-12))
    how: dict[str, Any] = {"seed": settings.seed, "resamples": 500}
    barriers = {"accuracy": barrier(settings.points, right, **how), "loss": barrier(settings.points, loss, "loss", **how)}
    if len(np.unique(truth)) > 1:
        barriers["auc"] = barrier(settings.points, p, "auc", truth, **how)
    ends = right[settings.points.index(0.0)], right[settings.points.index(1.0)]
    square = sum(float((t.double() - two.end[n].double()).square().sum()) for n, t in one.end.items() if t.is_floating_point())
    starts = (one.start, two.start)
    known = None if starts[0] is None or starts[1] is None else all(torch.equal(t, starts[1][n]) for n, t in starts[0].items())
    return Pair(one.name, two.name, settings.points, right.mean(1), barriers, error_agreement(*ends), square**0.5, known)


def _judged(one: Solution, asked: Asked, groups: Any, measure: Callable[[Weights], Floats], settings: TransferSettings) -> Judged:
    truth = asked.truth
    p = measure(one.end)
    right = p.argmax(1) == truth
    logits = torch.from_numpy(np.log(np.maximum(p, 1e-12)))
    drops: dict[str, Interval] = {}
    critical, valleys = None, dict[str, Valley]()
    error = lambda weights: float((asked.probabilities(weights).argmax(1) != truth).mean())  # noqa: E731
    if one.start is not None and one.moved:
        whole = with_buffers(groups, list(one.end))
        found = rewind(one.start, one.end, whole, lambda weights: measure(weights).argmax(1) == truth)
        drops = {title: paired_interval(right.astype(np.float64) - now) for title, now in found.items()}
        if settings.criticality:
            critical = criticality(one.start, one.end, groups, error, seed=settings.seed)
        if settings.valley:
            valleys = valley(one.start, one.end, groups, error, seed=settings.seed)
    before = one.start or {}
    return Judged(
        name=one.name,
        accuracy=wilson_interval(int(right.sum()), len(right)),
        margin=float(margins(logits, torch.from_numpy(truth)).median()),
        depth=_depth(asked, one.end),
        start_depth=_depth(asked, one.start) if one.start is not None and one.moved else {},
        norms={title: (layer_norms(before, groups).get(title, 0.0), norm) for title, norm in layer_norms(one.end, groups).items()},
        drops=drops,
        criticality=critical,
        valleys=valleys,
        groups=accuracy_by_group(right, asked.examples.group[asked.test], asked.examples.group_names),
    )


def _depth(asked: Asked, weights: Weights) -> dict[str, Probe]:
    """A new head on every group: half of the test rows of each class fit it, the others are asked; with a probe, its own rows fit it."""
    if asked.backbone.preparation.modality == "text":
        return {}
    train, test = asked.train, asked.test
    if not len(train):
        train, test = _halves(test, asked.labels)
    if len(np.unique(asked.labels[train])) < 2 or not len(test):
        return {}
    own = {n: t for n, t in weights.items() if not n.startswith(HEAD)}
    layers = layer_features(asked.backbone, own, asked.inputs(np.concatenate([train, test])))
    names, index = np.unique(asked.labels[train], return_inverse=True)
    known = np.isin(asked.labels[test], names)
    later = np.searchsorted(names, asked.labels[test][known])
    return depth_probe({title: (f[: len(train)], f[len(train) :][known]) for title, f in layers.items()}, index, later)


def _halves(rows: Any, labels: Any) -> tuple[Any, Any]:
    """Every other row of each class."""
    first: list[int] = []
    for label in np.unique(labels[rows]):
        first += rows[labels[rows] == label][::2].tolist()
    train = np.array(sorted(first), dtype=np.int64)
    return train, np.setdiff1d(rows, train)


def _details(given: Sequence[Solution], asked: Asked, settled: bool) -> Iterable[str]:
    if asked.bundle is not None:
        yield "The saved heads answer; on a line, their numbers are mixed like the weights."
    else:
        yield f"At each point a new head (logistic regression) is fitted to {len(asked.train)} other rows of the data."
    if settled:
        yield "BatchNorm statistics were estimated again at every point, the ends too."
    for one in given:
        if one.start is None:
            yield f"Where {one.name} began is not known, so nothing in it was rewound."
        elif not one.moved:
            yield f"In {one.name} nothing of the backbone moved."
        else:
            yield f"The start of {one.name} is {one.began}."
    yield "Bounds are 95% intervals over rows: of barriers a bootstrap that holds for all points at once, of the rest by row."
