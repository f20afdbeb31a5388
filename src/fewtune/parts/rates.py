"""Rates over time: how fast a weight moves at each step of a phase. A rate is a spec; `rate` gives its value at a step and keeps no state.

Steps are counted from 0 within a phase of `steps` steps. A bare number is a constant rate wherever a rate is expected. A plan that is
written for another number of steps than its phase takes is read on its own clock (`Plan.steps`), so `step` need not be whole.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias, final

from fewtune.errors import InputError


@final
@dataclass(frozen=True, kw_only=True)
class Constant:
    """`lr` at every step; 0 freezes."""

    lr: float

    def __post_init__(self) -> None:
        _not_negative(self, "lr")


@final
@dataclass(frozen=True, kw_only=True)
class Cosine:
    """Linear warm-up, then half a cosine down to `floor` (an absolute rate, at most `lr`), which would be reached at step `steps`.

    Warm-up step s of w has lr (s + 1) / (w + 1), so that no step is lost at rate 0 and step w is the first at `lr`.
    Reference: Loshchilov and Hutter, "SGDR", ICLR 2017, eq. 5 with one cycle.
    """

    lr: float
    warmup: int = 0
    floor: float = 0.0

    def __post_init__(self) -> None:
        _not_negative(self, "lr", "warmup", "floor")
        if self.floor > self.lr:
            raise InputError(f"the floor of Cosine is a rate of at most lr = {self.lr}, found {self.floor}.")


@final
@dataclass(frozen=True, kw_only=True)
class LinearDecay:
    """Linear warm-up as in `Cosine`, then a straight line to 0, which would be reached at step `steps`."""

    lr: float
    warmup: int = 0

    def __post_init__(self) -> None:
        _not_negative(self, "lr", "warmup")


@final
@dataclass(frozen=True, kw_only=True)
class Steps:
    """`lr`, multiplied by `factor` at each step named in `at`."""

    lr: float
    at: tuple[int, ...]
    factor: float = 0.1

    def __post_init__(self) -> None:
        _not_negative(self, "lr", "factor")
        if list(self.at) != sorted(set(self.at)) or any(step < 1 for step in self.at):
            raise InputError(f"the steps of Steps(at=...) rise from 1 on, such as (100, 200), found {self.at}.")


@final
@dataclass(frozen=True, kw_only=True)
class After:
    """0 before `step`; from there on `rate`, on its own clock: its step 0 is `step`, and it ends with the phase.

    So a warm-up begins when the weight is unfrozen.
    """

    step: int
    rate: Rate | float

    def __post_init__(self) -> None:
        _not_negative(self, "step")
        object.__setattr__(self, "rate", as_rate(self.rate))
        _timed(self, self.rate)


@final
@dataclass(frozen=True, kw_only=True)
class Learned:
    """A rate that is itself trained: a declared parameter, which starts at `lr`; for the plans of phases inside `Adapt` only.

    `per` "entry": one rate for each entry of a weight; "tensor": one for the whole weight. What has it moves, also where `lr` is 0, and a
    rate may become negative. It has no course over time, so it cannot stand in `After` and `InTurn`.
    Reference: Li et al., "Meta-SGD: Learning to Learn Quickly for Few-Shot Learning", 2017 ("entry").
    """

    lr: float
    per: Literal["entry", "tensor"] = "entry"

    def __post_init__(self) -> None:
        _not_negative(self, "lr")
        if self.per not in ("entry", "tensor"):
            raise InputError(f"Learned has one rate per 'entry' or per 'tensor', found {self.per!r}.")


Rate: TypeAlias = Constant | Cosine | LinearDecay | Steps | After | Learned


@final
@dataclass(frozen=True, kw_only=True)
class Decaying:
    """A rate by depth, for "group:" rules only: `rate` x `factor` ^ depth, where the head has depth 0 and the group below it 1."""

    rate: Rate | InTurn | float
    factor: float

    def __post_init__(self) -> None:
        _not_negative(self, "factor")
        if not isinstance(self.rate, InTurn):
            object.__setattr__(self, "rate", as_rate(self.rate))


@final
@dataclass(frozen=True, kw_only=True)
class InTurn:
    """A rate by depth, for "group:" rules only: the group below the head moves from step 0 on, each deeper one `every` steps later."""

    rate: Rate | Decaying | float
    every: int

    def __post_init__(self) -> None:
        _not_negative(self, "every")
        if not isinstance(self.rate, Decaying):
            object.__setattr__(self, "rate", as_rate(self.rate))
        _timed(self, self.rate)


@final
@dataclass(frozen=True, kw_only=True)
class Upper:
    """A rate by depth, for "group:" rules only: `rate` for the last `groups` groups, the nearest to the head; deeper ones are frozen."""

    rate: Rate | float
    groups: int

    def __post_init__(self) -> None:
        if isinstance(self.groups, bool) or not isinstance(self.groups, int) or self.groups < 1:
            raise InputError(f"groups of Upper counts groups from the last one, at least 1, found {self.groups!r}.")
        object.__setattr__(self, "rate", as_rate(self.rate))


RateByDepth: TypeAlias = Decaying | InTurn | Upper
RATES = (Constant, Cosine, LinearDecay, Steps, After, Learned, Decaying, InTurn, Upper)


def as_rate(given: Rate | float) -> Rate:
    """A number as a constant rate. Raises InputError for anything else that is not a rate."""
    if isinstance(given, int | float):
        return Constant(lr=float(given))
    if not isinstance(given, Constant | Cosine | LinearDecay | Steps | After | Learned):
        raise InputError(
            f"expected a rate, a number such as 1e-4 or one of Constant, Cosine, LinearDecay, Steps, After, Learned, found {given!r}."
        )
    return given


def rate(given: Rate | float, step: float, steps: int) -> float:
    """The rate at `step` (from 0) of a phase of `steps`; at and after the end the last value of the curve. Of a learned rate its start."""
    match given:
        case Constant(lr=lr) | Learned(lr=lr):
            return lr
        case Cosine(lr=lr, warmup=warmup, floor=floor):
            if step < warmup:
                return lr * (step + 1) / (warmup + 1)
            return floor + (lr - floor) * (1 + math.cos(math.pi * _progress(step, warmup, steps))) / 2
        case LinearDecay(lr=lr, warmup=warmup):
            return lr * (step + 1) / (warmup + 1) if step < warmup else lr * (1 - _progress(step, warmup, steps))
        case Steps(lr=lr, at=at, factor=factor):
            return lr * factor ** sum(step >= one for one in at)
        case After(step=start, rate=inner):
            return 0.0 if step < start else rate(inner, step - start, steps - start)
        case _:
            return float(given)


def always_zero(given: Rate) -> bool:
    """Whether the rate is 0 at every step of a phase of any length; then the weight is frozen. False for a learned rate."""
    if isinstance(given, Learned):
        return False
    return always_zero(as_rate(given.rate)) if isinstance(given, After) else given.lr == 0


def scaled(given: Rate, factor: float) -> Rate:
    """The rate times `factor` at every step; of a learned rate the start."""
    match given:
        case Constant(lr=lr):
            return Constant(lr=lr * factor)
        case Cosine(lr=lr, warmup=warmup, floor=floor):
            return Cosine(lr=lr * factor, warmup=warmup, floor=floor * factor)
        case LinearDecay(lr=lr, warmup=warmup):
            return LinearDecay(lr=lr * factor, warmup=warmup)
        case Steps(lr=lr, at=at, factor=drop):
            return Steps(lr=lr * factor, at=at, factor=drop)
        case After(step=step, rate=inner):
            return After(step=step, rate=scaled(as_rate(inner), factor))
        case Learned(lr=lr, per=per):
            return Learned(lr=lr * factor, per=per)


def at_depth(given: Rate | RateByDepth | float, depth: int) -> Rate:
    """The rate of a group at `depth` >= 1 below the head."""
    match given:
        case Decaying(rate=inner, factor=factor):
            return scaled(at_depth(inner, depth), factor**depth)
        case InTurn(rate=inner, every=every):
            start = (depth - 1) * every
            return After(step=start, rate=at_depth(inner, depth)) if start else at_depth(inner, depth)
        case Upper(rate=inner, groups=groups):
            return as_rate(inner) if depth <= groups else Constant(lr=0.0)
        case _:
            return as_rate(given)


def _progress(step: float, warmup: int, steps: int) -> float:
    """The share of the steps after the warm-up that are done, in [0, 1]."""
    return min((step - warmup) / (steps - warmup), 1.0) if steps > warmup else 1.0


def _timed(spec: After | InTurn, given: object) -> None:
    inner = given.rate if isinstance(given, Decaying) else given
    if isinstance(inner, Learned):
        raise InputError(f"{type(spec).__name__} says when a rate begins, but a learned rate has no course over time: use Learned alone.")


def _not_negative(spec: object, *fields: str) -> None:
    for field in fields:
        value = getattr(spec, field)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
            raise InputError(f"{field} of {type(spec).__name__} is a finite number of at least 0, found {value!r}.")
