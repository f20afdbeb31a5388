"""What to do about tasks that are learned together, in plain sentences: who to train apart, who with whom, what to share less or more.

The rules, in this order. "Shown" means that a 95% interval is on one side of 0.
1. hurts: a column's gain of together over alone is shown to be below 0 (negative transfer).
   apart: no other column helps it (no entry of help into it is above 0), its best group has nobody else in it, or a network for that group
   is shown to be worse than one of its own. less: else; it is named with its group, and with the columns whose gradients are shown to
   oppose its own.
2. leave out: a column that is shown to harm (help below 0) at least half of the other columns while one of them is hurt.
3. more: a column's gain is shown to be above 0, or it overfits alone (held-out loss at least `OVERFITS` times the training loss) and is not
   hurt: sharing acts against overfitting.
4. why: gradients shown to oppose each other (interference); columns learned at different speeds, by a factor of `SPEEDS` or more; a wider
   network that is shown to help a column that is hurt (capacity).
5. nothing: no gain is shown either way: one network for all is simpler, networks of their own are as good. Where no gain was
   measured (too little time), it says that instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, final

import numpy as np

from fewtune.learning.affinity import Affinity
from fewtune.statistics import Grouping, Interval

Kind: TypeAlias = Literal["apart", "less", "leave out", "more", "interference", "speeds", "capacity", "nothing"]

OVERFITS = 2.0  # held-out over training loss of a network alone
SPEEDS = 3.0  # steps that the slowest column takes over those of the fastest
NEAR = 0.1  # a column is learned where 90% of the fall of its loss are done
_UNSHOWN = "Neither together nor alone is shown to be better: one network for all is simpler."
_UNMEASURED = "Whether the columns are better learned together or alone was not measured."


@final
@dataclass(frozen=True)
class Advice:
    """One thing to do or to know about some tasks (places in the order of the tasks)."""

    kind: Kind
    tasks: tuple[int, ...]
    sentence: str


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Findings:
    """What was measured on T tasks. `gains`: of together over alone (None: not measured). `overfits` [T]: held-out over training loss of
    each network alone (NaN: not measured). `wider`: the gain of a wider shared network over the shared one, `grouped`: that of a network
    for the group of each column over alone (both empty: not measured).
    """

    affinity: Affinity
    grouping: Grouping
    gains: Sequence[Interval | None]
    overfits: Sequence[float] = ()
    wider: Sequence[Interval | None] = ()
    grouped: Sequence[Interval | None] = ()


def advice(found: Findings) -> tuple[Advice, ...]:
    """What to do, the most urgent first; see the rules above."""
    names = found.affinity.names
    hurt = [t for t, gain in enumerate(found.gains) if gain is not None and gain.high < 0]
    harmful = _harmful(found, hurt)
    said = [_hurt(found, t) for t in hurt if t not in harmful]
    said += [
        Advice("leave out", (t,), f"Leave {names[t]} out of the shared network: it raises the losses of most other columns.")
        for t in harmful
    ]
    said += [_more(found, t) for t in range(len(names)) if t not in hurt and _gains_by_sharing(found, t)]
    said += [*_interference(found), *_speeds(found.affinity), *_capacity(found, hurt)]
    if not any(one.kind in ("apart", "less", "leave out", "more") for one in said):
        every = tuple(range(len(names)))
        said.append(Advice("nothing", every, _UNSHOWN if any(gain is not None for gain in found.gains) else _UNMEASURED))
    return tuple(said)


def learning_steps(affinity: Affinity) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """The step [T] at which 90% of the fall of each task's training loss is done; NaN where it does not fall. Losses are means of three
    looks.
    """
    losses = affinity.losses
    if len(losses) >= 3:
        padded = np.concatenate([losses[:1], losses, losses[-1:]])
        losses = (padded[:-2] + padded[1:-1] + padded[2:]) / 3
    first, least = losses[0], losses.min(0)
    done = losses <= least + NEAR * (first - least)
    steps = affinity.steps[done.argmax(0)].astype(np.float64)
    return np.where(first > least, steps, np.nan)


def _harmful(found: Findings, hurt: Sequence[int]) -> list[int]:
    harms = found.affinity.help.high < 0
    np.fill_diagonal(harms, False)
    others = max(len(harms) - 1, 1)
    return [t for t in range(len(harms)) if 2 * int(harms[t].sum()) >= others and any(harms[t, h] for h in hurt)]


def _hurt(found: Findings, task: int) -> Advice:
    names = found.affinity.names
    group = [t for t in found.grouping.groups[found.grouping.served[task]] if t != task]
    helped = np.delete(found.affinity.help.mean[:, task], task)
    begin = f"Learning together makes {names[task]} worse ({_shown(found.gains[task])})"
    if not group or not (helped > 0).any():
        return Advice("apart", (task,), f"{begin}, and no other column helps it: train it apart.")
    if len(found.grouped) > task and (still := found.grouped[task]) is not None and still.high < 0:
        return Advice("apart", (task,), f"{begin}, and so does a network for its group ({_shown(still)}): train it apart.")
    against = [t for t in range(len(names)) if t != task and found.affinity.cosine.high[t, task] < 0]
    less = f" and share less with {_listed(names, against)}" if against else ""
    return Advice("less", (task, *against), f"{begin}: train it only with {_listed(names, group)}{less}.")


def _gains_by_sharing(found: Findings, task: int) -> bool:
    gain = found.gains[task]
    return (gain is not None and gain.low > 0) or _overfits(found, task)


def _overfits(found: Findings, task: int) -> bool:
    return len(found.overfits) > task and found.overfits[task] >= OVERFITS


def _more(found: Findings, task: int) -> Advice:
    name, gain = found.affinity.names[task], found.gains[task]
    if gain is not None and gain.low > 0:
        return Advice("more", (task,), f"Learning together makes {name} better ({_shown(gain)}): keep sharing.")
    times = f"{found.overfits[task]:.1f} times"
    return Advice("more", (task,), f"Alone, {name} overfits: its loss on held-out rows is {times} that in training. Share more.")


def _interference(found: Findings) -> list[Advice]:
    names, cosine = found.affinity.names, found.affinity.cosine
    pairs = [(i, j) for i in range(len(names)) for j in range(i) if cosine.high[i, j] < 0]
    return [
        Advice(
            "interference",
            (j, i),
            f"The gradients of {names[j]} and {names[i]} oppose each other (cosine {cosine.mean[i, j]:.2f}): a gradient method such as "
            "PcGrad() may help.",
        )
        for i, j in pairs
    ]


def _speeds(affinity: Affinity) -> list[Advice]:
    steps = learning_steps(affinity)
    if np.isnan(steps).all():
        return []
    fast, slow = int(np.nanargmin(steps)), int(np.nanargmax(steps))
    if steps[slow] < SPEEDS * steps[fast]:
        return []
    names = affinity.names
    words = f"{names[fast]} is learned in {steps[fast]:.0f} steps, {names[slow]} in {steps[slow]:.0f}"
    return [Advice("speeds", (fast, slow), f"Columns are learned at different speeds: {words}. A weighting such as GradNorm() may help.")]


def _capacity(found: Findings, hurt: Sequence[int]) -> list[Advice]:
    wide = [t for t in hurt if len(found.wider) > t and (gain := found.wider[t]) is not None and gain.low > 0]
    if not wide:
        return []
    named = _listed(found.affinity.names, wide)
    return [Advice("capacity", tuple(wide), f"A wider network helps {named}: the shared one was too small.")]


def _shown(gain: Interval | None) -> str:
    assert gain is not None
    return f"{gain.mean:+.3f}, 95% {gain.low:+.3f} to {gain.high:+.3f}"


def _listed(names: Sequence[str], tasks: Sequence[int]) -> str:
    *first, last = [names[t] for t in tasks]
    return f"{', '.join(first)} and {last}" if first else last
