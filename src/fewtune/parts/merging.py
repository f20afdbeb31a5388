"""How several networks that come from one start become one: rules of `Average(members, rule=...)`.

A rule takes the change of every member by name, delta_i = theta_i - theta_0, and gives the change of the merged network. Names that no
member has moved take no part. Where edits change weights (LoRA), a delta is the change that they make, never their factors.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias, final

import torch
from torch import Tensor

from fewtune.backbones.edits import Edit, settled
from fewtune.errors import InputError
from fewtune.keys import key
from fewtune.parts.heads.features import widen

Delta: TypeAlias = Mapping[str, Tensor]
Grams: TypeAlias = Mapping[str, Tensor]  # by the name of a layer's weight: X^T X [in, in] of its inputs X


@final
@dataclass(frozen=True, kw_only=True)
class Uniform:
    """The mean of the deltas: a uniform soup. Reference: Wortsman et al., "Model soups", ICML 2022."""

    reads_inputs: ClassVar[bool] = False

    def merge(self, deltas: Sequence[Delta], grams: Sequence[Grams] | None = None) -> dict[str, Tensor]:  # noqa: ARG002
        return {n: torch.stack([d[n] for d in deltas]).mean(0) for n in deltas[0]}


@final
@dataclass(frozen=True, kw_only=True)
class TaskArithmetic:
    """`scale` x the sum of the deltas. Reference: Ilharco et al., "Editing models with task arithmetic", ICLR 2023 (.3 for 8 members)."""

    scale: float = 0.3

    reads_inputs: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _finite("TaskArithmetic", self.scale)

    def merge(self, deltas: Sequence[Delta], grams: Sequence[Grams] | None = None) -> dict[str, Tensor]:  # noqa: ARG002
        return {n: self.scale * torch.stack([d[n] for d in deltas]).sum(0) for n in deltas[0]}


@final
@dataclass(frozen=True, kw_only=True)
class Ties:
    """Trim, elect a sign, merge what agrees with it.

    Of each member's whole vector of deltas only the share `density` with the largest sizes is kept (entries as large as the smallest kept
    one too). The sign of an entry is that of the sum over members; where that is 0, the sign that most entries have. Entries of that sign
    are combined by their mean, or their sum, and multiplied by `scale`. Reference: Yadav et al., "TIES-Merging", NeurIPS 2023 (mean, scale
    1). fusion_bench's default is the sum and .3.
    """

    density: float = 0.2
    combine: Literal["mean", "sum"] = "mean"
    scale: float = 1.0

    reads_inputs: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _share("density of Ties", self.density)
        _finite("Ties", self.scale)
        if self.combine not in ("mean", "sum"):
            raise InputError(f"combine of Ties is 'mean' or 'sum', found {self.combine!r}.")

    def merge(self, deltas: Sequence[Delta], grams: Sequence[Grams] | None = None) -> dict[str, Tensor]:  # noqa: ARG002
        whole = torch.stack([torch.cat([t.flatten() for t in d.values()]) for d in deltas])
        if not whole.shape[1]:
            return {}
        kept = max(1, round(self.density * whole.shape[1]))
        least = whole.abs().kthvalue(whole.shape[1] - kept + 1, dim=1, keepdim=True).values
        whole = torch.where(whole.abs() >= least, whole, 0.0)
        total = whole.sum(0)
        sign = torch.where(total == 0, total.sign().sum().sign(), total.sign())
        agreeing = torch.where(whole.sign() == sign, whole, 0.0)
        merged = agreeing.sum(0)
        if self.combine == "mean":
            merged = merged / (agreeing != 0).sum(0).clamp_min(1)
        return _unflattened(self.scale * merged, deltas[0])


@final
@dataclass(frozen=True, kw_only=True)
class ModelStock:
    """Tensor by tensor: t x the mean delta, t = N c / (1 + (N - 1) c), c the mean cosine between two members' deltas, at least 0.

    One member is itself. Reference: Jang, Yun, Han, "Model Stock: all we need is just a few fine-tuned models", ECCV 2024. Departs: the
    paper has two members; the mean cosine for more is mergekit's.
    """

    reads_inputs: ClassVar[bool] = False

    def merge(self, deltas: Sequence[Delta], grams: Sequence[Grams] | None = None) -> dict[str, Tensor]:  # noqa: ARG002
        return {n: self._tensor(torch.stack([d[n] for d in deltas])) for n in deltas[0]}

    def _tensor(self, members: Tensor) -> Tensor:
        count = len(members)
        if count == 1:
            return members[0]
        units = torch.nn.functional.normalize(members.flatten(1), dim=1, eps=torch.finfo(members.dtype).tiny)
        cosine = ((units @ units.T).sum() - (units * units).sum()) / (count * (count - 1))
        cosine = cosine.clamp(0, 1)
        return count * cosine / (1 + (count - 1) * cosine) * members.mean(0)


@final
@dataclass(frozen=True, kw_only=True)
class IsoC:
    """Matrices: the sum of deltas U S V with all singular values replaced by their mean; other tensors: the mean delta. All x `scale`.

    Reference: Marczak et al., "No task left behind: isotropic model merging with common and task-specific subspaces", ICML 2025 (Iso-C).
    Departs: their code takes the mean delta for CLIP's text projection too.
    """

    scale: float = 1.0

    reads_inputs: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _finite("IsoC", self.scale)

    def merge(self, deltas: Sequence[Delta], grams: Sequence[Grams] | None = None) -> dict[str, Tensor]:  # noqa: ARG002
        return {n: self.scale * self._tensor(torch.stack([d[n] for d in deltas])) for n in deltas[0]}

    def _tensor(self, members: Tensor) -> Tensor:
        if members.ndim != 3 or not bool(members.any()):
            return members.mean(0)
        u, s, v = torch.linalg.svd(widen(members).sum(0), full_matrices=False)
        even: Tensor = s.mean() * (u @ v)
        return even.to(members)


@final
@dataclass(frozen=True, kw_only=True)
class RegMean:
    """Linear layers: the weight whose outputs are closest to the members', each on its own inputs; other tensors: the mean delta.

    W = sum_i W_i G_i (sum_i G_i)^-1 with G_i = X_i^T X_i of member i's inputs, where entries off the diagonal are multiplied by `shrink`
    (0 to 1). Layers are matrices of linear layers and 1 x 1 convolutions of stride 1. Where inputs say nothing (dead units), the mean.
    Reference: Jin et al., "Dataless knowledge fusion by merging weights of language models", ICLR 2023 (shrink .9).
    """

    shrink: float = 0.9

    reads_inputs: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _share("shrink of RegMean", self.shrink, least=0.0)

    def merge(self, deltas: Sequence[Delta], grams: Sequence[Grams] | None = None) -> dict[str, Tensor]:
        if grams is None or len(grams) != len(deltas):
            raise InputError("RegMean needs the inputs of every member's layers: expected one set of Gram matrices a member, found none.")
        return {n: self._tensor([d[n] for d in deltas], [g[n] for g in grams if n in g]) for n in deltas[0]}

    def _tensor(self, members: Sequence[Tensor], grams: Sequence[Tensor]) -> Tensor:
        mean = torch.stack(list(members)).mean(0)
        if len(grams) != len(members) or members[0].ndim < 2:
            return mean
        exact = [g.double() * (self.shrink + (1 - self.shrink) * torch.eye(len(g), dtype=torch.float64, device=g.device)) for g in grams]
        size = torch.stack(exact).sum(0).diagonal().mean()
        if size == 0:
            return mean
        exact = [g / size for g in exact]
        whole = torch.stack(exact).sum(0)
        prior = 1e-8 * torch.eye(len(whole)).to(whole)
        flat = [m.flatten(1).double() for m in members]
        right = torch.stack([m @ g for m, g in zip(flat, exact, strict=True)]).sum(0) + mean.flatten(1).double() @ prior
        merged: Tensor = torch.linalg.solve(whole + prior, right, left=False)
        return merged.view_as(mean).to(mean)


@final
@dataclass(frozen=True, kw_only=True)
class Dare:
    """Each entry of each delta is kept with probability `keep` and divided by it, else 0; then `rule`.

    What is kept is a function of (`seed`, name of the tensor). Each member has a mask of its own; which one goes by the order of the
    members' sums, not by the order in which they are given. Reference: Yu et al., "Language models are super Mario" (DARE), ICML 2024.
    """

    keep: float = 0.5
    rule: Uniform | TaskArithmetic | Ties | ModelStock | IsoC = Uniform()
    seed: int = 0

    reads_inputs: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _share("keep of Dare", self.keep)

    def merge(self, deltas: Sequence[Delta], grams: Sequence[Grams] | None = None) -> dict[str, Tensor]:
        order = sorted(range(len(deltas)), key=lambda i: sum(float(t.detach().double().sum()) for t in deltas[i].values()))
        thinned: list[dict[str, Tensor]] = [{} for _ in deltas]
        for name, first in deltas[0].items():
            generator = key(self.seed, "dare", name).torch_generator()
            for i in order:
                mask = torch.rand(first.shape, generator=generator, dtype=torch.float64) < self.keep
                thinned[i][name] = torch.where(mask.to(first.device), deltas[i][name] / self.keep, 0.0)
        return self.rule.merge(thinned, grams)


Rule: TypeAlias = Uniform | TaskArithmetic | Ties | Dare | ModelStock | IsoC | RegMean
RULES = (Uniform, TaskArithmetic, Ties, Dare, ModelStock, IsoC, RegMean)


def merge(
    rule: Rule,
    start: Mapping[str, Tensor],
    ends: Sequence[Mapping[str, Tensor]],
    edits: tuple[Edit, ...] = (),
    grams: Sequence[Grams] | None = None,
) -> dict[str, Tensor]:
    """start + the rule's change: one network from `ends`, which all come from `start` and have its names and shapes.

    What no member has moved stays the very tensor it was; whole numbers stay those of `start`. `edits`: those that the weights are declared
    with; their factors are those of `start` afterwards. `grams`: for each member, of the inputs of its linear layers (`RegMean`).
    Raises InputError without a member, and for members of another architecture.

    >>> merge(TaskArithmetic(scale=0.5), {"w": torch.ones(1)}, [{"w": torch.tensor([2.0])}, {"w": torch.tensor([5.0])}])
    {'w': tensor([3.5000])}
    """
    if not ends:
        raise InputError("merging needs at least one member, found none.")
    for end in ends:
        if odd := next((n for n, t in start.items() if n not in end or end[n].shape != t.shape), None):
            raise InputError(
                f"expected members that come from one start, but {odd!r} is missing in one of them or has another shape there."
            )
    whole = [settled(edits, end, start) for end in ends]
    moved = [n for n, t in start.items() if t.is_floating_point() and any(_differs(end[n], t) for end in whole)]
    if not moved:
        return dict(start)
    change = rule.merge([{n: end[n] - start[n] for n in moved} for end in whole], grams)
    return {n: t + change[n].to(t) if n in change else t for n, t in start.items()}


def _differs(end: Tensor, start: Tensor) -> bool:
    return end is not start and not torch.equal(end, start)


def _unflattened(vector: Tensor, like: Delta) -> dict[str, Tensor]:
    pieces = torch.split(vector, [t.numel() for t in like.values()])
    return {n: piece.view_as(t) for (n, t), piece in zip(like.items(), pieces, strict=True)}


def _share(what: str, value: float, least: float | None = None) -> None:
    if not (0 < value <= 1 or value == least):
        raise InputError(f"{what} is a share, {'above 0' if least is None else 'from 0'} and at most 1, found {value}.")


def _finite(what: str, value: float) -> None:
    if not math.isfinite(value):
        raise InputError(f"scale of {what} is a finite number, found {value}.")
