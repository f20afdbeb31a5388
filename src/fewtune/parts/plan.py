"""Plan: what moves, and how fast. Ordered rules (pattern, rate), the first that matches a name wins, rate 0 freezes.

A plan is a spec and names no network: `resolve` applies it to the names of one. Buffers are never in a plan.
"""

from __future__ import annotations

import glob
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from typing import TypeAlias, final

from torch import Tensor

from fewtune.backbones.groups import Groups
from fewtune.errors import InputError, unknown
from fewtune.parts.rates import Decaying, InTurn, Learned, Rate, RateByDepth, Upper, always_zero, as_rate, at_depth, rate

Rule: TypeAlias = tuple[str, Rate | RateByDepth | float]

_GROUP = "group:"
RESERVED = (
    "head",
    "source",
    "rates",
    "multipliers",
)  # first parts of names of what is trained beside a backbone

# as timm, open_clip, transformers and torchvision spell them
NORMS_AND_BIASES = (
    "*bias",
    "*norm.weight",
    "*norm[0-9_]*.weight",
    "*bn.weight",
    "*bn[0-9_]*.weight",
    "*ln.weight",
    "*ln_*.weight",
    "*LayerNorm.weight",
    "*layrnorm.weight",
    "*normalization.weight",
)


@final
@dataclass(frozen=True, kw_only=True)
class Plan:
    """Ordered rules (pattern, rate); the first whose pattern matches a name gives its rate.

    A pattern is matched against the whole name, case and all, with `*`, `?` and `[...]` as in the shell: "head.*", "*.bias", "*".
    A backbone's own weights under "head.", "source." or "rates." are called "backbone.head..." here, so that "head.*" means the head alone.
    "group:PATTERN" matches the names of a backbone's groups whose own names match: "group:blocks.1?", "group:image *". Rates by depth
    (`Decaying`, `InTurn`) stand in "group:" rules only. A bare number is a constant rate, and is kept as one.

    `steps`: the length of the phase that the rates are written for (0: whatever phase has the plan). A phase of another length, such as
    one that a budget made shorter, has each rate at the same fraction of its steps: warm-ups, drops and thaws scale with it.
    """

    rules: tuple[Rule, ...]
    steps: int = 0

    def __post_init__(self) -> None:
        if self.steps < 0:
            raise InputError(f"steps of Plan is the length of a phase, at least 0, found {self.steps}.")
        object.__setattr__(self, "rules", tuple(_rule(one) for one in self.rules))


@final
@dataclass(frozen=True)
class ResolvedPlan:
    """A plan for the names of one network: `rates` has every one of them, in their order. `steps`: as in `Plan`."""

    rates: Mapping[str, Rate]
    steps: int = 0

    @cached_property
    def moving(self) -> tuple[str, ...]:
        """The names that may move: those whose rate is not 0 at every step. All others stay bitwise as they are."""
        return tuple(name for name, curve in self.rates.items() if not always_zero(curve))

    @cached_property
    def schedules(self) -> tuple[tuple[Rate, tuple[str, ...]], ...]:
        """(rate, names) of what may move, every distinct rate once, in the order of the names."""
        found: dict[Rate, list[str]] = {}
        for name in self.moving:
            found.setdefault(self.rates[name], []).append(name)
        return tuple((curve, tuple(names)) for curve, names in found.items())

    @cached_property
    def learned(self) -> dict[str, Learned]:
        """The names whose rate is a declared parameter. A phase on shared weights must refuse a plan that has some."""
        return {name: curve for name, curve in self.rates.items() if isinstance(curve, Learned)}

    def clock(self, step: int, steps: int) -> tuple[float, int]:
        """(step, steps) of the phase that the rates are written for, at the same fraction as `step` (from 0) of a phase of `steps`."""
        return (step, steps) if self.steps in (0, steps) else (step * self.steps / steps, self.steps)

    def rates_at(self, step: int, steps: int) -> dict[str, float]:
        """The rate of every name at `step` (from 0) of a phase of `steps`; 0 where frozen, the start where learned."""
        at = self.clock(step, steps)
        now = {name: rate(curve, *at) for curve, names in self.schedules for name in names}
        return {name: now.get(name, 0.0) for name in self.rates}


def resolve(plan: Plan, names: Iterable[str], groups: Groups = ()) -> ResolvedPlan:
    """The rate of every name; `groups` are the backbone's, from input to output.

    Raises InputError where no rule covers a name, where a "group:" rule names no group of this network, and where nothing would move
    although a rule has a rate (a pattern is misspelt).
    """
    titles = [title for title, _ in groups]
    for pattern, _ in plan.rules:
        wanted = pattern.removeprefix(_GROUP)
        if pattern.startswith(_GROUP) and titles and not any(fnmatchcase(title, wanted) for title in titles):
            raise unknown("group", wanted, titles)
    group_of = {name: title for title, members in groups for name in members}
    depth = depths(groups)
    found: dict[str, Rate] = {}
    uncovered: list[str] = []
    for name in names:
        group = group_of.get(name)
        known_as = f"backbone.{name}" if group is not None and name.split(".")[0] in RESERVED else name
        chosen = next((given for pattern, given in plan.rules if _matches(pattern, known_as, group)), None)
        if chosen is None:
            uncovered.append(known_as)
        else:
            found[name] = at_depth(chosen, 1 if group is None else depth[group])
    if uncovered:
        more = f" and {len(uncovered) - 3} more" if len(uncovered) > 3 else ""
        first = ", ".join(map(repr, uncovered[:3]))
        raise InputError(f"the plan has no rule for {first}{more}: end it with ('*', 0) to freeze what no other rule names.")
    resolved = ResolvedPlan(found, plan.steps)
    hopeful = [pattern for pattern, given in plan.rules if not always_zero(at_depth(given, 1))]
    if found and hopeful and not resolved.moving:
        raise InputError(
            f"the plan moves nothing: {', '.join(map(repr, hopeful))} matches none of the names, such as {next(iter(found))!r}."
        )
    return resolved


def moves_backbone(plan: Plan) -> bool:
    """Whether a plan has a rate for weights of a backbone, whatever their names: False where only declared parameters, such as a head's,
    may move.

    >>> moves_backbone(only("head.*", 0.1)), moves_backbone(everything(0.1)), moves_backbone(one_group("blocks.0", 0.1))
    (False, True, True)
    """
    for pattern, given in plan.rules:
        moves = not always_zero(at_depth(given, 1))
        if moves and pattern.split(".")[0] not in RESERVED:
            return True
        if pattern == "*":  # no rule after it counts
            return False
    return False


def declared_rates(resolved: ResolvedPlan, weights: Mapping[str, Tensor], prefix: str = "rates") -> dict[str, Tensor]:
    """The start of learned rates, "PREFIX.NAME" -> `lr`: of the shape [...] of the weight of that name ("entry"), or [] ("tensor")."""
    return {
        f"{prefix}.{name}": weights[name].detach().new_full(weights[name].shape if given.per == "entry" else (), given.lr)
        for name, given in resolved.learned.items()
    }


def depths(groups: Groups) -> dict[str, int]:
    """How far each group lies below the head: 1 for the last, 2 for the one before it.

    Towers stand side by side and are counted each for itself: the groups of one share the word before the first space ("image blocks.0").
    """
    depth: dict[str, int] = {}
    seen: dict[str, int] = {}
    for title, _ in reversed(groups):
        tower = title.split(" ")[0] if " " in title else ""
        seen[tower] = depth[title] = seen.get(tower, 0) + 1
    return depth


def everything(lr: Rate | float) -> Plan:
    """All weights at one rate."""
    return Plan(rules=(("*", lr),))


def only(patterns: str | tuple[str, ...], lr: Rate | float) -> Plan:
    """Weights whose names match the patterns move; the rest is frozen."""
    chosen = (patterns,) if isinstance(patterns, str) else patterns
    return Plan(rules=(*((pattern, lr) for pattern in chosen), ("*", 0.0)))


def layerwise(groups: Groups | None, lr: Rate | float, decay: float) -> Plan:
    """Rates that fall from the output down: `lr` for the head, `lr` x `decay` for the last group, `lr` x `decay`^2 for the one before.

    With `groups` of None the plan fits any backbone: depth is read off its groups when it is resolved.
    Reference: Clark et al., "ELECTRA", ICLR 2020; Bao et al., "BEiT", ICLR 2022. Departs: there the final norm counts with the head.
    """
    return _by_depth(groups, Decaying(rate=lr, factor=decay), lr)


def gradual(groups: Groups | None, lr: Rate | float, every: int) -> Plan:
    """Gradual unfreezing: head and last group from step 0 on, one group more every `every` steps, each with its own count of steps from
    there.

    With `groups` of None the plan fits any backbone. Reference: Howard and Ruder, "ULMFiT", ACL 2018, section 3.3.
    """
    return _by_depth(groups, InTurn(rate=lr, every=every), lr)


def upper(groups: Groups | None, lr: Rate | float, last: int) -> Plan:
    """The last `last` groups and the head move; what lies deeper is frozen, so its output is computed once for each row.

    With `groups` of None the plan fits any backbone. Reference: Lee et al., "Surgical fine-tuning", ICLR 2023 (blocks that move alone).
    """
    return _by_depth(groups, Upper(rate=lr, groups=last), lr)


def bias_and_norm(lr: Rate | float) -> Plan:
    """Biases and the scales of normalisation layers, found by their names (BitFit); without the head's weight.

    A normalisation whose name is a number (`downsample.1` of a ResNet, where another network has a convolution) moves by its bias alone.
    Reference: Ben Zaken et al., "BitFit", ACL 2022. Departs: they move biases only.
    """
    return only(NORMS_AND_BIASES, lr)


def one_group(name: str, lr: Rate | float) -> Plan:
    """One group moves, the rest is frozen, the head too (surgical finetuning, Lee et al., ICLR 2023)."""
    return only(f"{_GROUP}{glob.escape(name)}", lr)


def upper_or_all(lr: Rate | float, last: int) -> Plan:
    """`upper` of the last groups, or `everything` where `last` is 0. Raises InputError below 0."""
    if last < 0:
        raise InputError(f"last counts groups from the last one, 0 for all, found {last}.")
    return upper(None, lr, last) if last else everything(lr)


PLANS = (everything, only, layerwise, gradual, upper, bias_and_norm, one_group)


def _by_depth(groups: Groups | None, given: RateByDepth, head: Rate | float) -> Plan:
    if groups is None:
        return Plan(rules=(("group:*", given), ("*", head)))
    depth = depths(groups)
    rules = ((f"{_GROUP}{glob.escape(title)}", at_depth(given, depth[title])) for title, _ in reversed(groups))
    return Plan(rules=(*rules, ("*", head)))


def _rule(given: Rule) -> Rule:
    if not isinstance(given, tuple) or len(given) != 2 or not isinstance(given[0], str):
        raise InputError(f"a rule of a plan is a pair (pattern, rate) such as ('head.*', 1e-3), found {given!r}.")
    pattern, curve = given
    if isinstance(curve, Decaying | InTurn | Upper):
        if not pattern.startswith(_GROUP):
            raise InputError(
                f"{type(curve).__name__} goes by the depth of a group, so its pattern begins with 'group:', found {pattern!r}."
            )
        return pattern, curve
    return pattern, as_rate(curve)


def _matches(pattern: str, name: str, group: str | None) -> bool:
    if pattern.startswith(_GROUP):
        return group is not None and fnmatchcase(group, pattern.removeprefix(_GROUP))
    return fnmatchcase(name, pattern)
