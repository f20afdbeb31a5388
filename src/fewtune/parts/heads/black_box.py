"""BlackBox: a small transformer reads the whole support set, features and labels, and answers queries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from fewtune.errors import InputError
from fewtune.keys import key
from fewtune.lengths import unit
from fewtune.parts.heads.features import class_means, widen
from fewtune.parts.heads.head import Parameters, State, nothing_own, one_hot
from fewtune.tasks.episodes import Episodes

_PARTS = ("query", "key", "value", "out", "label")


@final
@dataclass(frozen=True, kw_only=True)
class BlackBox:
    """`depth` layers of attention over the support. A token of a row is its projected unit feature plus the token of its label, which is
    the mean of the tokens of its class; queries attend to the same tokens. logit_c = temperature x cosine(query token, mean token of
    class c).

    Permuting classes permutes logits, and the order of the support is irrelevant, exactly: a label has no vector of its own. All is
    declared and begins at random, a function of `seed`, near the nearest class mean; episodes train it. `width` units in `attention_heads`
    heads. Reference: Mishra et al., "A simple neural attentive meta-learner", ICLR 2018; Garnelo et al., "Conditional neural processes",
    ICML 2018 (networks that read the whole set). Departs: both spell labels as one-hot vectors, so that classes cannot be exchanged.
    """

    width: int = 64
    depth: int = 2
    attention_heads: int = 1
    temperature: float = 10.0
    seed: int = 0
    name: str = "head"

    reads_classes: ClassVar[bool] = False
    reads_support: ClassVar[bool] = True
    differentiable: ClassVar[bool] = True
    shared_by_name: ClassVar[bool] = False
    own: ClassVar[tuple[str, ...]] = ()

    begin = nothing_own

    def __post_init__(self) -> None:
        if self.width < 1 or self.depth < 1 or self.attention_heads < 1 or self.width % self.attention_heads:
            raise InputError(
                f"BlackBox has a width and a depth of at least 1, and heads that divide the width, found width {self.width}, depth "
                f"{self.depth} and {self.attention_heads} heads."
            )

    def declare(self, width: int, classes: Sequence[str] = ()) -> Parameters:  # noqa: ARG002
        H = self.width
        shapes = {"in.weight": (H, width)}
        for layer in range(self.depth):
            shapes |= {f"{layer}.{part}.weight": (H, H) for part in _PARTS}
            shapes |= {f"{layer}.up.weight": (2 * H, H), f"{layer}.down.weight": (H, 2 * H)}
        made = {}
        for part, shape in shapes.items():
            small = 0.1 if part.split(".")[-2] in ("out", "down", "label") else 1.0  # what is added to a token begins small
            drawn = torch.randn(shape, generator=key(self.seed, "black box", part).torch_generator())
            made[f"{self.name}.{part}"] = drawn * (small / (H if part == "in.weight" else shape[1]) ** 0.5)
        return {**made, f"{self.name}.temperature": torch.tensor(self.temperature)}

    def fit(self, support: Tensor, episodes: Episodes, class_vectors: Tensor | None, parameters: Parameters) -> State:  # noqa: ARG002
        """Keys and values of the support in each layer [E, S, width], the classes' tokens [E, K, width], and which rows count [E, S]."""
        features = widen(support)
        own = self._own(parameters, features)
        members = one_hot(episodes, features)
        known = members.sum(-1)
        tokens = (unit(features) @ own["in.weight"].T) * known[..., None]
        state: State = {"known": known}
        for layer in range(self.depth):
            rows = _normal(tokens)
            labels = members @ class_means(rows, members, members)
            marked = rows + labels @ own[f"{layer}.label.weight"].T
            state |= {f"{layer}.{part}": marked @ own[f"{layer}.{part}.weight"].T for part in ("key", "value")}
            tokens = self._layer(own, layer, tokens, state) * known[..., None]
        return {**state, "class": unit(class_means(_normal(tokens), members, members))}

    def score(self, state: State, query: Tensor, parameters: Parameters) -> Tensor:
        features = widen(query)
        own = self._own(parameters, features)
        held = {n: t.to(features) for n, t in state.items()}
        tokens = unit(features) @ own["in.weight"].T
        for layer in range(self.depth):
            tokens = self._layer(own, layer, tokens, held)
        return (own["temperature"] * torch.bmm(unit(tokens), held["class"].mT)).to(query.dtype)

    def _own(self, parameters: Parameters, like: Tensor) -> dict[str, Tensor]:
        return {n.removeprefix(f"{self.name}."): t.to(like) for n, t in parameters.items() if n.startswith(f"{self.name}.")}

    def _layer(self, own: dict[str, Tensor], layer: int, tokens: Float[Tensor, "E N H"], state: State) -> Float[Tensor, "E N H"]:
        """Tokens after they have attended to the support, and a hidden layer of their own."""
        E, N, H = tokens.shape
        asking = (_normal(tokens) @ own[f"{layer}.query.weight"].T).view(E, N, self.attention_heads, -1)
        keys, values = (state[f"{layer}.{part}"].view(E, -1, self.attention_heads, H // self.attention_heads) for part in ("key", "value"))
        likeness = torch.einsum("enhd,eshd->ehns", asking, keys) / (H / self.attention_heads) ** 0.5
        likeness = likeness.masked_fill(state["known"][:, None, None] == 0, -1e9)
        seen = torch.einsum("ehns,eshd->enhd", likeness.softmax(-1), values).reshape(E, N, H)
        tokens = tokens + seen @ own[f"{layer}.out.weight"].T
        hidden = functional.gelu(_normal(tokens) @ own[f"{layer}.up.weight"].T)
        return tokens + hidden @ own[f"{layer}.down.weight"].T


def _normal(tokens: Tensor) -> Tensor:
    """Tokens of root mean square 1; zero stays zero."""
    return tokens * torch.rsqrt(tokens.square().mean(-1, keepdim=True) + 1e-6)
