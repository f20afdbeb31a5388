"""Edits: pure functions weights -> weights, separate from the network. LoRA: a low-rank change that is added to frozen weights."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TypeAlias, final

import torch
from torch import Tensor

from fewtune.backbones.backbone import Backbone, Weights
from fewtune.backbones.context import Context, Learned
from fewtune.errors import InputError
from fewtune.keys import Key, key

_GROUP = "group:"
_FUSED = ("in_proj_weight", "qkv.weight")  # of query, key and value in one

# attention and linear projections as timm, open_clip and transformers spell them, and the convolutions of residual networks
PROJECTIONS = (
    "*attn.qkv.weight",
    "*attn.proj.weight",
    "*.fc[12].weight",
    "*.query.weight",
    "*.key.weight",
    "*.value.weight",
    "*.dense.weight",
    "*_proj.weight",
    "*in_proj_weight",
    "*.c_fc.weight",
    "*_lin.weight",
    "*.lin[12].weight",
    "*.conv_pw.weight",
    "*.conv_pwl.weight",
    "*.conv[123].weight",
    "blocks.?.conv.weight",
    "blocks.?.convs.?.conv.weight",
    "layers.*.weight",
)


@final
@dataclass(frozen=True, kw_only=True)
class LoRA:
    """Weights W that match become W + alpha / rank x up down, with down [rank, in] and up [out, rank].

    W is a matrix [out, in] (a linear layer, or query, key and value in one) or a convolution [out, in, kh, kw], whose change up down has in
    x kh x kw columns. `declare` makes the factors, "NAME.WEIGHT.down" and "NAME.WEIGHT.up"; up starts at zero, so the start does not change
    anything. Patterns are matched as in a plan: full names with `*`, `?` and `[...]`, or "group:PATTERN" for a whole group. Weights that
    match but are neither matrices nor convolutions (biases, scales) are not changed.

    `split`: query, key and value that stand above one another in one matrix (names that end in in_proj_weight or qkv.weight) get a change
    of rank `rank` each, as where they are three matrices; down is then [3 x rank, in].

    `dropout` p: in each step of training, inputs of the change are left out with probability p, and the others multiplied by 1 / (1 - p);
    query, key and value of one matrix leave out others. Answers outside training use all.

    Reference: Hu et al., "LoRA: low-rank adaptation of large language models", ICLR 2022. Departs: down is normal with variance 1 / columns
    (the paper says Gaussian, the authors' code is uniform with a third of that variance); all projections by default, not
    queries and values only; all rows and tokens of a step leave out the same inputs, because an edit knows weights and no activations.
    """

    patterns: tuple[str, ...] = PROJECTIONS
    rank: int = 8
    alpha: float = 8.0
    split: bool = False
    dropout: float = 0.0
    name: str = "lora"

    def __post_init__(self) -> None:
        given: object = self.patterns
        if not isinstance(given, tuple) or not given:
            raise InputError(f"LoRA takes a tuple of patterns such as ('*attn.qkv.weight',), found {given!r}.")
        if not 0 <= self.dropout < 1:
            raise InputError(f"dropout of LoRA is a share of at least 0 and below 1, found {self.dropout}.")
        if self.rank < 1 or not math.isfinite(self.alpha) or self.alpha <= 0:
            raise InputError(f"LoRA needs a rank of at least 1 and an alpha above 0, found {self.rank} and {self.alpha}.")
        if not self.name:
            raise InputError("LoRA needs a name: its factors are called NAME.WEIGHT.down and NAME.WEIGHT.up.")

    @property
    def scale(self) -> float:
        """The factor of the change: alpha / rank."""
        return self.alpha / self.rank

    def declare(self, backbone: Backbone) -> dict[str, Tensor]:
        """The starting factors, with each weight's dtype and device: down is random (a function of the names), up is zero.

        Raises InputError if no weight matches, and if the rank is larger than the smaller side of a weight.
        """
        start = backbone.start()
        found: dict[str, Tensor] = {}
        for name in self._matching(backbone, start):
            weight = start[name]
            columns = weight[0].numel()
            if self.rank > min(len(weight), columns):
                raise InputError(
                    f"LoRA of rank {self.rank} does not fit {name!r}, a weight of {len(weight)} x {columns}: give a rank of at most "
                    f"{min(len(weight), columns)}, or patterns that leave it out."
                )
            generator = key(0, "edits", self.name, name).torch_generator()
            down = torch.randn(self._parts(name) * self.rank, *weight.shape[1:], generator=generator, dtype=torch.float64) / math.sqrt(
                columns
            )
            found[f"{self.name}.{name}.down"] = down.to(weight)
            found[f"{self.name}.{name}.up"] = weight.new_zeros(len(weight), self.rank)
        return found

    def masks(self, declared: Weights) -> dict[str, tuple[int, ...]]:
        """What a step of training draws: the shape of each mask, by its name; nothing without dropout. `declared`: the factors."""
        if not self.dropout:
            return {}
        return {self._mask(name): (self._parts(name), 1, *declared[self._pair(name)[0]].shape[1:2]) for name in self._changed(declared)}

    def drawn(self, key: Key, declared: Weights) -> dict[str, Tensor]:
        """The masks of one step by its key: 0 for an input that is left out, 1 / (1 - p) for the others."""
        found = {}
        for name, shape in self.masks(declared).items():
            stays = torch.rand(shape, generator=key.child(name).torch_generator(), dtype=torch.float64) >= self.dropout
            like = declared[f"{name.removesuffix('.mask')}.down"]
            found[name] = (stays / (1 - self.dropout)).to(like)
        return found

    def _matching(self, backbone: Backbone, start: Weights) -> list[str]:
        """The matrices and convolutions that match a pattern, from input to output."""
        members = [(title, name) for title, names in backbone.groups for name in names]
        plain = [name for title, name in members if any(_matches(p, name, title) for p in self.patterns) and start[name].ndim in (2, 4)]
        if not plain:
            known = [name for _, name in members if start[name].ndim in (2, 4)]
            some = f"its weights are {', '.join(map(repr, known[:: max(1, len(known) // 4)][:5]))}" if known else "it has no such weights"
            shown = ", ".join(map(repr, self.patterns[:3])) + (f" and {len(self.patterns) - 3} more" if len(self.patterns) > 3 else "")
            raise InputError(f"LoRA: {shown} match no matrix or convolution of {backbone.name}: {some}.")
        return plain

    def apply(self, weights: Weights) -> dict[str, Tensor]:
        """The backbone's weights with the change added, differentiable in the factors. The factors are not in the result."""
        mine = set(self._factors(weights))
        changed = {name: tensor for name, tensor in weights.items() if name not in mine}
        for name in self._changed(weights):
            changed[name] = changed[name] + self._change(weights, name)
        return changed

    def merge(self, weights: Weights) -> dict[str, Tensor]:
        """The changed weights as ordinary weights, without gradients: a network without the edit gives the same features with them."""
        with torch.no_grad():
            return {name: tensor.detach() for name, tensor in self.apply(weights).items()}

    def settled(self, weights: Weights, start: Weights) -> dict[str, Tensor]:
        """The same changed weights with the factors of `start`: the difference is moved into the ordinary weights."""
        found = dict(weights)
        for name in self._changed(start):
            found |= self._settled(weights, start, name)
        return found

    def aligned(self, ends: Sequence[Weights], start: Weights) -> list[dict[str, Tensor]]:
        """The same changed weights, rewritten so that they can be averaged by name (the product of mean factors is not the mean of the
        products).

        If only one `down` has an effect (all other `up` are zero, as in WiSE-FT), all ends get it, and the mean keeps its rank. Otherwise,
        and if gradients flow, the ends are `settled`.
        """
        found = [dict(end) for end in ends]
        for name in self._changed(start):
            down, up = self._pair(name)
            acting = [end[down] for end in ends if bool(end[up].any())]
            one = bool(acting) and all(torch.equal(d, acting[0]) for d in acting[1:])
            low = one and not any(end[n].requires_grad for end in ends for n in (down, up))
            for end in found:
                end |= {down: acting[0]} if low else self._settled(end, start, name)
        return found

    def _settled(self, weights: Weights, start: Weights, name: str) -> dict[str, Tensor]:
        factors = {n: start[n] for n in self._pair(name)}
        if all(weights[n] is t for n, t in factors.items()):
            return {}
        return {**factors, name: weights[name] + (self._change(weights, name) - self._change(start, name))}

    def _change(self, weights: Weights, name: str) -> Tensor:
        """alpha / rank x up down, in the shape of the weight."""
        down, up = (weights[n] for n in self._pair(name))
        parts, mask = self._parts(name), weights.get(self._mask(name))
        if mask is not None:  # [parts, 1, in]
            each = down.view(parts, self.rank, *down.shape[1:])
            down = (each * mask.view(*mask.shape, *(1,) * (down.ndim - 2))).view(down.shape)
        if parts == 1:
            return self.scale * (up @ down.flatten(1)).view(weights[name].shape)
        each = torch.bmm(up.view(parts, -1, self.rank), down.view(parts, self.rank, -1))
        return self.scale * each.reshape(weights[name].shape)

    def _parts(self, name: str) -> int:
        """How many changes a weight gets, one above the other."""
        return 3 if self.split and name.endswith(_FUSED) else 1

    def _mask(self, name: str) -> str:
        return f"{self.name}.{name}.mask"

    def _pair(self, name: str) -> tuple[str, str]:
        return f"{self.name}.{name}.down", f"{self.name}.{name}.up"

    def _changed(self, weights: Weights) -> list[str]:
        """The names of the weights that factors change."""
        return [n[len(self.name) + 1 : -len(".down")] for n in self._factors(weights) if n.endswith(".down")]

    def _factors(self, weights: Weights) -> Iterator[str]:
        return (name for name in weights if name.startswith(f"{self.name}.") and name.endswith((".down", ".up", ".mask")))


Edit: TypeAlias = LoRA | Context
EDITS = (LoRA, Context)


def declared_edits(edits: tuple[Edit, ...], backbone: Backbone) -> dict[str, Tensor]:
    """The factors that all edits declare. Raises InputError if two edits, or an edit and the backbone, have the same name."""
    taken = {name.split(".")[0] for name in backbone.start()}
    found: dict[str, Tensor] = {}
    for edit in edits:
        if edit.name.split(".")[0] in taken:
            raise InputError(
                f"expected edits with different names that {backbone.name} does not use itself, but {edit.name!r} is already used."
            )
        taken.add(edit.name.split(".")[0])
        found |= edit.declare(backbone)
    return found


def edited(edits: tuple[Edit, ...], weights: Weights) -> dict[str, Tensor]:
    """The backbone's weights after all edits, applied one after another."""
    changed: Mapping[str, Tensor] = weights
    for edit in edits:
        changed = edit.apply(changed)
    return dict(changed)


def masks_of(edits: tuple[Edit, ...], declared: Weights) -> frozenset[str]:
    """The names of all that edits draw in a step of training."""
    return frozenset(name for edit in edits for name in edit.masks(declared))


def drawn_by(edits: tuple[Edit, ...], declared: Weights, key: Key) -> dict[str, Tensor]:
    """What edits draw in one step of training, by name."""
    return {name: t for edit in edits for name, t in edit.drawn(key.child("edits"), declared).items()}


def context_in(edits: tuple[Edit, ...], weights: Weights) -> Learned | None:
    """The words before class names that weights hold as vectors; None where no edit learns any."""
    held = (edit for edit in edits if isinstance(edit, Context) and f"{edit.name}.vectors" in weights)
    return next((edit.read(weights) for edit in held), None)


def settled(edits: tuple[Edit, ...], weights: Weights, start: Weights) -> dict[str, Tensor]:
    """The same edited weights with the factors of `start`, so that averaging by name averages the edited weights."""
    changed: Mapping[str, Tensor] = weights
    for edit in edits:
        changed = edit.settled(changed, start)
    return dict(changed)


def _matches(pattern: str, name: str, group: str) -> bool:
    return fnmatchcase(group, pattern.removeprefix(_GROUP)) if pattern.startswith(_GROUP) else fnmatchcase(name, pattern)
