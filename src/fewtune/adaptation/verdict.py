"""The verdict: how often the model will be right in words that everyone reads, whether it is ready for use, and what to do next."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, final

import numpy as np

from fewtune.adaptation.finetuned import Finetuned
from fewtune.data.examples import Integers
from fewtune.learners.choice import Choice
from fewtune.learners.doubts import Doubt, likely_mislabelled
from fewtune.learners.target import Target
from fewtune.sides.clock import budget_asked
from fewtune.sides.route import FROZEN
from fewtune.statistics import Interval
from fewtune.words import noun_of, option

Light: TypeAlias = Literal["ready", "review", "not ready", "unknown"]

READY, USABLE = 0.8, 0.5  # how far from guessing (0) to always right (1): the low end of the interval, and the estimate itself
WEAKEST = 0.7  # of its held-out examples right: below, somebody must look at the answers of this class
WIDE = 0.15  # an interval of accuracy wider than this is a rough estimate
TRUSTED = 0.8  # accuracy from which an answer that differs from the label casts doubt on the label (see `likely_mislabelled`)
SURE = 0.8  # below that accuracy, only answers that are this sure do
MEASURED = 30  # test examples that tell more than the estimate from labelled ones
ACTIONS = 3
NAMED = 3  # doubtful examples that a sentence names
RUN = "RUN"  # stands for the folder of the model in what to type

HEADLINES: dict[Light, str] = {
    "ready": "Ready to use",
    "review": "Usable if somebody checks its answers",
    "not ready": "Not ready to use",
    "unknown": "Not tested",
}


@final
@dataclass(frozen=True, eq=False)
class Verdict:
    """What everyone should read first.

    `light`: "ready" where even the low end of the interval is four fifths of the way from guessing to always right, and no class is right
    less than seven times in ten; "not ready" where the estimate is less than half of that way, or its low end no better than guessing;
    "review" between; "unknown" where nothing could be tested. `sentence`: how often it will be right. `reason`: of the light. `basis`: what
    the number comes from. `finetuning`: whether it helped; empty where it was not tried. `actions`: what to do next, at most three, in
    which RUN stands for the model's folder. `accuracy` and `guessing`: the numbers behind the sentence, fractions.
    """

    light: Light
    sentence: str
    reason: str = ""
    basis: str = ""
    finetuning: str = ""
    actions: tuple[str, ...] = ()
    accuracy: Interval | None = None
    guessing: float = math.nan

    @property
    def headline(self) -> str:
        return HEADLINES[self.light]

    @property
    def sentences(self) -> tuple[str, ...]:
        """The verdict as lines of text."""
        said = (self.sentence, f"{self.headline}: {self.reason}" if self.reason else f"{self.headline}.", self.basis, self.finetuning)
        return tuple(one for one in said if one)

    @property
    def record(self) -> dict[str, Any]:
        """For the model's JSON file."""
        return {"light": self.light, "sentence": self.sentence, "guessing": self.guessing, "actions": list(self.actions)}

    def to_do(self, run: str) -> tuple[str, ...]:
        """The actions, with the model's folder in place."""
        if not self.actions:
            return ()
        *others, last = self.actions  # the others hold names of users, which may hold RUN
        return (*others, last.replace(f" {RUN} ", f" {run} "))


def verdict_of(choice: Choice, target: Target, measured: Interval | None, finetuned: Finetuned, wanted: float = 0.0) -> Verdict:
    """The verdict on a model: `choice` is the comparison that it came from, `measured` its accuracy on the target's own test examples.

    `wanted`: the minutes that would be enough for what was left out, 0 if nothing was.
    """
    noun = noun_of(target.examples.modality)
    tested = measured is not None and measured.n >= MEASURED
    accuracy = measured if tested else choice.expected
    guessing, guess = guess_of(target)
    light, reason = light_of(accuracy, guessing, choice, target)
    if accuracy is None:
        return Verdict(
            light=light,
            sentence=f"Nobody can tell yet how often the answer to a new {noun} will be right; {guess}.",
            reason=reason,
            actions=_actions(light, choice, target, finetuned, wanted),
            guessing=guessing,
        )
    return Verdict(
        light=light,
        sentence=f"{often(accuracy, noun)}; {guess}.",
        reason=reason,
        basis=basis_of(accuracy, tested, noun),
        finetuning=_finetuning(finetuned, noun),
        actions=_actions(light, choice, target, finetuned, wanted),
        accuracy=accuracy,
        guessing=guessing,
    )


def often(accuracy: Interval, noun: str) -> str:
    """About how many of ten are right, or of a hundred where ten are too few to say it. The low end is rounded down."""
    of = 10 if 0.1 <= accuracy.mean < 0.95 and accuracy.high - accuracy.low >= 0.1 else 100
    low, high = math.floor(of * accuracy.low + 1e-9), round(of * accuracy.high)
    return f"About {round(of * accuracy.mean)} of {of} new {noun}s will be right ({low} to {high} of {of})"


def guess_of(target: Target) -> tuple[float, str]:
    """What is right without looking, see `guess_among`, for the examples that are learned from."""
    return guess_among(target.shots(), target.class_names)


def guess_among(counts: Integers, names: Sequence[str]) -> tuple[float, str]:
    """What is right without looking, as a fraction and in words: one of K, or the largest class where it is much larger than that.

    `counts` [K]: the examples of each class.
    """
    even, largest = 1 / len(counts), float(counts.max() / counts.sum())
    if largest <= 1.5 * even:
        return even, f"guessing would get 1 of {len(counts)}"
    return largest, f"always saying \u201c{names[int(counts.argmax())]}\u201d would get {round(10 * largest)} of 10"


def light_of(accuracy: Interval | None, guessing: float, choice: Choice, target: Target) -> tuple[Light, str]:
    """Which light, and why."""
    if accuracy is None:
        return "unknown", "every class has a single example, so none was left to test with."
    if (said := _near_guessing(accuracy, guessing)) is not None:
        return said
    weakest = _weakest(choice)
    if weakest is not None and choice.recall[weakest] < WEAKEST:
        return "review", f"{_quoted(target, weakest)} is too often wrong: {_times(choice, target, weakest)} are right."
    if choice.unestimated:
        alone = len(choice.unestimated)
        many = "one class has" if alone == 1 else f"{alone} classes have"
        return "review", f"{many} a single example, so nobody knows how often the model is right there."
    return _by_interval(accuracy, guessing)


def light_of_test(accuracy: Interval, guessing: float, recall: Mapping[str, float]) -> tuple[Light, str]:
    """Which light, and why, for what was measured on labelled examples. `recall`: of each class that has some, a fraction."""
    if (said := _near_guessing(accuracy, guessing)) is not None:
        return said
    weakest = min(recall, key=lambda name: recall[name])
    if recall[weakest] < WEAKEST:
        return "review", f"\u201c{weakest}\u201d is too often wrong: {100 * recall[weakest]:.0f}% are right."
    return _by_interval(accuracy, guessing)


def _way(value: float, guessing: float) -> float:
    """How far a share of right answers is from guessing (0) to always right (1)."""
    return (value - guessing) / (1 - guessing) if guessing < 1 else 0.0


def _near_guessing(accuracy: Interval, guessing: float) -> tuple[Light, str] | None:
    if _way(accuracy.low, guessing) <= 0:
        return "not ready", "it may be no better than guessing."
    if _way(accuracy.mean, guessing) < USABLE:
        return "not ready", "it is nearer to guessing than to always being right."
    return None


def _by_interval(accuracy: Interval, guessing: float) -> tuple[Light, str]:
    if _way(accuracy.low, guessing) < READY:
        wide = accuracy.high - accuracy.low > WIDE
        low = math.floor(10 * accuracy.low + 1e-9)
        said = f"the estimate is rough, it may be as low as {low} of 10" if wide else f"about {_wrong(accuracy)} answers are wrong"
        return "review", f"{said}."
    return "ready", "it is right far more often than guessing, and no class is often wrong."


def _wrong(accuracy: Interval) -> str:
    """2 of 10."""
    of = 10 if accuracy.mean <= 0.8 else 100
    return f"{round(of * (1 - accuracy.mean))} of {of}"


def _weakest(choice: Choice) -> int | None:
    """The class that is right least often, None where none could be tested."""
    return None if np.isnan(choice.recall).all() else int(np.nanargmin(choice.recall))


def _times(choice: Choice, target: Target, k: int) -> str:
    """42% of 8: a mean over the repeats of the folds."""
    return f"{100 * choice.recall[k]:.0f}% of {int(target.shots()[k])}"


def _quoted(target: Target, k: int) -> str:
    return f"\u201c{target.class_names[k]}\u201d"


def basis_of(accuracy: Interval, tested: bool, noun: str) -> str:
    """What the number comes from."""
    if tested:
        return f"Measured on the {accuracy.n:,} {noun}s of your test split, which nothing else looked at."
    return (
        f"Estimated from your own labelled {noun}s: each was answered by models that had not seen it. It holds for new {noun}s that are "
        "like these."
    )


def _finetuning(finetuned: Finetuned, noun: str) -> str:
    """Whether finetuning helped, for everyone; empty where it was not tried."""
    compared, guard = finetuned.compared, finetuned.guard
    if compared is None or guard is None:
        return finetuned.why
    lost = compared.why_lost
    if compared.kept == FROZEN and lost:
        return f"Finetuning probably helped, but its last run, on all your {noun}s, failed ({lost}), so the backbone is used as it came."
    if compared.kept == FROZEN:
        return "Finetuning was tried and did not show that it helps, so the backbone is used as it came."
    more = round(100 * (guard.finetuned - guard.frozen))
    instead = f" This is the next best model, because the last run of the best one failed ({lost})." if lost else ""
    if compared.shown:
        return f"Finetuning helped: about {more} more of 100 {noun}s are right.{instead}"
    if more > 0:
        return f"Finetuning probably helped: about {more} more of 100 {noun}s were right, which so few examples cannot prove.{instead}"
    counted = "as many were right as" if more == 0 else f"{-more} fewer of 100 were right than"
    return (
        f"Finetuning may have helped: its answers are clearer where they are right, though about {counted} without it. So few {noun}s "
        f"cannot tell; --keep shown keeps what is shown alone.{instead}"
    )


def _actions(light: Light, choice: Choice, target: Target, finetuned: Finetuned, wanted: float) -> tuple[str, ...]:
    """What to do next, the most useful first; the last says what to type."""
    noun = noun_of(target.examples.modality)
    said = []
    if choice.answers is None:
        said.append(f"Label more {noun}s of each class: with two of each it can be tested, with eight it can be trusted more.")
    else:
        found = likely_mislabelled(choice.answers, target.support, target.labels[target.support], temperature=choice.temperature)
        if choice.expected is None or choice.expected.mean < TRUSTED:
            found = tuple(doubt for doubt in found if doubt.probability >= SURE)
        if found:
            said.append(_look_at(found, target, noun))
        weakest = _weakest(choice)
        if weakest is not None and choice.recall[weakest] < 1:
            said.append(_add(weakest, choice, target, noun))
    if wanted and light != "ready":
        said.append(f"Give it more time, finetuning may help: {budget_asked(wanted)}.")
    if light != "ready" and finetuned.sources is None and finetuned.frozen.side.backbone.groups:
        said.append(f"Give other labelled data that looks like yours, if you have any: {option('--source DATA', 'sources=[...]')}.")
    said = said[: ACTIONS - 1]
    if light in ("ready", "unknown"):
        return (*said, f"Type: fewtune predict {RUN} NEW_FILES_OR_FOLDERS")
    return (*said, f"Test it on {noun}s that you label by hand: fewtune evaluate {RUN} LABELLED_DATA")


def _look_at(found: tuple[Doubt, ...], target: Target, noun: str) -> str:
    names = [target.examples.row_names[doubt.row] for doubt in found[:NAMED]]
    if len(found) == 1:
        return f"Look at one {noun}, its label may be wrong: {names[0]}."
    more = f" and {len(found) - NAMED} more" if len(found) > NAMED else ""
    return f"Look at these {len(found)} {noun}s, their labels may be wrong: {', '.join(names)}{more}."


def _add(k: int, choice: Choice, target: Target, noun: str) -> str:
    """As many examples again of a class, at least four."""
    wrong = choice.confusion[k].copy()
    wrong[k] = 0
    taken = f", most often taken for {_quoted(target, int(wrong.argmax()))}" if wrong.max() > 0 else ""
    return (
        f"Add {max(4, int(target.shots()[k]))} {noun}s of {_quoted(target, k)}, the weakest class ({_times(choice, target, k)} are right"
        f"{taken})."
    )
