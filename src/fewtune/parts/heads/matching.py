"""Matching: a query attends to every support row, or asks its nearest ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from jaxtyping import Float
from torch import Tensor

from fewtune.errors import InputError
from fewtune.lengths import lengths, unit
from fewtune.parts.heads.features import ABSENT, widen
from fewtune.parts.heads.head import Parameters, State, nothing_own, one_hot
from fewtune.tasks.episodes import Episodes

BLOCK = 1 << 24  # similarities at once: 64 MiB in float32, and a few such blocks exist at a time


@final
@dataclass(frozen=True, kw_only=True)
class Matching:
    """Softmax attention over cosine similarities to the support rows, or a vote of the nearest.

    `neighbours` = 0: logits_c = log sum over rows s of class c of softmax_s(temperature x cosine(f, s)), the log-probability of
    matching networks. `neighbours` = k: logits_c = temperature x (votes_c + tie_c) / k, votes being the rows of the class among the k most
    similar (rows as similar as the k-th all vote, so their order is irrelevant) and tie_c = (1 + mean cosine of the voters) / 4,
    which decides between equal votes and never more; gradients see the tie alone.

    `temperature` is the start of the declared parameter `<name>.temperature` (the plain number). A class without support has
    the log-probability -10,000, or no votes.

    Reference: Vinyals et al., "Matching networks for one shot learning", NeurIPS 2016. Departs: they have no temperature (1), and embed
    with the support as context; here features are frozen or finetuned by others.
    """

    neighbours: int = 0
    temperature: float = 10.0
    name: str = "head"

    reads_classes: ClassVar[bool] = False
    reads_support: ClassVar[bool] = True
    differentiable: ClassVar[bool] = True
    shared_by_name: ClassVar[bool] = False
    own: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        if self.neighbours < 0:
            raise InputError(f"neighbours must be 0 (all, weighed by similarity) or a positive number, found {self.neighbours}.")

    begin = nothing_own

    def declare(self, width: int, classes: Sequence[str] = ()) -> Parameters:  # noqa: ARG002
        return {f"{self.name}.temperature": torch.tensor(self.temperature, dtype=torch.float32)}

    def fit(self, support: Tensor, episodes: Episodes, class_vectors: Tensor | None, parameters: Parameters) -> State:  # noqa: ARG002
        """{"support": unit features [E, S, D], "members": one-hot labels [E, S, K], all zero for padding}."""
        features = widen(support)
        return {"support": unit(features), "members": one_hot(episodes, features)}

    def score(self, state: State, query: Tensor, parameters: Parameters) -> Tensor:
        features = widen(query)
        support, members = state["support"].to(features), state["members"].to(features)
        temperature = parameters[f"{self.name}.temperature"].to(features)
        if torch.compiler.is_compiling():  # an exported graph has no loop over its rows
            return self._answer(features, support, members, temperature).to(query.dtype)
        E, Q, _ = features.shape
        # every query has similarities to every support row: a large table is answered in blocks of queries, never as Q x S
        rows = max(1, BLOCK // max(1, E * (support.shape[1] + members.shape[2])))
        parts = [self._answer(features[:, first : first + rows], support, members, temperature) for first in range(0, max(Q, 1), rows)]
        return (parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)).to(query.dtype)

    def _answer(self, features: Tensor, support: Tensor, members: Tensor, temperature: Tensor) -> Float[Tensor, "E Q K"]:
        cosines = torch.bmm(features, support.mT) / lengths(features)
        return _vote(cosines, members, self.neighbours, temperature) if self.neighbours else _attend(temperature * cosines, members)


def _attend(similarities: Float[Tensor, "E Q S"], members: Float[Tensor, "E S K"]) -> Float[Tensor, "E Q K"]:
    """log of the softmax over rows, summed within classes; each class has its own maximum, so that none underflows."""
    E, Q, S = similarities.shape
    similarities = similarities.masked_fill((members.sum(dim=-1) == 0)[:, None, :], -torch.inf)
    label = members.argmax(dim=-1)[:, None, :].expand(E, Q, S)
    highest = similarities.new_full((E, Q, members.shape[-1]), -torch.inf)
    highest = highest.scatter_reduce(2, label, similarities.detach(), "amax").nan_to_num(neginf=0.0)
    summed = torch.bmm(torch.exp(similarities - highest.gather(2, label)), members)
    # the row that is its class's maximum adds exactly 1, so only a class without rows sums to less
    logits = torch.where(summed > 0, highest + summed.clamp_min(0.5).log(), ABSENT)
    return logits - torch.logsumexp(logits, dim=-1, keepdim=True)


def _vote(cosines: Float[Tensor, "E Q S"], members: Float[Tensor, "E S K"], k: int, temperature: Tensor) -> Float[Tensor, "E Q K"]:
    present = (members.sum(dim=-1) > 0)[:, None, :]
    candidates = cosines.detach().masked_fill(~present, -torch.inf)
    kth = candidates.topk(min(k, cosines.shape[-1]), dim=-1).values[..., -1:]
    voters = (candidates >= kth).to(cosines)
    votes = torch.bmm(voters, members)
    closeness = torch.bmm(voters * cosines, members) / votes.clamp_min(1)
    tie = torch.where(votes > 0, (1 + closeness) / 4, 0.0)
    return temperature * (votes + tie) / k
