"""Head: reads the answer off features. `fit` looks at the support, `score` at the query; neither knows a network.

A head is a frozen spec. What it trains or learns (a temperature, a penalty) it declares as named parameters. `fit` returns the
state that a saved model keeps, one tensor a name with a leading E, so predicting later needs the state alone.

What was learned is read by the head that learned it, and by every head that equals it: another head of the same name, given another
temperature, metric or penalty, has parameters of its own (`stored`) and begins at what it was given.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import ClassVar, Protocol, TypeAlias, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from fewtune.errors import InputError
from fewtune.keys import Key
from fewtune.spec import digest
from fewtune.tasks.episodes import Episodes

State: TypeAlias = dict[str, Tensor]
Parameters: TypeAlias = dict[str, Tensor]


@runtime_checkable
class Head(Protocol):
    """The axis of heads. Every final class of it passes the laws in tests/laws/test_heads.py."""

    reads_support: ClassVar[bool]  # looks at the features of the support, which otherwise need not be computed
    differentiable: ClassVar[bool]  # gradients flow to support, query and parameters
    shared_by_name: ClassVar[bool]  # heads of one name have the same parameters, whatever else they are given

    def __hash__(self) -> int: ...

    @property
    def name(self) -> str: ...

    @property
    def reads_classes(self) -> bool:
        """Whether it needs class vectors (a label side and prompts)."""
        ...

    @property
    def own(self) -> tuple[str, ...]:
        """The parameters that are new in each episode (see `begin`)."""
        ...

    def declare(self, width: int, classes: Sequence[str] = ()) -> Parameters:
        """The named parameters it starts from, for features of this width and a row space of these classes; names begin with `name` and a
        dot.

        Whole numbers among them are marks that are compared and never move.
        """
        ...

    def begin(self, width: int, support: Callable[[], Float[Tensor, "1 S D"]], episode: Episodes) -> Parameters:
        """What `own` is in one episode before its inner steps; `support` gives the features of its support where they are needed."""
        ...

    def fit(
        self, support: Float[Tensor, "E S D"], episodes: Episodes, class_vectors: Float[Tensor, "E K V"] | None, parameters: Parameters
    ) -> State:
        """The state that is fitted on the support. Rows labelled -1 are padding (their features are zero) and have no influence."""
        ...

    def score(self, state: State, query: Float[Tensor, "E Q D"], parameters: Parameters) -> Float[Tensor, "E Q K"]:
        """Logits of the query (or predictions [E, Q, L] of float targets), without masking."""
        ...


@runtime_checkable
class FromNames(Protocol):
    """A head with parameters that may begin at class names."""

    def begin_at(self, class_vectors: Float[Tensor, "K V"], width: int) -> Parameters:
        """As `begin`, from the class vectors of one episode; asked only of a head that reads class names."""
        ...


@runtime_checkable
class Random(Protocol):
    """A head that is random in training, such as one with dropout. Outside training it answers without what is drawn here."""

    def drawn(self, key: Key, episodes: Episodes, numbers: Sequence[int]) -> Parameters:
        """What one training step draws, beside the parameters; names begin with `name` and a dot, each tensor with a leading E.

        `numbers`: the places of the episodes in their batch. What is drawn for an episode depends on its key and its place alone, so that
        a part of a batch is answered as within the whole.
        """
        ...


def nothing_own(
    self: object,  # noqa: ARG001
    width: int,  # noqa: ARG001
    support: Callable[[], Tensor],  # noqa: ARG001
    episode: Episodes,  # noqa: ARG001
) -> Parameters:
    """`begin` of a head without parameters that are new in each episode."""
    return {}


def under(prefix: str, named: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin with `prefix`, without it."""
    return {key.removeprefix(prefix): value for key, value in named.items() if key.startswith(prefix)}


def stored(head: Head, name: str) -> str:
    """The name under which weights hold a parameter that the head calls `name`: "head.temperature" as "head.Centroid-1f3a9c2e.temperature".

    The digits stand for all that the head was given; heads of one name that differ have parameters of their own.
    """
    return name if head.shared_by_name else f"{head.name}.{_mark(head)}.{name.removeprefix(f'{head.name}.')}"


@cache
def _mark(head: Head) -> str:
    return f"{type(head).__name__}-{digest(head)[:8]}"


def answer(
    head: Head,
    support: Float[Tensor, "E S D"],
    query: Float[Tensor, "E Q D"],
    episodes: Episodes,
    class_vectors: Float[Tensor, "E K V"] | None = None,
    parameters: Parameters | None = None,
) -> Float[Tensor, "E Q K"]:
    """Logits of the query rows; those of padded classes are -inf.

    `parameters` are the head's declared ones, by default its start. Raises InputError when class vectors are needed and absent.
    """
    if head.reads_classes and class_vectors is None:
        raise InputError(
            f"{type(head).__name__} compares with class names, but this backbone has no label side: use a text or image-text backbone."
        )
    if parameters is None:
        parameters = {k: v.to(query) for k, v in head.declare(query.shape[-1]).items()}
    padding = episodes.support < 0
    if bool(padding.any()):
        support = support.masked_fill(padding[..., None], 0.0)
    logits = head.score(head.fit(support, episodes, class_vectors, parameters), query, parameters)
    return mask_classes(logits, episodes)


def mask_classes(logits: Float[Tensor, "E Q K"], episodes: Episodes) -> Float[Tensor, "E Q K"]:
    """-inf where a class is padding."""
    absent = episodes.classes < 0
    if not bool(absent.any()):
        return logits
    return logits.masked_fill(absent[:, None, :], -torch.inf)


def one_hot(episodes: Episodes, like: Tensor) -> Float[Tensor, "E S K"]:
    """Support labels as one-hot rows in the dtype and on the device of `like`; padded rows are zero."""
    classes = torch.arange(episodes.ways, device=like.device)
    return (episodes.support_label[..., None] == classes).to(like.dtype)
