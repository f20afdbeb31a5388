"""From rows to features, chunk by chunk: rows are prepared ahead in threads, changed by a view, and passed through the network."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from fewtune.backbones.activations import Weights, rows_again
from fewtune.backbones.context import Learned, reading
from fewtune.backbones.gathered import gathered
from fewtune.backbones.masking import masked
from fewtune.backbones.passes import Passes
from fewtune.backbones.prefetch import prefetched
from fewtune.backbones.preparation import ImagePreparation, Prepared, VectorPreparation
from fewtune.backbones.text_preparation import TextPreparation
from fewtune.data.examples import Integers
from fewtune.data.row_space import RowSpace
from fewtune.data.views.augment import augment
from fewtune.data.views.blocks import shuffled
from fewtune.data.views.views import BlockShuffle, Identity, MaskWords, View
from fewtune.errors import InputError
from fewtune.keys import Key

Texts: TypeAlias = Callable[[Sequence[str]], Any]
Reasons: TypeAlias = dict[int, str]  # why rows cannot be read, by their number

CPU_ROWS = 8  # images in one forward pass on the CPU: MobileNetV2 ran twice as fast as with 64, whose activations do not fit into a cache
CPU_ROWS_SMALL = 32  # for images up to 128 pixels a side, which have fewer activations: 1.4 times faster at 64 and 96 pixels. The query
# of an episode at 28 pixels is then one pass instead of four; unrolled MAML, which differentiates each pass again, ran 1.4 times faster
_WINDOW = 8  # chunks of texts that are sorted by length together


@final
@dataclass(frozen=True, eq=False)
class RowPasses:
    """Passes of rows of a row space through one network. The fields are those of the `Backbone` called `name`."""

    name: str
    preparation: Prepared
    width: int
    noisy: bool
    passes: Passes

    def embed(self, weights: Weights, space: RowSpace, rows: Integers | Tensor, view: View, key: Key | None) -> Float[Tensor, "*B D"]:
        """See `Backbone.embed`."""
        index = np.asarray(rows, dtype=np.int64)
        unique, inverse = np.unique(index.reshape(-1), return_inverse=True)
        real = unique[unique >= 0]
        parts = [features for _, features in self.chunks(weights, space, real, view, key, None)]
        features = torch.cat(parts) if parts else torch.zeros(0, self.width, device=self.passes.machine.device)
        width = features.shape[1]
        if len(real) < len(unique):
            features = torch.cat([features.new_zeros(1, width), features])
        if np.array_equal(index, unique):
            return features
        return gathered(features, torch.from_numpy(inverse.reshape(index.shape)).to(features.device))

    def chunks(
        self,
        weights: Weights,
        space: RowSpace,
        rows: Integers,
        view: View,
        key: Key | None,
        bad: Reasons | None,
    ) -> Iterator[tuple[Integers, Float[Tensor, "b D"]]]:
        """See `Backbone.embed_chunks`."""
        if space.modality != self.preparation.modality:
            raise InputError(f"{self.name} takes {self.preparation.modality}s, but {space.sources[0].name} holds {space.modality}s.")
        self._check_view(view, key)
        again = rows_again(self.passes.machine, len(rows), lambda: self.row_bytes(weights, space, rows))
        if self.preparation.modality == "text":
            yield from self._text_chunks(weights, space, rows, again, view, key)
            return
        chunks = self.split(rows)
        if isinstance(self.preparation, VectorPreparation) and space.vectors(rows[:0]) is not None:  # all of a chunk at once
            for chunk in chunks:
                inputs = torch.from_numpy(space.vectors(chunk)).to(self.passes.machine.device)
                yield chunk, self.passes.forward(weights, inputs, again=bool(again))
            return
        for chunk, prepared, failed in prefetched(space, self.preparation, chunks, self.passes.machine.workers, tolerant=bad is not None):
            good = [i for i in range(len(chunk)) if i not in failed]
            features = self._features(weights, prepared, chunk[good], view, key, again) if prepared else None
            if failed and bad is not None:
                bad.update({int(chunk[i]): reason for i, reason in failed.items()})
                whole = torch.full((len(chunk), self.width), torch.nan, device=self.passes.machine.device)
                if features is not None:
                    whole[good] = features
                features = whole
            assert features is not None
            yield chunk, features

    def _check_view(self, view: View, key: Key | None) -> None:
        if isinstance(view, Identity):
            return
        fits = isinstance(self.preparation, TextPreparation if isinstance(view, MaskWords) else ImagePreparation)
        if not fits:
            raise InputError(f"{self.name} takes {self.preparation.modality}s: expected the identity view, found {view}.")
        if key is None and not isinstance(view, BlockShuffle):
            raise InputError(f"expected a key for the random draws of {view}, found none.")

    def _features(self, weights: Weights, prepared: Sequence[Any], rows: Integers, view: View, key: Key | None, again: int) -> Tensor:
        """The features of prepared items, on the CPU a few at a time. If `again`: at most so many, recomputed for the gradient."""
        few = self.cpu_rows if self.passes.machine.device == "cpu" else self.passes.machine.chunk
        few = min(few, again or few)
        pieces = [slice(i, i + few) for i in range(0, len(prepared), few)]
        parts = []
        for at in pieces:
            inputs, noise = self._seen(prepared[at], rows[at], view, key), self._noise(rows[at], view, key)
            parts.append(self.passes.forward(weights, inputs, again=bool(again), **noise))
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _noise(self, rows: Integers, view: View, key: Key | None) -> dict[str, Tensor]:
        """The noise of a network that takes noise, only in augmented views: one number for each row."""
        if not self.noisy or isinstance(view, Identity | BlockShuffle) or key is None:
            return {}
        bits = key.child("noise").bits(rows.astype(np.uint64)).view(np.int64)
        return {"noise": torch.from_numpy(bits).to(self.passes.machine.device)}

    @property
    def cpu_rows(self) -> int:
        """How many rows go through the network at once on the CPU."""
        if not isinstance(self.preparation, ImagePreparation):  # vectors have almost no activations
            return self.passes.machine.chunk
        return CPU_ROWS_SMALL if self.preparation.height <= 128 else CPU_ROWS

    def _seen(self, prepared: Sequence[Any], rows: Integers, view: View, key: Key | None) -> Any:
        """The network's inputs: prepared items in their views. Views are computed on the device."""
        if isinstance(view, Identity):
            return self.preparation.batch(prepared)
        assert isinstance(self.preparation, ImagePreparation)
        pixels = self.preparation.stack(prepared, self.passes.machine.device)
        if isinstance(view, BlockShuffle):
            return self.preparation.normalise(shuffled(view, pixels))
        assert key is not None
        return self.preparation.normalise(augment(view, pixels, rows, key))

    def split(self, rows: Integers, most: int = 0) -> list[Integers]:
        """Rows in chunks of the machine's size, or of `most` rows if that is less."""
        size = min(self.passes.machine.chunk, most or self.passes.machine.chunk)
        return [rows[i : i + size] for i in range(0, len(rows), size)]

    def _text_chunks(
        self, weights: Weights, space: RowSpace, rows: Integers, again: int, view: View, key: Key | None
    ) -> Iterator[tuple[Integers, Tensor]]:
        """Like `chunks`, but with texts of similar length in one forward pass, so that there is little padding."""
        window = _WINDOW * self.passes.machine.chunk
        for i in range(0, len(rows), window):
            near = rows[i : i + window]
            texts = [str(space.fetch(int(row))) for row in near]
            order = np.argsort([len(t) for t in texts], kind="stable")
            chunks = self.split(order, again)
            batches = [self._read([texts[j] for j in chunk], near[chunk], view, key) for chunk in chunks]
            parts = [self.passes.forward(weights, batch, again=bool(again)) for batch in batches]
            features = torch.cat(parts)[torch.from_numpy(np.argsort(order))]
            for chunk in self.split(np.arange(len(near))):
                yield near[chunk], features[torch.from_numpy(chunk)]

    def _read(self, texts: Sequence[str], rows: Integers, view: View, key: Key | None) -> Any:
        """The network's inputs of texts in their view."""
        tokens = self.preparation.batch(texts)
        if not isinstance(view, MaskWords):
            return tokens
        assert isinstance(self.preparation, TextPreparation) and key is not None
        return masked(view, tokens, rows, key, self.preparation.tokenizer)

    def row_bytes(self, weights: Weights, space: RowSpace, rows: Integers) -> int:
        """Bytes of activations that a row keeps for the gradient of the weights that require one; for texts, of the longest of `rows`.

        0 if nothing requires a gradient, and for vectors.
        """
        moving = any(tensor.requires_grad for tensor in weights.values())
        if not moving or not len(rows) or self.preparation.modality == "vector":
            return 0
        if self.preparation.modality == "text":
            longest = max((str(space.fetch(int(row))) for row in rows), key=len)
            return self.passes.row_bytes.of(weights, longest, self.preparation.batch, size=len(longest))
        return self.passes.row_bytes.of(weights, space.prepared(int(rows[0]), self.preparation), self.preparation.batch)

    def labels(self, weights: Weights, texts: Sequence[str], read: Texts, learned: Learned | None = None) -> Float[Tensor, "n D"]:
        """Class vectors of texts, which `read` tokenises. Texts of similar length are passed through the network together.

        `learned`: vectors that stand for the first words of the texts.
        """
        if not texts:
            return torch.zeros(0, self.width, device=self.passes.machine.device)
        order = np.argsort([len(t) for t in texts], kind="stable")
        longest, each = max(texts, key=len), self.passes.row_bytes
        again = rows_again(self.passes.machine, len(texts), lambda: each.of(weights, longest, read, size=len(longest), side="label"))
        batches = [read([texts[j] for j in chunk]) for chunk in self.split(order, again)]
        parts = []
        for batch in batches:
            if learned is None:
                parts.append(self.passes.forward(weights, batch, again=bool(again), side="label"))
                continue
            with reading(self.passes.network, batch, learned, read):
                parts.append(self.passes.forward(weights, batch, side="label", also=learned.vectors))
        return torch.cat(parts)[torch.from_numpy(np.argsort(order))]
