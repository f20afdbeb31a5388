"""Backbone: a foundation model as a pure function of named weights, `embed(weights, space, rows, view) -> features`.

Everything about one model that the rest of the house may know: how inputs are prepared (once, deterministic at evaluation), its
named weights in ordered groups from input to output, the width of its features, and, where it has one, its label side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol, TypeAlias, final, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from fewtune.backbones.activations import RowBytes, computed_again, rows_again
from fewtune.backbones.attention import plain_attention
from fewtune.backbones.groups import Groups
from fewtune.backbones.moved import moved_network
from fewtune.backbones.places import NOWHERE, Place
from fewtune.backbones.prefetch import prefetched
from fewtune.backbones.preparation import ImagePreparation
from fewtune.backbones.weights import digest_weights
from fewtune.data.examples import Integers
from fewtune.data.images import DECODING
from fewtune.data.row_space import Preparation, RowSpace
from fewtune.data.views.augment import augment
from fewtune.data.views.views import IDENTITY, Identity, View
from fewtune.errors import InputError
from fewtune.keys import Key
from fewtune.machine import Machine
from fewtune.spec import digest
from fewtune.version import __version__

Weights: TypeAlias = Mapping[str, Tensor]
Texts: TypeAlias = Callable[[Sequence[str]], Any]

CPU_ROWS = 8  # images in one forward pass on the CPU: MobileNetV2 ran twice as fast as with 64, whose activations leave every cache
CPU_ROWS_SMALL = 32  # of images up to 128 pixels a side, whose activations are fewer: 1.4 times faster at 64 and 96 pixels, and one
# pass instead of four for the query of an episode at 28: unrolled MAML, where a pass more is crossed again and again, ran 1.4 times faster
_WINDOW = 8  # chunks of texts that are sorted by length together
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@runtime_checkable
class Prepared(Preparation, Protocol):
    """A preparation whose settings are recorded: `text` is hashed into every feature table's key."""

    @property
    def text(self) -> str: ...


@final
@dataclass(frozen=True, eq=False)
class Backbone:
    """One model.

    `name`: the text that made it, as given to --backbone; of a local folder it has the last part, and `place` has its path. `network`: maps
    a batch of inputs to features [B, D] (and, called with `side="label"`, a batch of texts to class vectors); it is in eval mode and its
    own parameters are the start. `groups`: (group name, weight names) from input to output; together every parameter once; buffers
    (BatchNorm statistics) are weights too, but in no group.
    `texts`: tokenises for the label side, or None where there is none. `source`: where the weights came from, for the record.
    `structure`: the architecture with every option that changes what the weights compute. `machine` is resolved: no "auto". `noisy`: the
    network takes `noise` [B], one int64 a row, which augmented views give it (DropBlock).
    """

    name: str
    network: nn.Module
    preparation: Prepared
    width: int
    groups: Groups
    machine: Machine
    source: Mapping[str, str]
    structure: str
    texts: Texts | None = None
    logit_scale: float = 1.0
    noisy: bool = False
    place: Place = NOWHERE

    @property
    def label_side(self) -> bool:
        """Whether class names can be embedded."""
        return self.texts is not None

    def start(self) -> dict[str, Tensor]:
        """The weights it comes with: parameters and persistent buffers by name. Not copies: clone before changing them.

        A tensor that the network knows by several names (tied weights) goes by the first, so that it moves once.
        """
        first: dict[int, str] = {}
        named = self.network.state_dict(keep_vars=True)
        return {name: tensor.detach() for name, tensor in named.items() if first.setdefault(id(tensor), name) == name}

    def with_weights(self, weights: Weights) -> Backbone:
        """The same model starting at other weights: those of the names given, its own for the rest. This one is left as it is.

        Names and shapes are those of `start`; what edits change is folded in before (`edited`). Its digest and feature tables are its own.
        Raises InputError for a name or a shape that it does not have.
        """
        return replace(self, network=moved_network(self.network, self.name, self.start(), weights))

    @cached_property
    def _digest(self) -> str:
        return digest(f"{self.structure} {digest_weights(self.start())} {self.preparation.text} {self.width}")

    def digest(self) -> str:
        """32 hexadecimal digits for the weights with buffers, the preprocessing and how features are read."""
        return self._digest

    def key(self) -> str:
        """What its features are filed under: the digest, the precision of the passes (features are stored in float32), how images
        are decoded, and the version.

        Another version of fewtune may read or prepare rows otherwise, so it computes its own tables.
        """
        decoding = f" decoding {DECODING}" if self.preparation.modality == "image" else ""
        return digest(f"{self.digest()} {self.machine.dtype} float32{decoding} fewtune {__version__}")

    def embed(
        self, weights: Weights, space: RowSpace, rows: Integers | Tensor, view: View = IDENTITY, key: Key | None = None
    ) -> Float[Tensor, "*B D"]:
        """Features of rows of any shape, float32, on the machine's device; rows of -1 give zeros.

        A row that occurs several times is embedded once, so it is seen in one view; `key`, that of (seed, step, role, copy), is what the
        views are drawn from. Gradients flow to the weights that require them. Raises InputError for another modality, for a row that
        cannot be decoded, and for an augmented view of anything but images.
        """
        index = np.asarray(rows, dtype=np.int64)
        unique, inverse = np.unique(index.reshape(-1), return_inverse=True)
        real = unique[unique >= 0]
        parts = [features for _, features in self.embed_chunks(weights, space, real, view, key)]
        features = torch.cat(parts) if parts else torch.zeros(0, self.width, device=self.machine.device)
        width = features.shape[1]
        if len(real) < len(unique):
            features = torch.cat([features.new_zeros(1, width), features])
        return features[torch.from_numpy(inverse.reshape(-1)).to(features.device)].view(*index.shape, width)

    def embed_chunks(
        self,
        weights: Weights,
        space: RowSpace,
        rows: Integers,
        view: View = IDENTITY,
        key: Key | None = None,
        *,
        bad: dict[int, str] | None = None,
    ) -> Iterator[tuple[Integers, Float[Tensor, "b D"]]]:
        """Features chunk by chunk, in order: (rows, features); the next rows are decoded in threads meanwhile.

        With `bad`, rows that cannot be decoded go there with the reason and have features of NaN; without, they raise.
        """
        if space.modality != self.preparation.modality:
            raise InputError(f"{self.name} takes {self.preparation.modality}s, but {space.sources[0].name} holds {space.modality}s.")
        self._check_view(view, key)
        again = rows_again(self.machine, len(rows), lambda: self.row_bytes(weights, space, rows))
        if self.preparation.modality == "text":
            yield from self._text_chunks(weights, space, rows, again)
            return
        chunks = self._chunks(rows)
        for chunk, prepared, failed in prefetched(space, self.preparation, chunks, self.machine.workers, tolerant=bad is not None):
            good = [i for i in range(len(chunk)) if i not in failed]
            features = self._passes(weights, prepared, chunk[good], view, key, again) if prepared else None
            if failed and bad is not None:
                bad.update({int(chunk[i]): reason for i, reason in failed.items()})
                whole = torch.full((len(chunk), self.width), torch.nan, device=self.machine.device)
                if features is not None:
                    whole[good] = features
                features = whole
            assert features is not None
            yield chunk, features

    def _check_view(self, view: View, key: Key | None) -> None:
        if isinstance(view, Identity):
            return
        if not isinstance(self.preparation, ImagePreparation):
            raise InputError(f"{self.name} takes {self.preparation.modality}s: expected the identity view, found {view}.")
        if key is None:
            raise InputError(f"expected a key to draw the views of {view} from, found none.")

    def _passes(self, weights: Weights, prepared: Sequence[Any], rows: Integers, view: View, key: Key | None, again: int) -> Tensor:
        """The features of prepared items, on the CPU a few at a time; with `again` as many at most, computed again for the gradient."""
        few = self.cpu_rows if self.machine.device == "cpu" else self.machine.chunk
        few = min(few, again or few)
        pieces = [slice(i, i + few) for i in range(0, len(prepared), few)]
        parts = [
            self.forward(weights, self._seen(prepared[at], rows[at], view, key), again=bool(again), **self._noise(rows[at], view, key))
            for at in pieces
        ]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _noise(self, rows: Integers, view: View, key: Key | None) -> dict[str, Tensor]:
        """The noise of a network that takes some, in augmented views alone: one number a row."""
        if not self.noisy or isinstance(view, Identity) or key is None:
            return {}
        bits = key.child("noise").bits(rows.astype(np.uint64)).view(np.int64)
        return {"noise": torch.from_numpy(bits).to(self.machine.device)}

    @property
    def cpu_rows(self) -> int:
        """How many rows go through the network at once on the CPU."""
        if not isinstance(self.preparation, ImagePreparation):  # vectors leave no activations to speak of
            return self.machine.chunk
        return CPU_ROWS_SMALL if self.preparation.height <= 128 else CPU_ROWS

    def _seen(self, prepared: Sequence[Any], rows: Integers, view: View, key: Key | None) -> Any:
        """The network's inputs: prepared items in their views, which are made on the device."""
        if isinstance(view, Identity):
            return self.preparation.batch(prepared)
        assert isinstance(self.preparation, ImagePreparation) and key is not None
        pixels = self.preparation.stack(prepared, self.machine.device)
        return self.preparation.normalise(augment(view, pixels, rows, key))

    def _chunks(self, rows: Integers, most: int = 0) -> list[Integers]:
        size = min(self.machine.chunk, most or self.machine.chunk)
        return [rows[i : i + size] for i in range(0, len(rows), size)]

    def _text_chunks(self, weights: Weights, space: RowSpace, rows: Integers, again: int) -> Iterator[tuple[Integers, Tensor]]:
        """As `embed_chunks`, with texts of like length in one forward pass, so that little of it is padding."""
        window = _WINDOW * self.machine.chunk
        for i in range(0, len(rows), window):
            near = rows[i : i + window]
            texts = [str(space.fetch(int(row))) for row in near]
            order = np.argsort([len(t) for t in texts], kind="stable")
            batches = [self.preparation.batch([texts[j] for j in chunk]) for chunk in self._chunks(order, again)]
            parts = [self.forward(weights, batch, again=bool(again)) for batch in batches]
            features = torch.cat(parts)[torch.from_numpy(np.argsort(order))]
            for chunk in self._chunks(np.arange(len(near))):
                yield near[chunk], features[torch.from_numpy(chunk)]

    def row_bytes(self, weights: Weights, space: RowSpace, rows: Integers) -> int:
        """Bytes of activations that a row keeps for the gradient of the weights that require one; of texts, the longest of `rows`.

        0 where nothing requires a gradient, and for vectors.
        """
        moving = any(tensor.requires_grad for tensor in weights.values())
        if not moving or not len(rows) or self.preparation.modality == "vector":
            return 0
        if self.preparation.modality == "text":
            longest = max((str(space.fetch(int(row))) for row in rows), key=len)
            return self._row_bytes.of(weights, longest, self.preparation.batch, size=len(longest))
        return self._row_bytes.of(weights, space.prepared(int(rows[0]), self.preparation), self.preparation.batch)

    @cached_property
    def _row_bytes(self) -> RowBytes:
        return RowBytes(self.forward)

    def forward(self, weights: Weights, inputs: Any, *, again: bool = False, **options: Any) -> Float[Tensor, "B D"]:
        """The network on prepared inputs: autocast to the machine's precision, features in float32.

        `again`: keep no activations for a gradient, but compute them again for it.
        """
        device = self.machine.device
        moved = _moved(inputs, device, self.machine.channels_last)
        held = {name: tensor.to(device) for name, tensor in weights.items()}
        keep = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in held.values())
        network = self._called
        if network.training:  # dropout and batch statistics have no place in a pure function
            network.eval()
        with self._cast(), nullcontext() if keep else torch.no_grad():
            run: Callable[..., Tensor] = torch.func.functional_call
            if keep and again:
                run = computed_again(run)
            features: Tensor = run(network, held, (moved,), options)
        return features if features.dtype == torch.float64 else features.float()

    def forward_each(self, own: Weights, shared: Weights, inputs: Tensor) -> Float[Tensor, "E B D"]:
        """The network on the inputs [E, B, ...] of episodes, each with its `own` weights [E, ...] beside the `shared` ones [...].

        One vmapped pass; attention goes by its plain kernel, for the fused ones have no rule for that.
        """
        rows = _moved(inputs.flatten(0, 1), self.machine.device, self.machine.channels_last).unflatten(0, inputs.shape[:2])

        def features(mine: dict[str, Tensor], of: Tensor) -> Tensor:
            found: Tensor = torch.func.functional_call(self.network, {**shared, **mine}, (of,))
            return found

        network = self.network.to(self.machine.device)
        assert not network.training
        with self._cast(), plain_attention():
            made = torch.func.vmap(features)(dict(own), rows)
        return made if made.dtype == torch.float64 else made.float()

    def _cast(self) -> AbstractContextManager[Any]:
        """Autocast to the machine's precision."""
        dtype = _DTYPES[self.machine.dtype]
        return nullcontext() if dtype == torch.float32 else torch.autocast(torch.device(self.machine.device).type, dtype=dtype)

    @cached_property
    def _called(self) -> nn.Module:
        """The network as it is run: on the device, with compiled insides where the machine says so."""
        network = self.network.to(self.machine.device)
        if self.machine.compile:
            network.compile()
        return network

    def embed_labels(self, weights: Weights, texts: Sequence[str]) -> Float[Tensor, "n D"]:
        """Class vectors of texts. Raises InputError where there is no label side."""
        if (read := self.texts) is None:
            raise InputError(f"backbone {self.name!r} has no label side: class names mean nothing to it.")
        if not texts:
            return torch.zeros(0, self.width, device=self.machine.device)
        order = np.argsort([len(t) for t in texts], kind="stable")
        longest = max(texts, key=len)
        again = rows_again(self.machine, len(texts), lambda: self._row_bytes.of(weights, longest, read, size=len(longest), side="label"))
        batches = [read([texts[j] for j in chunk]) for chunk in self._chunks(order, again)]
        parts = [self.forward(weights, batch, again=bool(again), side="label") for batch in batches]
        return torch.cat(parts)[torch.from_numpy(np.argsort(order))]


def _moved(inputs: Any, device: str, channels_last: bool) -> Any:
    if isinstance(inputs, Mapping):
        return {name: tensor.to(device) for name, tensor in inputs.items()}
    if inputs.ndim == 4:
        return inputs.to(device).contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)
    return inputs.to(device)
