"""What finetuning moved: whole tensors, or the factors of edits, and how they are put into the backbone again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeAlias, final

import torch
from torch import Tensor

from fewtune.backbones.backbone import Backbone
from fewtune.backbones.beside import beside
from fewtune.backbones.edits import EDITS, Edit, context_in, declared_edits, edited
from fewtune.backbones.weights import digest_weights
from fewtune.errors import InputError
from fewtune.spec import digest, parse, text


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Moved:
    """`weights`: what differs from the start, by the backbone's names and those that the edits declare. `edits`: their text.

    `digest`: of the finetuned backbone; where there are edits, of what it is made from, for folding them in rounds differently on other
    machines.
    """

    weights: Mapping[str, Tensor]
    edits: str
    digest: str

    def onto(self, backbone: Backbone) -> Backbone:
        """The finetuned backbone. Raises InputError where what moved does not fit, or makes another backbone than it did."""
        edits = read_edits(self.edits)
        known = {**backbone.start(), **(declared_edits(edits, backbone) if edits else {})}
        pairs = {_other(n) for n in self.weights if n not in backbone.start()}
        if not pairs <= self.weights.keys() <= known.keys() or any(t.shape != known[n].shape for n, t in self.weights.items()):
            raise InputError(f"what moved does not fit {backbone.name}: make the model again.")
        finetuned = _put(backbone, self.weights, edits)
        if _digest(backbone, finetuned, self.weights, self.edits) != self.digest:
            raise InputError(f"what moved in {backbone.name} is not what was saved (its digest differs): make the model again.")
        return finetuned


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Members:
    """An ensemble: what moved in each member, None for the model as it came."""

    parts: tuple[Moved | None, ...]

    @cached_property
    def weights(self) -> dict[str, Tensor]:
        """What moved in all members, as "<its place>/<name>"."""
        return {f"{place}/{n}": t for place, part in enumerate(self.parts) if part is not None for n, t in part.weights.items()}

    @property
    def digest(self) -> str:
        return digest(" ".join("as it came" if part is None else part.digest for part in self.parts))

    def onto(self, backbone: Backbone) -> Backbone:
        """The members side by side. Raises InputError as `Moved.onto` does."""
        return beside([backbone if part is None else part.onto(backbone) for part in self.parts])


Change: TypeAlias = Moved | Members
"""What was done to a backbone: it was finetuned, or several versions of it stand side by side."""


def what_moved(backbone: Backbone, weights: Mapping[str, Tensor], edits: tuple[Edit, ...] = ()) -> Moved | None:
    """What of `weights` differs from how the backbone starts, or None where nothing does.

    Names that belong neither to the backbone nor to the edits (parameters of heads, learned rates) are left out, and so are the factors
    that change nothing.
    """
    start = backbone.start()
    factors = declared_edits(edits, backbone) if edits else {}
    chosen = {n: t for n, t in weights.items() if n in start and not torch.equal(t.to(start[n]), start[n])}
    for up in (n for n in factors if n.endswith(".up") and n in weights and bool(weights[n].any())):
        chosen |= {_other(up): weights.get(_other(up), factors[_other(up)]), up: weights[up]}
    alone = (n for n in factors if _other(n) == n and n in weights)
    chosen |= {n: weights[n] for n in alone if not torch.equal(weights[n].to(factors[n]), factors[n])}
    if not chosen:
        return None
    kept = {n: t.detach().to(device="cpu", dtype=(start | factors)[n].dtype).clone() for n, t in chosen.items()}
    said = text(edits if any(n in factors for n in kept) else ())
    return Moved(weights=kept, edits=said, digest=_digest(backbone, _put(backbone, kept, read_edits(said)), kept, said))


def since_origin(backbone: Backbone, moved: Change | None) -> tuple[Backbone, Change | None]:
    """(the backbone that a saved model names, what moved since then), for what finetuning `moved` in `backbone`.

    A backbone with replaced weights, such as the encoder of a saved model, is kept as its origin and all that differs from it, so the new
    model needs no other run.
    """
    if backbone.origin is None:
        return backbone, moved
    if isinstance(moved, Members):
        return backbone.origin, Members(parts=tuple(_since(backbone, backbone.origin, part) for part in moved.parts))
    return backbone.origin, _since(backbone, backbone.origin, moved)


def _since(backbone: Backbone, origin: Backbone, moved: Moved | None) -> Moved | None:
    weights = backbone.start() if moved is None else {**backbone.start(), **moved.weights}
    return what_moved(origin, weights, () if moved is None else read_edits(moved.edits))


def read_edits(said: str) -> tuple[Edit, ...]:
    """The edits that a text spells. Raises InputError for anything else."""
    found = parse(said, {edit.__name__: edit for edit in EDITS})
    if not isinstance(found, tuple) or not all(isinstance(edit, EDITS) for edit in found):
        raise InputError(f"{said!r} spells no edits: expected a tuple such as (LoRA(rank=8),).")
    return found


def _other(factor: str) -> str:
    """The name of the factor that one is multiplied with; of what is no factor, its own."""
    if not factor.endswith((".up", ".down")):
        return factor
    return factor.removesuffix(".up") + ".down" if factor.endswith(".up") else factor.removesuffix(".down") + ".up"


def _put(backbone: Backbone, weights: Mapping[str, Tensor], edits: tuple[Edit, ...]) -> Backbone:
    start = backbone.start()
    device = backbone.machine.device
    given = {n: t.to(device) for n, t in weights.items()}
    with torch.no_grad():
        whole = edited(edits, {**start, **given})
    made = backbone.with_weights({n: t for n, t in whole.items() if t is not start.get(n)})
    learned = context_in(edits, {**declared_edits(edits, backbone), **given}) if edits else None
    return made if learned is None else replace(made, context=learned)


def _digest(backbone: Backbone, finetuned: Backbone, weights: Mapping[str, Tensor], edits: str) -> str:
    return finetuned.digest() if edits == "()" else digest(f"{backbone.digest()} {edits} {digest_weights(weights)}")
