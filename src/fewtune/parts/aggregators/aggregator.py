"""Aggregator: how the gradients of several tasks become one update, sum_i w_i g_i. It sees losses or a Gram matrix, never networks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol, TypeAlias, final, runtime_checkable

from torch import Tensor

from fewtune.errors import InputError
from fewtune.keys import Key

Needs: TypeAlias = Literal["losses", "gram"]
Form: TypeAlias = Literal["exact", "layer", "representation"]
Scale: TypeAlias = Literal["mean", "own"]
State: TypeAlias = dict[str, Tensor]

_FIRST = Key(0)


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Seen:
    """What an aggregator sees of one step: the T distinct tasks that are present. Absent tasks are left out, never rows of zeros.

    `tasks` [T]: their numbers in the collection, different ones. `losses` [T]: the mean loss of each, float64. `gram` [T, T]: the inner
    products of their gradients, float64, for aggregators that need it. `key`: where a random aggregator draws from; draws go by the
    numbers of the tasks, so they do not depend on the order of the tasks.
    """

    tasks: Tensor
    losses: Tensor
    gram: Tensor | None = None
    key: Key = _FIRST

    @property
    def inner(self) -> Tensor:
        """The Gram matrix; only aggregators with `needs = "gram"` ask for it."""
        if self.gram is None:
            raise InputError("this aggregator needs the Gram matrix of the tasks' gradients: give Seen(gram=...).")
        return self.gram


@runtime_checkable
class Aggregator(Protocol):
    """The axis of aggregators. Every final class of it passes the laws in tests/laws/test_aggregators.py.

    `needs`: "losses", or "gram" for the Gram matrix of the gradients (losses are there too). Those with "gram" also have the fields `gram`
    (of whole gradients, "exact", or as `fewtune.learning.layer_grams` and `meeting_grams` say) and `every` (weights are computed at every
    k-th step and used again in between). `constant`: the weights depend only on which tasks there are, not on losses or gradients. `scale`:
    see `fewtune.parts.aggregators.scale`.

    What is learned from step to step is a state: named tensors with a leading dimension of all tasks, indexed by the task's number. A task
    that is absent in a step keeps its entries. Checkpoints keep the state.
    """

    needs: ClassVar[Needs]
    constant: ClassVar[bool]

    @property
    def scale(self) -> Scale: ...

    def begin(self, tasks: int) -> State:
        """The state before the first step, for a collection of so many tasks; {} where nothing is remembered."""
        ...

    def weigh(self, seen: Seen, state: State) -> tuple[Tensor, State]:
        """The weights w [T], float64 without gradient, and the next state. The given state is not changed."""
        ...


@runtime_checkable
class LooksBack(Protocol):
    """An aggregator that also learns from the losses of the same batch after the step; they cost one more forward pass."""

    def look_back(self, before: Seen, after: Tensor, state: State) -> State:
        """The next state, from what was seen before the step and the losses [T] after it."""
        ...


def every_of(aggregator: Aggregator) -> int:
    """Its weights are computed at every so many steps."""
    return int(getattr(aggregator, "every", 1))


def form_of(aggregator: Aggregator) -> Form:
    """How gradients are compared."""
    form: Form = getattr(aggregator, "gram", "exact")
    return form


def remembers(aggregator: Aggregator) -> bool:
    """Whether anything is kept from step to step."""
    return bool(aggregator.begin(1)) or every_of(aggregator) > 1


def nothing_kept(self: object, tasks: int) -> State:  # noqa: ARG001
    """`begin` of an aggregator that remembers nothing."""
    return {}


def check_reading(self: object) -> None:
    """`__post_init__` of an aggregator that reads a Gram matrix. Raises InputError for an unknown `gram` or `scale`, or `every` below 1."""
    form, every = (getattr(self, name) for name in ("gram", "every"))
    if form not in ("exact", "layer", "representation"):
        raise InputError(f"gram is 'exact', 'layer' or 'representation', found {form!r}.")
    if isinstance(every, bool) or not isinstance(every, int) or every < 1:
        raise InputError(f"every is the number of steps between two computations of the weights, at least 1, found {every!r}.")
    check_scale(self)


def check_scale(self: object) -> None:
    """Raises InputError for an unknown `scale`."""
    scale = getattr(self, "scale")  # noqa: B009
    if scale not in ("mean", "own"):
        raise InputError(f"scale is 'mean' or 'own', found {scale!r}.")
