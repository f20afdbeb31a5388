"""How weights are judged: the rows, and the probabilities that a network with its head gives them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from fewtune.backbones.backbone import Backbone
from fewtune.data.examples import Examples, Integers
from fewtune.data.row_space import RowSpace
from fewtune.data.same_names import match_names
from fewtune.errors import InputError
from fewtune.keys import key
from fewtune.models.bundle import Bundle
from fewtune.parts.heads import Logistic
from fewtune.parts.heads.head import Head, State
from fewtune.recipes.language import read_method
from fewtune.studies.transferred.solutions import HEAD, Solution
from fewtune.tasks.episodes import Episodes
from fewtune.words import counted

Weights = Mapping[str, Tensor]
Floats = np.ndarray[Any, np.dtype[np.float64]]

REMEMBERED = 1 << 30  # bytes of prepared photos, which are looked at many times
LEAST = 8  # rows to judge by


@final
@dataclass(frozen=True, eq=False)
class Asked:
    """The rows that judge, and those that a probe is fitted to. `labels` [N] by row; `train` is empty where a saved head answers."""

    backbone: Backbone
    examples: Examples
    labels: Integers
    test: Integers
    train: Integers
    bundle: Bundle | None

    @cached_property
    def space(self) -> RowSpace:
        return RowSpace([self.examples], remember=REMEMBERED)

    @property
    def truth(self) -> Integers:
        """The classes [M] of the test rows."""
        return self.labels[self.test]

    def inputs(self, rows: Integers, size: int = 32) -> list[Any]:
        """Prepared inputs in batches."""
        return [self.space.gather(rows[i : i + size].tolist(), self.backbone.preparation) for i in range(0, len(rows), size)]

    def features(self, weights: Weights, rows: Integers) -> Tensor:
        """Features [n, D] of rows."""
        own = {n: t for n, t in weights.items() if not n.startswith(HEAD)}
        with torch.no_grad():
            return self.backbone.embed(own, self.space, rows)

    def probabilities(self, weights: Weights) -> Floats:
        """Of the test rows [M, K], by the saved head among the weights or by a new one that is fitted to the training rows."""
        return self._answers(weights, self.features(weights, self.test)[None])

    def answered(self, weights: Weights, space: RowSpace) -> Floats:
        """The same of all rows of another space [n, K]."""
        own = {n: t for n, t in weights.items() if not n.startswith(HEAD)}
        with torch.no_grad():
            return self._answers(weights, self.backbone.embed(own, space, np.arange(len(space)))[None])

    def _answers(self, weights: Weights, query: Tensor) -> Floats:
        state = {n.removeprefix(HEAD): t for n, t in weights.items() if n.startswith(HEAD)}
        with torch.no_grad():
            if self.bundle is not None:
                head: Head = read_method(self.bundle.method).head
                parameters = {k: v.to(query) for k, v in self.bundle.parameters.items()}
                logits = head.score({n: t.to(query) for n, t in state.items()}, query, parameters)[0].double() / self.bundle.temperature
            else:
                probe = Logistic()
                logits = probe.score(self._probe(probe, weights), query, {})[0].double()
        found: Floats = torch.softmax(logits, dim=-1).cpu().numpy()
        return found

    def _probe(self, probe: Logistic, weights: Weights) -> State:
        known = torch.from_numpy(self.labels[self.train])
        none = torch.zeros(1, 0, dtype=torch.int64)
        classes = torch.arange(int(self.labels.max()) + 1)[None]
        episode = Episodes(torch.from_numpy(self.train)[None], known[None], none, none, classes, torch.zeros(1, dtype=torch.int64))
        support = self.features(weights, self.train)[None]
        return probe.fit(support, episode.to(support.device), None, {})


def rows_to_ask(solutions: Sequence[Solution], examples: Examples, most: int, seed: int) -> Asked:
    """At most `most` labelled rows of the data, as many of each class as there are, drawn by the seed.

    Rows that a saved model was learned from are left out, and classes that it does not have. Without a saved head half of the rows of each
    class are for the probe. Raises InputError for another modality and where fewer than 8 rows are left.
    """
    first = solutions[0]
    if examples.modality != first.backbone.preparation.modality:
        raise InputError(f"{first.name} reads {first.backbone.preparation.modality}s, but {examples.name} holds {examples.modality}s.")
    bundles = [one.bundle for one in solutions if one.bundle is not None]
    labels = examples.labels
    if bundles:
        labels = np.array([*match_names(examples.class_names, bundles[0].class_names), -1], dtype=np.int64)[labels]
    learned = {digest for bundle in bundles if bundle.support is not None for digest in bundle.support.digests}
    fresh = np.array([digest not in learned for digest in examples.row_digests], dtype=bool)
    order = np.argsort(key(seed, "transfer rows").uniform(np.arange(len(examples), dtype=np.uint64)), kind="stable")
    usable = order[(labels[order] >= 0) & fresh[order]]
    place = np.zeros(len(usable), dtype=np.int64)  # of a row among those of its class
    for label in np.unique(labels[usable]):
        mine = labels[usable] == label
        place[mine] = np.arange(mine.sum())
    kept = np.sort(usable[np.argsort(place, kind="stable")][:most])
    held = {int(row): int(p) for row, p in zip(usable, place, strict=True)}
    train = np.array([row for row in kept if not bundles and held[int(row)] % 2 == 0], dtype=np.int64)
    test = np.setdiff1d(kept, train)
    if len(test) < LEAST:
        raise InputError(
            f"{examples.name} leaves {counted(len(test), 'row')} to judge by (labelled, of the model's classes, not learned from): "
            f"expected {LEAST} or more."
        )
    return Asked(first.backbone, examples, labels, test, train, bundles[0] if bundles else None)
