"""Which unlabelled rows to label next: those that the model is least sure of, and that differ from one another."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, final

import numpy as np

from fewtune.data.examples import Examples, Integers
from fewtune.errors import InputError
from fewtune.keys import key
from fewtune.models.bundle import Bundle
from fewtune.models.predict import Running, own_features, probabilities
from fewtune.statistics import USUAL_SLOPE, Slope, carried_on
from fewtune.words import counted

Floats: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]

_HERE = Running()
_ROUNDS = 20  # of moving the centres


@final
@dataclass(frozen=True)
class Suggestion:
    """A row to label: its number `row` among those given, its `name`, the class that the model would answer, its `probability`, and the
    `margin` to the next class, 0 to 1."""

    row: int
    name: str
    answer: str
    probability: float
    margin: float


@final
@dataclass(frozen=True, eq=False)
class Suggested:
    """`rows`: what to label, the most useful first. `expected`: accuracy now, and after labelling as many rows drawn at random; None where
    it is not known. `left_out`: (row, reason). `sentences`: the same in words."""

    rows: tuple[Suggestion, ...]
    expected: tuple[float, float] | None
    left_out: tuple[tuple[str, str], ...]
    sentences: tuple[str, ...]


def suggest(bundle: Bundle, examples: Examples, count: int, *, running: Running = _HERE, seed: int = 0) -> Suggested:
    """At most `count` rows of `examples` to label next. Rows that the model was learned from, copies and unreadable rows are left out.

    See `uncertain_and_diverse` for how they are chosen. Raises InputError where no row is left, and for a count below 1.
    """
    if count < 1:
        raise InputError(f"expected a count of 1 row or more to suggest, found {count}.")
    features, bad = own_features(bundle, examples, running=running, skip_bad=True)
    reasons = dict(bad) | needless(examples.row_digests, examples.row_names, _learned(bundle), bad)
    left = np.array([row for row in range(len(examples)) if row not in reasons], dtype=np.int64)
    if not len(left):
        first = next(iter(sorted(reasons)))
        raise InputError(f"no row is left to suggest: {examples.row_names[first]} ({reasons[first]}).")
    p = probabilities(bundle, features[left]).numpy()
    chosen = uncertain_and_diverse(features[left].double().numpy(), p, count, seed=seed)
    top = np.sort(p, axis=1)[:, ::-1]
    rows = tuple(
        Suggestion(
            row=int(left[i]),
            name=examples.row_names[left[i]],
            answer=bundle.class_names[int(p[i].argmax())],
            probability=float(top[i, 0]),
            margin=float(top[i, 0] - top[i, 1]),
        )
        for i in chosen.tolist()
    )
    expected = _expected(bundle, len(rows))
    left_out = tuple((examples.row_names[row], reason) for row, reason in sorted(reasons.items()))
    return Suggested(rows, expected, left_out, _sentences(bundle, rows, len(left), expected, left_out))


def uncertain_and_diverse(features: Floats, p: Floats, count: int, *, seed: int = 0) -> Integers:
    """The places [<= count] of rows that are uncertain and far from one another, the most uncertain first.

    `features` [N, D], `p` [N, K]: the model's probabilities. The rows are put into `count` groups by k-means of their directions
    (features of length 1), in which a row weighs 1 - margin, the margin being the gap between its two likeliest classes. Of each group the
    row nearest to its centre is taken, so that the centres lie where many uncertain rows are and each place is asked about once.

    Reference: Zhdanov, "Diverse mini-batch active learning", 2019 (weighted k-means, weights 1 - margin as there).
    Departs: all rows take part, not the most uncertain ones alone; every group gives a row that no other gave.
    On sets of texts it is not shown to bring more than random rows; on one set of photos it does (docs/benchmarks.md).
    """
    top = np.sort(p, axis=1)
    return weighted_and_diverse(features, 1 - (top[:, -1] - top[:, -2]), count, seed=seed)


def weighted_and_diverse(features: Floats, weight: Floats, count: int, *, seed: int = 0) -> Integers:
    """The same by weights [N], 0 to 1, of how unsure each row is."""
    weight = np.maximum(weight, 1e-6)
    if count >= len(weight):
        return np.argsort(-weight, kind="stable")
    x = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    random = key(seed, "suggest").generator()
    centres = x[_spread(x, weight, count, random)]
    for _ in range(_ROUNDS):
        group = _gaps(x, centres).argmin(1)
        total = np.bincount(group, weights=weight, minlength=count)
        moved = np.zeros_like(centres)
        np.add.at(moved, group, weight[:, None] * x)
        filled = total > 0
        moved[filled] /= total[filled, None]
        moved[~filled] = centres[~filled]
        if np.allclose(moved, centres):
            break
        centres = moved
    gaps, taken = _gaps(x, centres), list[int]()
    for k in range(count):
        gaps[taken, k] = np.inf
        taken.append(int(gaps[:, k].argmin()))
    found = np.array(taken)
    return found[np.argsort(-weight[found], kind="stable")]


def _spread(x: Floats, weight: Floats, count: int, random: np.random.Generator) -> list[int]:
    """Places of first centres: each drawn by weight times the squared distance to the nearest of those before (k-means++)."""
    chosen = [int(random.choice(len(x), p=weight / weight.sum()))]
    nearest = _gaps(x, x[chosen])[:, 0]
    for _ in range(count - 1):
        chance = weight * nearest
        chance[chosen] = 0
        if not chance.sum() > 0:  # all rows that are left are copies of chosen ones
            chance = weight.copy()
            chance[chosen] = 0
        chosen.append(int(random.choice(len(x), p=chance / chance.sum())))
        nearest = np.minimum(nearest, _gaps(x, x[chosen[-1:]])[:, 0])
    return chosen


def _gaps(x: Floats, centres: Floats) -> Floats:
    """Squared distances [N, K]."""
    found: Floats = np.maximum((x**2).sum(1)[:, None] - 2 * x @ centres.T + (centres**2).sum(1), 0)
    return found


def _learned(bundle: Bundle) -> frozenset[bytes]:
    return frozenset() if bundle.support is None else frozenset(bundle.support.digests)


def needless(digests: Sequence[bytes], names: Sequence[str], learned: Collection[bytes], bad: Mapping[int, str]) -> dict[int, str]:
    """Rows that need no label, and why: learned from already, or copies of other rows."""
    first: dict[bytes, int] = {}
    found: dict[int, str] = {}
    for row, digest in enumerate(digests):
        if row in bad:
            continue
        if digest in learned:
            found[row] = "the model was learned from it"
        elif digest in first:
            found[row] = f"a copy of {names[first[digest]]}"
        else:
            first[digest] = row
    return found


def _expected(bundle: Bundle, new: int) -> tuple[float, float] | None:
    """(accuracy to expect now, and with `new` more labels), along the learning curve that was measured when the model was made."""
    facts, support = bundle.facts, bundle.support
    said, slope = facts.get("expected_accuracy"), facts.get("learning_slope")
    if support is None or not isinstance(said, dict):
        return None
    known = Slope(float(slope["value"]), float(slope["spread"])) if isinstance(slope, dict) else USUAL_SLOPE
    shares = np.bincount(support.labels) / len(support.labels)
    now = float(said["mean"])
    return now, carried_on(now, 1 + new / len(support.labels), float((shares**2).sum()), known)


def _sentences(
    bundle: Bundle, rows: tuple[Suggestion, ...], of: int, expected: tuple[float, float] | None, left_out: tuple[tuple[str, str], ...]
) -> tuple[str, ...]:
    said = [f"Label {counted(len(rows), 'row')} of {of:,}: those that the model is least sure of, far from one another."]
    if expected is None:
        said.append("How much that brings cannot be told: the accuracy of this model is not known.")
    else:
        now, then = (100 * value for value in expected)
        have = 0 if bundle.support is None else len(bundle.support.labels)
        said.append(
            f"With {len(rows):,} more labels beside the {have:,} that it has, expect an accuracy of about {then:.1f}% instead of "
            f"{now:.1f}%: by its learning curve, for labels chosen at random."
        )
    if left_out:
        said.append(f"{counted(len(left_out), 'row', ('was', 'were'))} left out, for example {left_out[0][0]} ({left_out[0][1]}).")
    return tuple(said)
