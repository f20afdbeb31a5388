"""The output of the lower part of a network, computed once for each row and kept: features then need only the upper part."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from fewtune.backbones.activations import RowBytes, computed_again, rows_again
from fewtune.backbones.backbone import Weights
from fewtune.backbones.cutting.cut import Cut
from fewtune.backbones.prefetch import prefetched
from fewtune.data.examples import Integers
from fewtune.data.row_space import RowSpace

UPPER_ROWS = 64  # images in one pass of the upper part on the CPU: its activations are small, so larger passes are faster


@final
class CutStore:
    """The activations at a cut for rows of one row space, computed when they are first used, in at most `most_bytes`.

    Rows that do not fit run through the whole network, with the same result. As long as it is used, only the weights in the cut's `moving`
    may change.
    """

    def __init__(self, cut: Cut, most_bytes: int) -> None:
        self.cut = cut
        self._held = _Held(cut, most_bytes)
        self._space: RowSpace | None = None
        self._frozen: dict[str, tuple[Tensor, int]] = {}
        self._row_bytes = RowBytes(self._upper)

    def __len__(self) -> int:
        """The number of rows that are kept."""
        return len(self._held.places)

    def features(self, weights: Weights, space: RowSpace, rows: Integers) -> Float[Tensor, "B D"]:
        """Features of rows >= 0 in their order, float32, as `Backbone.embed` gives them: gradients flow to the weights that require them.

        Raises InputError for a row that cannot be decoded.
        """
        self._check(weights, space)
        self._fill(weights, space, rows)
        here = np.array([row in self._held.places for row in rows.tolist()], dtype=bool)
        again = rows_again(self.cut.backbone.machine, int(here.sum()), lambda: self.row_bytes(weights, space, rows))
        places, parts = [], []
        for chosen in self._passes(rows, np.flatnonzero(here), again):
            places.append(chosen)
            parts.append(self._upper(weights, rows[chosen], again=bool(again)))
        if not here.all():
            places.append(np.flatnonzero(~here))
            parts.append(self.cut.backbone.embed(weights, space, rows[~here]))
        if not parts:
            return torch.zeros(0, self.cut.backbone.width, device=self.cut.backbone.machine.device)
        features = torch.cat(parts)
        return features[torch.from_numpy(np.argsort(np.concatenate(places))).to(features.device)]

    def serves(self, weights: Weights, moving: Collection[str]) -> bool:
        """Whether it can be used while only `moving` changes: it was made for these names, and the others are what they were."""
        if self.cut.moving != frozenset(moving):
            return False
        return all(_unchanged(tensor, version, weights[n]) for n, (tensor, version) in self._frozen.items())

    def row_bytes(self, weights: Weights, space: RowSpace, rows: Integers) -> int:
        """Bytes of activations that the upper part keeps for the gradient of one row (see `Backbone.row_bytes`)."""
        held = [row for row in rows.tolist() if row in self._held.places]
        if not held:
            return self.cut.backbone.row_bytes(weights, space, rows)
        tokens = {row: self._held.places[row][1] for row in held}
        longest = max(held, key=lambda row: tokens[row])
        return self._row_bytes.of(weights, longest, list, size=tokens[longest])

    def _check(self, weights: Weights, space: RowSpace) -> None:
        """Check that the row space is the same, and that frozen weights are the same tensors and have not changed."""
        if self._space is None:
            self._space = space
            self._frozen = {n: (t, t._version) for n, t in weights.items() if n not in self.cut.moving}
        assert space is self._space, "the rows of another row space have a store of their own"
        for name, (tensor, version) in self._frozen.items():
            assert _unchanged(tensor, version, weights[name]), f"{name} is frozen by the plan of this cut, but it has changed"

    def _fill(self, weights: Weights, space: RowSpace, rows: Integers) -> None:
        """Compute and keep the activations of new rows, as long as there is memory."""
        new = np.unique([row for row in rows.tolist() if row not in self._held.places]).astype(np.int64)
        for chunk, inputs in self._batches(space, new[: self._held.room]):
            if not self._held.add(chunk, self.cut.lower(weights, inputs)):
                return

    def _batches(self, space: RowSpace, rows: Integers) -> Iterator[tuple[Integers, Any]]:
        """Prepared rows, in chunks for the lower part: texts together with others of similar length, images decoded ahead."""
        backbone = self.cut.backbone
        machine, preparation = backbone.machine, backbone.preparation
        if preparation.modality == "text":
            by_length = rows[np.argsort([len(str(space.fetch(int(row)))) for row in rows], kind="stable")] if len(rows) else rows
            for chunk in _chunks(by_length, machine.chunk):
                yield chunk, self._texts(space, chunk)
            return
        few = backbone.cpu_rows if machine.device == "cpu" else machine.chunk
        for chunk, prepared, _ in prefetched(space, preparation, _chunks(rows, machine.chunk), machine.workers, tolerant=False):
            for i in range(0, len(chunk), few):
                yield chunk[i : i + few], preparation.batch(prepared[i : i + few])

    def _texts(self, space: RowSpace, rows: Integers) -> Any:
        return self.cut.backbone.preparation.batch([str(space.fetch(int(row))) for row in rows])

    def _passes(self, rows: Integers, places: Integers, again: int) -> list[Integers]:
        """Positions in `rows`, in chunks for the upper part (of at most `again`): texts together with others of similar length."""
        machine = self.cut.backbone.machine
        size = UPPER_ROWS if machine.device == "cpu" and not self.cut.by_token else machine.chunk
        if self.cut.by_token:
            places = (
                places[np.argsort([self._held.places[row][1] for row in rows[places].tolist()], kind="stable")] if len(places) else places
            )
        return _chunks(places, min(size, again or size))

    def _upper(self, weights: Weights, rows: Integers | list[int], *, again: bool = False) -> Tensor:
        assert self._space is not None
        needs = self.cut.backbone.preparation.modality == "text" and self.cut.place != ""
        inputs = self._texts(self._space, np.asarray(rows)) if needs else None
        run = computed_again(self.cut.upper) if again else self.cut.upper
        return run(weights, self._held.take(np.asarray(rows), self.cut.tokens_of(inputs)), inputs)


@final
class _Held:
    """One growing tensor of entries: one for each row, or one for each of its tokens."""

    def __init__(self, cut: Cut, most_bytes: int) -> None:
        self._by_token, self._device, self._bytes = cut.by_token, cut.backbone.machine.device, cut.entry_bytes
        self.places: dict[int, tuple[int, int]] = {}  # row -> (first entry, number of entries)
        self._used, self._most = 0, max(0, most_bytes) // cut.entry_bytes
        self._entries: Tensor | None = None
        self._channels_last = False

    @property
    def room(self) -> int:
        """The number of rows that may still fit."""
        return self._most - self._used

    def add(self, rows: Integers, activation: Tensor) -> bool:
        """Keep these rows. If they do not fit, returns False, and no more rows are kept."""
        tokens = activation.shape[1] if self._by_token else 1
        entries = activation.flatten(0, 1) if self._by_token else activation
        if len(entries) > self.room:
            self._most = self._used
            return False
        if self._entries is None:  # kept in the memory layout of the activation, so that reading rows needs only one copy
            self._channels_last = entries.ndim == 4 and entries.is_contiguous(memory_format=torch.channels_last)
        entries = entries.permute(0, 2, 3, 1) if self._channels_last else entries
        end = self._used + len(entries)
        held = self._grown(entries, end)
        held[self._used : end] = entries
        self.places |= {row: (self._used + i * tokens, tokens) for i, row in enumerate(rows.tolist())}
        self._used = end
        return True

    def _grown(self, entries: Tensor, wanted: int) -> Tensor:
        """Memory for this number of entries, doubled when it is full: on the device if half of its memory stays free, else on the CPU."""
        if self._entries is not None and wanted <= len(self._entries):
            return self._entries
        count = max(wanted, min(2 * wanted, self._most))
        device = torch.device(self._device)
        if device.type == "cuda" and 2 * count * self._bytes > torch.cuda.mem_get_info(device)[0]:
            device = torch.device("cpu")
        grown = torch.empty(count, *entries.shape[1:], dtype=entries.dtype, device=device)
        if self._entries is not None:
            grown[: self._used] = self._entries[: self._used]
        self._entries = grown
        return grown

    def take(self, rows: Integers, tokens: int) -> Tensor:
        """The activations of rows that are kept. Shorter texts are filled with zeros, which their masks hide."""
        assert self._entries is not None
        first, count = torch.tensor([self.places[row] for row in rows.tolist()], device=self._entries.device).unbind(1)
        if not self._by_token:
            taken = self._entries.index_select(0, first).to(self._device)
            return taken.permute(0, 3, 1, 2) if self._channels_last else taken
        place = torch.arange(tokens, device=first.device)
        beyond = place >= count[:, None]
        taken = self._entries[(first[:, None] + place).masked_fill(beyond, 0)]
        taken[beyond] = 0
        return taken.to(self._device)


def _chunks(rows: Integers, size: int) -> list[Integers]:
    return [rows[i : i + size] for i in range(0, len(rows), size)]


def _unchanged(tensor: Tensor, version: int, now: Tensor) -> bool:
    """Whether `now` is the tensor of that version."""
    same = now is tensor or (now.data_ptr() == tensor.data_ptr() and now.shape == tensor.shape)
    return bool(same and now._version == version)
