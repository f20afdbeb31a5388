"""How a saved model does on labelled data that it was not learned from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias, TypedDict, final

import numpy as np

from fewtune.backbones.features.readable import remarks_on_length
from fewtune.data.examples import Examples, Integers
from fewtune.data.items import Wanted
from fewtune.data.reading.asked import Asked
from fewtune.data.reading.read import read_asked
from fewtune.data.same_names import match_names, matched_in_words
from fewtune.errors import InputError
from fewtune.models.bundle import Bundle
from fewtune.models.predict import Running, own_features, probabilities, refuse_other_modality, threshold_of
from fewtune.statistics import ByGroup, Interval, accuracy_by_group, expected_calibration_error, wilson_interval
from fewtune.statistics.metrics import METRICS
from fewtune.words import counted, noun_of, option

Floats: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]

_SHOWN = 5
OTHERS = ("balanced_accuracy", "macro_f1", "mcc", "auc", "average_precision", "log_loss")  # beside accuracy
UNKNOWN = "its class is not one of the model's"
LEARNED = "the model was learned from it"
_HERE = Running()


class Counted(TypedDict, total=False):
    """Which rows count, and as what; `evaluate` has the defaults."""

    threshold: float | None
    """In [0, 1]: the model abstains from rows whose best probability is lower. None: the threshold it was saved with."""
    skip_unknown: bool
    """Leave out rows of classes that the model does not have, instead of refusing the data."""
    include_learned: bool
    """Count rows that the model learned from, by their content."""
    skip_bad: bool
    """Leave out rows that cannot be read, instead of refusing the data."""


@final
@dataclass(frozen=True)
class Wrong:
    """A row that was answered wrongly: its number `row` in the data, its `name`, its `true` class, the class that was `said`, and the
    `probability` of that answer. `given`: whether that answer is above the threshold, so that it is given as a label."""

    row: int
    name: str
    true: str
    said: str
    probability: float
    given: bool


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Evaluation:
    """What a model got right on `count` labelled rows of `data`.

    `accuracy`: how often the most probable class is the right one, with its 95% Wilson interval. `recall` [K]: of each class, NaN where
    it has no rows; `counts` [K]: its rows. `confusion` [K, K]: rows by true and most probable class. `calibration_error` in [0, 1]: the
    mean gap between confidence and accuracy, in 15 bins. `abstained`: rows whose best probability is below `threshold`; `answered`: the
    accuracy on the rest, None where there is none. `left_out`: (row, reason) of rows that do not count. `wrong`: what was answered wrongly,
    the surest answers first. `sentences`: all this in words. `noun`: what one row is, a photo, a text or an example.
    `metrics`: balanced_accuracy, macro_f1, mcc, auc, average_precision and log_loss by name (`fewtune.statistics.metrics`); NaN where
    one has no value. `groups`: accuracy by group (domain, alphabet) of the data; None where it has no two groups.
    """

    data: str
    class_names: tuple[str, ...]
    count: int
    accuracy: Interval
    recall: Floats
    counts: Integers
    confusion: Integers
    calibration_error: float
    threshold: float
    abstained: int
    answered: Interval | None
    left_out: tuple[tuple[str, str], ...]
    wrong: tuple[Wrong, ...] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)
    sentences: tuple[str, ...] = ()
    noun: str = "example"
    groups: ByGroup | None = None


def read_labelled(
    data: Any,
    *,
    label: str | None = None,
    input: str | Sequence[str] | None = None,
    group: str | None = None,
    wanted: Wanted | None = None,
) -> Examples:
    """Labelled rows of one class or more. `group`: the column of groups of a table. `wanted`: what the model reads, which may be two
    columns of texts. Raises InputError where there are no labels.
    """
    columns = input if input is None or isinstance(input, str) else tuple(input)
    examples = read_asked(data, Asked(label=label, input=columns, group=group, labelled=False, wanted=wanted))
    if not (examples.labels >= 0).any():
        raise InputError(
            f"{examples.name} holds no labels: expected class folders, or a label column (name it with {option('--label NAME')})."
        )
    return examples


def evaluate(
    bundle: Bundle,
    examples: Examples,
    *,
    threshold: float | None = None,
    skip_unknown: bool = False,
    include_learned: bool = False,
    skip_bad: bool = False,
    running: Running = _HERE,
) -> Evaluation:
    """The model's answers to labelled rows, compared with the labels. Classes are matched by name; case and the form of
    accents do not count.

    Rows are left out, and the answer says so: rows without a label; rows whose content the model was learned from, unless
    `include_learned`; with `skip_unknown` rows of classes that it does not have, which are refused otherwise; with `skip_bad` rows that
    cannot be read. `threshold` in [0, 1]: by default the bundle's. Raises InputError where no row is left.
    """
    refuse_other_modality(bundle, examples)
    least = threshold_of(bundle, threshold)
    labels, strange = _matched(examples, bundle.class_names)
    if strange and not skip_unknown:
        several = "a class" if len(strange) == 1 else f"{len(strange)} classes"
        raise InputError(
            f"{examples.name} has {several} that this model does not have: {_some(strange)}; its classes are {_some(bundle.class_names)}. "
            f"Rename them, or leave them out with {option('--skip-unknown')}."
        )
    reasons = dict.fromkeys(np.flatnonzero(examples.labels < 0).tolist(), "it has no label")
    reasons |= dict.fromkeys(np.flatnonzero((examples.labels >= 0) & (labels < 0)).tolist(), UNKNOWN)
    if not include_learned and bundle.support is not None:
        known = set(bundle.support.digests)
        reasons |= {row: LEARNED for row, d in enumerate(examples.row_digests) if d in known and row not in reasons}
    rows = np.array([row for row in range(len(examples)) if row not in reasons], dtype=np.int64)
    if len(rows):
        measured = examples.take(rows)
        own = running.load(bundle)
        features, bad = own_features(bundle, measured, running=replace(running, backbone=own), skip_bad=skip_bad)
        reasons |= {int(rows[i]): reason for i, reason in bad.items()}
        kept = np.array([i for i in range(len(rows)) if i not in bad], dtype=np.int64)
    if not len(rows) or not len(kept):
        todo = f"give other rows, or count these with {option('--include-learned')}" if LEARNED in reasons.values() else "give other rows"
        raise InputError(f"{examples.name} leaves no row to evaluate on: {_why(examples, reasons)}; {todo}.")
    p = probabilities(bundle, features[kept]).numpy()
    made = _measured(bundle, p, labels[rows[kept]], least, examples.name)
    made = replace(made, noun=noun_of(examples.modality), wrong=_wrong(bundle, examples, rows[kept], p, labels[rows[kept]], least))
    by_group = accuracy_by_group(p.argmax(1) == labels[rows[kept]], examples.group[rows[kept]], examples.group_names)
    made = replace(made, groups=by_group)
    left_out = tuple((examples.row_names[row], reason) for row, reason in sorted(reasons.items()))
    made = replace(made, left_out=left_out + tuple((s.name, s.reason) for s in examples.skipped))
    matched = matched_in_words((examples.class_names[examples.labels[r]], bundle.class_names[labels[r]]) for r in rows[kept].tolist())
    return replace(made, sentences=(*_sentences(made, bundle, strange), *matched, *examples.remarks, *remarks_on_length(measured, own)))


def _matched(examples: Examples, names: Sequence[str]) -> tuple[Integers, list[str]]:
    """The model's class of each row by name, -1 where it has none; the names of classes with rows that the model does not have."""
    lookup = np.array([*match_names(examples.class_names, names), -1], dtype=np.int64)
    counts = examples.counts()
    strange = [name for name, k, n in zip(examples.class_names, lookup, counts, strict=False) if k < 0 and n]
    found: Integers = lookup[examples.labels]
    return found, strange


def _measured(bundle: Bundle, p: Floats, labels: Integers, threshold: float, data: str) -> Evaluation:
    ways, best = len(bundle.class_names), p.argmax(1)
    right = best == labels
    sure = p.max(1) >= threshold
    counts = np.bincount(labels, minlength=ways)
    with np.errstate(invalid="ignore"):
        recall = np.bincount(labels, weights=right.astype(np.float64), minlength=ways) / counts
    return Evaluation(
        data=data,
        class_names=bundle.class_names,
        count=len(labels),
        accuracy=wilson_interval(int(right.sum()), len(labels)),
        recall=recall,
        counts=counts,
        confusion=np.bincount(labels * ways + best, minlength=ways * ways).reshape(ways, ways),
        calibration_error=expected_calibration_error(p, labels),
        threshold=threshold,
        abstained=int((~sure).sum()),
        answered=wilson_interval(int((right & sure).sum()), int(sure.sum())) if sure.any() else None,
        left_out=(),
        metrics={name: METRICS[name].of(p, labels) for name in OTHERS},
    )


def _wrong(bundle: Bundle, examples: Examples, rows: Integers, p: Floats, labels: Integers, threshold: float) -> tuple[Wrong, ...]:
    """What was answered wrongly, the surest answers first."""
    best, sure, names = p.argmax(1), p.max(1), bundle.class_names
    places = np.flatnonzero(best != labels)
    return tuple(
        Wrong(
            row=int(rows[i]),
            name=examples.row_names[rows[i]],
            true=names[labels[i]],
            said=names[best[i]],
            probability=float(sure[i]),
            given=bool(sure[i] >= threshold),
        )
        for i in places[np.argsort(-sure[places], kind="stable")].tolist()
    )


def _sentences(made: Evaluation, bundle: Bundle, strange: Sequence[str]) -> tuple[str, ...]:
    said = [f"Accuracy on {counted(made.count, 'row')} of {made.data}: {_percent(made.accuracy)}."]
    expected = bundle.facts.get("expected_accuracy")
    if isinstance(expected, dict) and {"mean", "low", "high"} <= expected.keys():
        low, high = 100 * expected["low"], 100 * expected["high"]
        said.append(f"When the model was made, {100 * expected['mean']:.1f}% ({low:.1f} to {high:.1f}) was expected.")
    if made.groups is not None:
        worst = f"the lowest is {made.groups.worst}, {_percent(made.groups.lowest)}"
        said.append(f"The mean of its {len(made.groups.each)} groups is {_percent(made.groups.mean)}; {worst}.")
    if made.abstained:
        rest = "nothing is left" if made.answered is None else f"on the rest it is right in {_percent(made.answered)}"
        said.append(f"It abstains from {counted(made.abstained, 'row')} (probability below {made.threshold:g}); {rest}.")
    said.append(f"Confidence and accuracy differ by {100 * made.calibration_error:.1f} points on average (expected calibration error).")
    other = {name.replace("_", " "): value for name, value in made.metrics.items() if not math.isnan(value)}
    said.append(f"Other metrics: {'; '.join(f'{name} {value:.3f}' for name, value in other.items())}.")
    if absent := [name for name, n in zip(made.class_names, made.counts, strict=True) if not n]:
        said.append(f"Not measured, because the data has no examples of them: {_some(absent)}.")
    for reason, words in (
        (LEARNED, f"the model was learned from {{them}}; {option('--include-learned')} counts {{them}} too"),
        (UNKNOWN, f"the model does not have their classes ({_some(strange)})"),
    ):
        if rows := [name for name, why in made.left_out if why == reason]:
            clause = words.format(them="it" if len(rows) == 1 else "them")
            said.append(f"{counted(len(rows), 'row', ('was', 'were'))} left out, for example {rows[0]}: {clause}.")
    if others := [(name, why) for name, why in made.left_out if why not in (LEARNED, UNKNOWN)]:
        name, why = others[0]
        why = why.removeprefix(f"{name} ").rstrip(".")
        said.append(f"{counted(len(others), 'row', ('was', 'were'))} left out, for example {name} ({why}).")
    return tuple(said)


def _why(examples: Examples, reasons: dict[int, str]) -> str:
    row, reason = next(iter(sorted(reasons.items())))
    return f"{counted(len(reasons), 'row', ('is', 'are'))} left out, for example {examples.row_names[row]} ({reason})"


def _percent(interval: Interval) -> str:
    return f"{100 * interval.mean:.1f}% ({100 * interval.level:.0f}% interval {100 * interval.low:.1f} to {100 * interval.high:.1f})"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
