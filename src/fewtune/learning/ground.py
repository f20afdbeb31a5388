"""What a method runs on: a backbone with its edits, and the row space its rows come from."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Protocol, final

import numpy as np
import torch
from torch import Tensor

from fewtune.backbones.backbone import Backbone
from fewtune.backbones.cutting.cut import find_cut
from fewtune.backbones.cutting.cut_store import CutStore
from fewtune.backbones.edits import Edit, context_in, declared_edits, edited, masks_of
from fewtune.backbones.gathered import gathered
from fewtune.data.row_space import RowSpace
from fewtune.data.views.views import IDENTITY, View
from fewtune.errors import InputError
from fewtune.keys import Key
from fewtune.learning.classes import class_vectors, prompts_of
from fewtune.learning.label_memo import LabelMemo
from fewtune.learning.memo import Memo
from fewtune.parts.heads.head import Head, Parameters, stored
from fewtune.parts.meeting import embedding
from fewtune.tasks.episodes import Episodes

RATES = "rates"  # the first part of the names of learned rates
HELD_BYTES = 2 << 30  # of activations kept below what moves


@final
@dataclass
class Meter:
    """What training looks at and how well it solves: `visits`, rows embedded for a step (a row seen in two inner steps counts twice);
    `residual`, the greatest relative residual of implicit gradients since it was last asked for."""

    visits: int = 0
    residual: float | None = None

    def note_residual(self, residual: float) -> None:
        self.residual = residual if self.residual is None else max(self.residual, residual)


class Finish(Protocol):
    """What is done to the features of rows after the backbone: [*, W] to [*, width]; rows [*] of -1 stay zero."""

    @property
    def width(self) -> int: ...
    def __call__(self, features: Tensor, rows: Tensor) -> Tensor: ...


@final
@dataclass(frozen=True, eq=False)
class Ground:
    """Every function of the engine takes one. `store` holds activations below which nothing moves, `memo` the features of an inner loop,
    `labels` class vectors that nothing moves.
    `finish`: what features go through before they are used; None: nothing."""

    backbone: Backbone
    space: RowSpace
    edits: tuple[Edit, ...] = ()
    store: CutStore | None = None
    memo: Memo | None = None
    meter: Meter = field(default_factory=Meter)
    finish: Finish | None = None
    labels: LabelMemo = field(default_factory=LabelMemo)

    @cached_property
    def _backbone_names(self) -> frozenset[str]:
        return frozenset(self.backbone.start())

    @cached_property
    def declared_by_edits(self) -> dict[str, Tensor]:
        """What edits start from, by name."""
        return declared_edits(self.edits, self.backbone)

    @cached_property
    def edit_names(self) -> frozenset[str]:
        return frozenset(self.declared_by_edits)

    @cached_property
    def masks(self) -> frozenset[str]:
        """What edits draw in each step of training; it never moves."""
        return masks_of(self.edits, self.declared_by_edits)

    @cached_property
    def names(self) -> frozenset[str]:
        """What features depend on: the backbone's weights, buffers included, and those of edits; a part declared every other name."""
        return self._backbone_names | self.edit_names | self.masks

    @cached_property
    def parameters(self) -> tuple[str, ...]:
        """The backbone's parameters from input to output, without buffers."""
        return tuple(name for _, group in self.backbone.groups for name in group)

    def start(self) -> dict[str, Tensor]:
        """The weights before anything is learned, on the device: the backbone's and those that edits declare."""
        whole = {**self.backbone.start(), **self.declared_by_edits}
        return {n: t.to(self.backbone.machine.device) for n, t in whole.items()}

    def movable(self, weights: Mapping[str, Tensor]) -> tuple[str, ...]:
        """What a plan must cover: the backbone's parameters and every declared name; whole numbers are marks that never move."""
        declared = (name for name, t in weights.items() if name not in self._backbone_names | self.masks and t.is_floating_point())
        return (*self.parameters, *declared)

    def movable_inside(self, weights: Mapping[str, Tensor]) -> tuple[str, ...]:
        """What the plan of a phase inside `Adapt` must cover: all of it but learned rates, which only outer phases move."""
        return tuple(name for name in self.movable(weights) if name in self.names or not name.startswith(f"{RATES}."))

    def held(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What the backbone computes with: its own weights as the edits leave them."""
        mine = {n: t for n, t in weights.items() if n in self.names}
        return edited(self.edits, mine) if self.edits else mine

    def embed(self, weights: Mapping[str, Tensor], rows: Tensor, view: View = IDENTITY, key: Key | None = None) -> Tensor:
        """Features of rows [E, B] by the weights at hand, seen through `view` by `key`; rows of -1 have features of zero."""
        self.meter.visits += int((rows >= 0).sum())
        unique, inverse = np.unique(rows.cpu().numpy(), return_inverse=True)
        table = self._seen(weights, torch.from_numpy(unique), view, key)
        place = torch.from_numpy(inverse.reshape(rows.shape)).to(table.device)
        features = gathered(table, place)
        if self.finish is not None:
            return embedding(self.finish(features, rows), rows)
        return embedding(features, rows, table, place)

    def _seen(self, weights: Mapping[str, Tensor], rows: Tensor, view: View, key: Key | None) -> Tensor:
        """Features [U, W] of rows [U], each there once."""
        if view != IDENTITY:
            return self.backbone.embed(self.held(weights), self.space, rows, view, key)
        if self.memo is None:
            return self._embedded(weights, rows)
        mine = {n: t for n, t in weights.items() if n in self.names}
        known = self.memo.find(mine, rows)
        if known is None:
            known = self._embedded(weights, rows)
            self.memo.keep(mine, rows, known)
        return known

    def _embedded(self, weights: Mapping[str, Tensor], rows: Tensor) -> Tensor:
        if self.store is None:
            return self.backbone.embed(self.held(weights), self.space, rows)
        real = rows.numpy()[rows.numpy() >= 0]
        features: Tensor = self.store.features(self.held(weights), self.space, real)
        return features if len(real) == len(rows) else torch.cat([features.new_zeros(1, features.shape[1]), features])

    def row_bytes(self, weights: Mapping[str, Tensor], rows: np.ndarray[Any, np.dtype[np.int64]]) -> int:
        """Bytes of activations that one of these rows keeps for the gradient by the weights at hand (see `Backbone.row_bytes`)."""
        if self.backbone.preparation.modality == "vector":
            return 0
        with torch.enable_grad():
            held = self.held(weights)
        return (self.backbone if self.store is None else self.store).row_bytes(held, self.space, rows)

    def metered(self) -> Ground:
        """The same ground with a new meter."""
        return replace(self, meter=Meter())

    def holding(self, weights: Mapping[str, Tensor], moving: Collection[str], most_bytes: int = HELD_BYTES) -> Ground:
        """The same ground for a while in which only `moving` names move: what lies below them is computed once a row and kept.

        At most `most_bytes` are kept; beyond them, and where the network cannot be cut, rows run through all of it, with the same result.
        A ground that holds for the same weights already is given back as it is, with what it has computed.
        """
        if self.backbone.structure == "precomputed" or not len(self.space):
            return self
        touched = {n for n in moving if n in self._backbone_names}
        for name in self.edit_names:  # "lora.WEIGHT.up"
            touched |= {n for n in self.parameters if f".{n}." in f".{name}"}
        if self.parameters and touched.issuperset(self.parameters[:1]):
            return replace(self, store=None)
        if self.store is not None and self.store.serves(self.held(weights), touched):
            return self
        cut = find_cut(self.backbone, self.held(weights), self._two_rows(), touched)
        return replace(self, store=None if cut is None else CutStore(cut, most_bytes))

    def _two_rows(self) -> object:
        """Inputs to try a cut on: labelled rows, because rows that cannot be read have no label."""
        labelled = np.flatnonzero(np.concatenate([source.column.known for source in self.space.sources]))
        rows = labelled if len(labelled) else np.arange(len(self.space))
        return self.space.gather([int(rows[0]), int(rows[len(rows) // 2])], self.backbone.preparation)

    def class_vectors(self, head: Head, weights: Mapping[str, Tensor], episodes: Episodes) -> Tensor | None:
        """The class vectors [E, K, D] that a head reads, by the weights at hand; None where it reads none."""
        if not head.reads_classes:
            return None
        ids = sorted({c for c in episodes.classes.flatten().tolist() if c >= 0})
        names = [self.space.class_names[c] for c in ids]
        vectors = self.vectors_of(head, weights, names)
        place = {c: i for i, c in enumerate(ids)}
        index = torch.tensor([[place.get(c, 0) for c in row] for row in episodes.classes.tolist()], device=vectors.device)
        return vectors[index]

    def vectors_of(self, head: Head, weights: Mapping[str, Tensor], class_names: Sequence[str]) -> Tensor:
        """The class vectors [C, D] of some names in the head's templates, by the weights at hand."""
        held, prompts, learned = self.held(weights), prompts_of(head), context_in(self.edits, weights)
        known = held if learned is None else {**held, "context": learned.vectors}
        return self.labels.of(class_names, prompts, known, lambda: class_vectors(self.backbone, held, class_names, prompts, learned))

    def declared(self, head: Head) -> dict[str, Tensor]:
        """The parameters a head starts from, by the names under which weights hold them, on the machine's device."""
        return {stored(head, n): t.to(self.backbone.machine.device) for n, t in head.declare(self.width, self.space.class_names).items()}

    def read(self, head: Head, weights: Mapping[str, Tensor]) -> Parameters:
        """The parameters of a head by its own names: what weights hold of it, else its start.

        Raises InputError where weights hold the rows of a class table for other classes than the row space's.
        """
        given = self.declared(head)
        for name, mark in given.items():
            if not mark.is_floating_point() and name in weights and not torch.equal(weights[name].to(mark), mark):
                raise InputError(
                    f"head {head.name!r} was trained for the classes of another data set, and its rows mean nothing here: answer by a head "
                    "that learns from the support, such as Centroid()."
                )
        begins = stored(head, f"{head.name}.")
        mine = {n: t for n, t in weights.items() if n.startswith(begins) and n not in self.names}
        return {f"{head.name}.{n.removeprefix(begins)}": t for n, t in {**given, **mine}.items()}

    @cached_property
    def width(self) -> int:
        """The width of the features."""
        return self.finish.width if self.finish is not None else self.backbone.width or int(np.asarray(self.space.fetch(0)).shape[-1])
