"""All sides on the target's own held-out examples, and ensembles of them: which is shown to beat the frozen one, and which to keep."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal, TypeAlias, final

from fewtune.sides.beside import BESIDE
from fewtune.sides.greedy import GREEDY, greedy_of
from fewtune.sides.guard import Guard, guard_of
from fewtune.sides.held_out import Floats, HeldOut, mean_of
from fewtune.sides.route import FROZEN
from fewtune.statistics import (
    LEAST,
    Evidence,
    Gain,
    evidence_of_rows,
    expected_best,
    joined_evidence,
    paired_gain,
    soft_correctness,
)

Rule: TypeAlias = Literal["likely", "shown"]

SLOWER = 0.005  # what an ensemble must be ahead of a single side, as a fraction: it takes twice the time to answer


@final
@dataclass(frozen=True, eq=False)
class Compared:
    """Held-out answers by side (`held`; the frozen one is among them), and what is known of `related` classes of other data.

    A rival is a side, or an ensemble of sides, by the names of its `members`. `rule`: what is enough to keep one. "shown": a gain at 95%,
    counting all rivals; of sides that gain nothing one in twenty is kept. "likely": it is expected to be best, after its gain was shrunk
    towards none; with few labelled examples real gains are rarely shown, and this keeps most of them (docs/reproductions.md). `greedy`:
    the greedy mean of all sides is a rival too. `lost`: why a side could not be made from all labelled examples, by its name; neither it
    nor an ensemble with it is kept.
    """

    held: Mapping[str, HeldOut]
    related: Evidence | None = None
    rule: Rule = "likely"
    greedy: bool = False
    lost: Mapping[str, str] = field(default_factory=dict)

    def without(self, sides: Iterable[str], why: str) -> Compared:
        """The same comparison where these sides cannot be saved. What is shown of them stays."""
        return replace(self, lost={**self.lost, **dict.fromkeys(sides, why)})

    @cached_property
    def members(self) -> dict[str, tuple[str, ...]]:
        """The members of every rival: each finetuned side alone and with the frozen one, and the first two of them with it. The side that
        has the features of both stands alone. The greedy mean is left out where it is a single side."""
        tuned = [name for name in self.held if name not in (FROZEN, BESIDE)]
        groups = [*((name,) for name in tuned), *((FROZEN, name) for name in tuned)]
        if len(tuned) > 1:
            groups.append((FROZEN, *tuned[:2]))
        members = {" + ".join(group): group for group in groups}
        if BESIDE in self.held:
            members[BESIDE] = (BESIDE,)
        if self.greedy and len(self._greedy[1]) > 1:
            members[GREEDY] = tuple(self._greedy[1])
        return members

    @cached_property
    def _greedy(self) -> tuple[HeldOut, dict[str, float]]:
        """The answers of the greedy mean, and its weights."""
        return greedy_of({name: one for name, one in self.held.items() if name != BESIDE})

    def weights(self, name: str) -> tuple[float, ...]:
        """The weights of a rival's members; they sum to 1."""
        if name == GREEDY:
            return tuple(self._greedy[1].values())
        return (1 / len(self.members[name]),) * len(self.members[name])

    @cached_property
    def rivals(self) -> dict[str, HeldOut]:
        """The answers of every rival."""
        return {name: self._answers(name, group) for name, group in self.members.items()}

    def _answers(self, name: str, group: tuple[str, ...]) -> HeldOut:
        if name == GREEDY:
            return self._greedy[0]
        return self.held[group[0]] if len(group) == 1 else mean_of([self.held[one] for one in group])

    @cached_property
    def evidence(self) -> Evidence:
        """The gains of all rivals."""

        def soft(one: HeldOut) -> Floats:
            return soft_correctness(one.log_probabilities, one.labels)

        rows = evidence_of_rows(soft(self.held[FROZEN]), {name: soft(one) for name, one in self.rivals.items()}, self.held[FROZEN].fold)
        return rows if self.related is None else joined_evidence(rows, self.related)

    @cached_property
    def gain(self) -> Gain:
        """What is shown of the rival whose gain is most certain; the p counts all of them."""
        return paired_gain(self.evidence)

    @cached_property
    def kept(self) -> str:
        """The rival to save, or the frozen side: see `rule`."""
        return self._kept([name for name, members in self.members.items() if not self.lost.keys() & members])

    @cached_property
    def best(self) -> str:
        """What would be kept if no side were lost."""
        return self._kept(list(self.members))

    @property
    def why_lost(self) -> str:
        """Why the best side is not the one that is kept; empty where it is."""
        if self.kept == self.best:
            return ""
        return next(self.lost[one] for one in self.members[self.best] if one in self.lost)

    def _kept(self, names: Sequence[str]) -> str:
        """The one of these rivals to save, or the frozen side."""
        enough = self.likely if self.rule == "likely" else self.proved
        return self._most([name for name in names if name in enough]) or FROZEN

    @cached_property
    def proved(self) -> tuple[str, ...]:
        """The rivals whose own gain is shown at 95%, counting all of them."""
        return tuple(name for name in self.members if self.gain.kept and self.gain_of(name).low > 0)

    @property
    def shown(self) -> bool:
        """Whether the gain of what is kept is shown at 95%; of the frozen side, never."""
        return self.kept in self.proved

    @cached_property
    def likely(self) -> tuple[str, ...]:
        """The rivals that are expected to gain a point or more."""
        return tuple(name for name, gain in self._expected.items() if gain > LEAST)

    @cached_property
    def _expected(self) -> dict[str, float]:
        """The gain to expect of every rival, after shrinkage."""
        return dict(zip(self.evidence.names, expected_best(self.evidence).gains, strict=True))

    def _most(self, names: Sequence[str]) -> str | None:
        """The one of these rivals to expect most of, an ensemble only where it is ahead by half a point.

        A rival that gained nothing on the target's own examples is never taken, whatever classes of other data say.
        """
        own = dict(zip(self.evidence.names, self.evidence.own.tolist(), strict=True))
        worth = {n: self._expected[n] - (SLOWER if self._slower(n) else 0.0) for n in names if own[n] > 0}
        return max(worth, key=lambda name: worth[name], default=None)

    def _slower(self, name: str) -> bool:
        """Whether a rival takes the time of two models."""
        return name == BESIDE or len(self.members[name]) > 1

    @property
    def members_kept(self) -> tuple[str, ...]:
        """The sides that the saved model is made of."""
        return (FROZEN,) if self.kept == FROZEN else self.members[self.kept]

    def guard(self, name: str) -> Guard:
        """One rival beside the frozen side."""
        return guard_of(self.held[FROZEN], self.rivals[name], self.gain_of(name))

    def gain_of(self, name: str) -> Gain:
        """What the test of all rivals shows of one."""
        return self.gain if name == self.gain.side else paired_gain(self.evidence, side=name)
