"""Sharing: heads that learn several label columns ("tasks") at once, and decide what the tasks share.

Such a head is a small network over features. Episode e asks for one task, `episodes.task[e]` in 0..T-1, and for some of all outputs,
`episodes.classes[e]`: the outputs of all tasks are numbered one task after the other. What is trained are the named parameters; the state
of an episode only says what it asks for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, wraps
from typing import Protocol, TypeAlias, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fewtune.errors import InputError
from fewtune.keys import Key, key
from fewtune.parts.heads.features import widen
from fewtune.parts.heads.head import Parameters, State, under
from fewtune.parts.meeting import meeting, picked
from fewtune.parts.sharing.dense import Activation, layer
from fewtune.tasks.episodes import Episodes

Descriptors: TypeAlias = tuple[tuple[float, ...], ...]


@runtime_checkable
class Sharing(Protocol):
    """What all heads of this room have beside what `Head` says.

    `outputs`: the number of outputs of each task (its classes, its labels, or 1 for a number), set by `learning.laid_out`. `width`,
    `depth`, `activation`: of the hidden layers. `seed`: of the weights that it begins with.
    """

    def __hash__(self) -> int: ...
    @property
    def outputs(self) -> tuple[int, ...]: ...
    @property
    def width(self) -> int: ...
    @property
    def depth(self) -> int: ...
    @property
    def activation(self) -> Activation: ...
    @property
    def seed(self) -> int: ...
    @property
    def name(self) -> str: ...


def check(head: Sharing) -> None:
    """Raises InputError where a setting that all these heads have is out of range."""
    if head.width < 1 or head.depth < 1:
        raise InputError(f"{type(head).__name__}: expected a width and a depth of at least 1, found {head.width} and {head.depth}.")
    if head.activation not in ("relu", "gelu"):
        raise InputError(f"{type(head).__name__}: unknown activation {head.activation!r}: expected relu or gelu.")
    if any(count < 1 for count in head.outputs):
        raise InputError(f"{type(head).__name__}: every task has at least one output, found {head.outputs}.")


def root(head: Sharing) -> Key:
    """What the weights begin by. Raises InputError where nothing says which tasks there are."""
    if not head.outputs:
        raise InputError(
            f"{type(head).__name__} learns several label columns at once, but here there is no list of label columns: give two or more "
            "(--label rating --label genre), or choose another method such as standard()."
        )
    return key(head.seed, "head", head.name)


def started(declare: Callable[..., Parameters]) -> Callable[..., Parameters]:
    """`declare` of a head: drawn once for a head and a width, copied each time, every name after the head's."""
    once = lru_cache(maxsize=16)(declare)

    @wraps(declare)
    def declared(self: Sharing, width: int, classes: Sequence[str] = ()) -> Parameters:  # noqa: ARG001
        return {f"{self.name}.{part}": start.clone() for part, start in once(self, width).items()}

    return declared


def asked(
    self: Sharing,
    support: Tensor,
    episodes: Episodes,
    class_vectors: Tensor | None,  # noqa: ARG001
    parameters: Parameters,  # noqa: ARG001
) -> State:
    """`fit` of a head: {"task": [E], "classes": [E, L]}, what each episode asks for. Raises InputError for what the head does not have."""
    if bool((episodes.task >= len(self.outputs)).any()) or bool((episodes.classes >= sum(self.outputs)).any()):
        raise InputError(
            f"head {self.name!r} was made for {len(self.outputs)} label columns with {sum(self.outputs)} outputs in all, but it is asked "
            "for others: train it on the label columns that it answers."
        )
    return {"task": episodes.task.to(support.device), "classes": episodes.classes.to(support.device)}


def read(head: Sharing, parameters: Parameters, query: Tensor) -> tuple[Parameters, Tensor]:
    """(the head's parameters without its name, the query), both in working precision."""
    rows = widen(query)
    return {
        part: t.to(rows) if t.is_floating_point() else t.to(rows.device) for part, t in under(f"{head.name}.", parameters).items()
    }, rows


def output_rows(head: Sharing, inputs: int) -> Parameters:
    """The start of the output layer: one row for each output of each task, almost 0, so that training begins at the mean of the labels.

    With few rows and many features that matters: from outputs of variance 1, a network stops at worse than the mean (films, 1,180 rows of
    387 features, training stopped by rows held back: R2 -.22 from there, .03 to .05 from here).
    """
    return layer(root(head), "out", inputs, sum(head.outputs), gain=1e-4)


def answered(own: Parameters, state: State, hidden: Float[Tensor, "E Q H"], query: Tensor) -> Float[Tensor, "E Q L"]:
    """What the output layer says, by the rows of the outputs that each episode asks for; in the dtype of the query."""
    places = state["classes"].clamp_min(0)
    return torch.baddbmm(picked(own["out.bias"], places)[:, None], hidden, picked(own["out.weight"], places).mT).to(query.dtype)


def met(head: Sharing, shared: Float[Tensor, "E Q H"]) -> Float[Tensor, "E Q H"]:
    """The first shared layer of a head that tells its tasks apart right after it: where its tasks meet, if it is the only shared layer.
    With more of them, the later ones see what differs by task, and there is no such place.
    """
    return meeting(shared) if head.depth == 1 else shared


def check_descriptors(head: Sharing, descriptors: Descriptors) -> None:
    """Raises InputError where task descriptors are not one vector a task, all of one length."""
    if not descriptors or not head.outputs:
        return
    if len(descriptors) != len(head.outputs) or len({len(one) for one in descriptors}) != 1 or not descriptors[0]:
        raise InputError(
            f"{type(head).__name__}: expected descriptors of one length, one for each of the {len(head.outputs)} tasks, found "
            f"{len(descriptors)} of lengths {sorted({len(one) for one in descriptors})}."
        )


def described(outputs: tuple[int, ...], descriptors: Descriptors, like: Tensor) -> Float[Tensor, "T M"]:
    """The vector z of each task: as given, or one-hot."""
    given = torch.tensor(descriptors) if descriptors else torch.eye(len(outputs))
    return given.to(like)


def described_width(outputs: tuple[int, ...], descriptors: Descriptors) -> int:
    return len(descriptors[0]) if descriptors else len(outputs)


def by_task(own: Parameters, part: str, z: Float[Tensor, "T M"], task: Int[Tensor, " E"]) -> Float[Tensor, "E 1 H"]:
    """The product of a weight [H, M] with the vector of each episode's task."""
    return (z @ own[part].mT)[task][:, None]
