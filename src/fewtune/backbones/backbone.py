"""Backbone: a foundation model as a pure function of named weights, `embed(weights, space, rows, view) -> features`.

A Backbone holds all that the other packages need of a model: how inputs are prepared (once, and deterministic at evaluation), its
named weights in ordered groups from input to output, the width of its features, and its label side if it has one.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, Unpack, final

from jaxtyping import Float
from torch import Tensor, nn

from fewtune.backbones.activations import Weights
from fewtune.backbones.context import Learned
from fewtune.backbones.groups import Groups
from fewtune.backbones.moved import moved_network
from fewtune.backbones.own_module import Images, own_network, reads
from fewtune.backbones.passes import Passes, placed
from fewtune.backbones.places import NOWHERE, Place
from fewtune.backbones.preparation import Prepared
from fewtune.backbones.row_passes import Reasons, RowPasses, Texts
from fewtune.backbones.weights import digest_weights
from fewtune.data.examples import Integers
from fewtune.data.row_space import RowSpace
from fewtune.data.views.views import IDENTITY, View
from fewtune.errors import InputError
from fewtune.keys import Key
from fewtune.machine import Machine
from fewtune.spec import digest

__all__ = ["Backbone", "Prepared", "Weights"]


@final
@dataclass(frozen=True, eq=False)
class Backbone:
    """One model.

    `name`: the text given to --backbone. For a local folder, it has only the last part of the path; `place` has the full path. `network`:
    maps a batch of inputs to features [B, D] (and, with `side="label"`, a batch of texts to class vectors). It is in eval mode, and its
    parameters are the starting weights. `groups`: (group name, weight names) from input to output; together they hold every parameter once.
    Buffers (BatchNorm statistics) are weights too, but are in no group. `texts`: the tokeniser of the label side, or None if there is none.
    `source`: where the weights came from, for the record. `structure`: the architecture with every option that changes what the weights
    compute. `machine` is resolved: no "auto". `noisy`: whether the network takes `noise` [B], one int64 for each row; augmented views
    provide it (DropBlock). `label_metric`: features and class vectors are compared by their angle, or "dot": by their product plus a bias,
    the last number of a class vector [D + 1] (the words of a masked language model). `origin`: the backbone before its weights were
    replaced (`with_weights`), or None; a saved model names that one. `towers`: the image and the text encoder of a `pair:`, as they were
    loaded; none of other models. `context`: vectors that stand for words at the beginning of a text of the label side, or None.
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
    origin: Backbone | None = None
    label_metric: Literal["cosine", "dot"] = "cosine"
    towers: tuple[Backbone, ...] = ()
    context: Learned | None = None

    @staticmethod
    def of(
        module: nn.Module,
        *,
        size: int | tuple[int, int] | None = None,
        inputs: int | None = None,
        preparation: Prepared | None = None,
        machine: Machine | None = None,
        **images: Unpack[Images],
    ) -> Backbone:
        """Your own network as a backbone: `module(batch)` returns features, floats [B, D]; each row depends only on its own input.

        Say what it reads, in one of three ways. `size`: images [B, 3, H, W], H and W in pixels (one number for both), prepared as `mean`,
        `std`, `interpolation` and `crop` say (see `fewtune.backbones.own_module.Images`). `inputs`: vectors [B, inputs], float32.
        `preparation`: any object with `modality`, `text` (its settings), `prepare` and `batch`, like those in
        `fewtune.backbones.preparation`; for vectors, give `inputs` too.

        The module is copied, in float32 and eval mode. A saved model holds what finetuning changed, but not the module: give it again with
        `fewtune.load(run, backbone=Backbone.of(...))`. Raises InputError if the module cannot read such inputs, does not return finite
        features [B, D], or returns different features for the same row in another batch.

        >>> network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        >>> backbone = Backbone.of(network, size=32, mean=0.5, std=0.25)
        >>> backbone.name, backbone.width
        ('module:Sequential', 8)
        """
        where = (machine or Machine()).resolved()
        own = own_network(module, where, reads(size, inputs, preparation, images), inputs)
        return Backbone(own.name, own.network, own.preparation, own.width, own.groups, where, own.source, own.structure)

    def __sklearn_clone__(self) -> Backbone:
        """Itself: a backbone never changes, so `sklearn.base.clone` of an estimator need not copy its network."""
        return self

    @property
    def label_side(self) -> bool:
        """Whether class names can be embedded."""
        return self.texts is not None

    @property
    def answers_prompts(self) -> bool:
        """Whether features are read at the mask of a prompt, and class vectors are words of the model."""
        return self.label_metric == "dot"

    def start(self) -> dict[str, Tensor]:
        """The starting weights: parameters and persistent buffers by name. They are not copies: clone them before you change them.

        A tensor with several names in the network (tied weights) has only the first one here, so that it is updated once.
        """
        first: dict[int, str] = {}
        named = self.network.state_dict(keep_vars=True)
        return {name: tensor.detach() for name, tensor in named.items() if first.setdefault(id(tensor), name) == name}

    def with_weights(self, weights: Weights) -> Backbone:
        """The same model with other starting weights for the names given. This backbone is not changed.

        Names and shapes are those of `start`. Apply edits before (`edited`). The new backbone has another digest and its own feature
        tables. Raises InputError for an unknown name or a wrong shape.
        """
        return replace(self, network=moved_network(self.network, self.name, self.start(), weights), origin=self.origin or self)

    def on(self, machine: Machine) -> Backbone:
        """A copy of the model on another machine; this one is not moved."""
        where = machine.resolved()
        moved = placed(copy.deepcopy(self.network), where, images=self.preparation.modality == "image")
        return replace(self, network=moved, machine=where)

    @cached_property
    def _digest(self) -> str:
        plain = digest(f"{self.structure} {digest_weights(self.start())} {self.preparation.text} {self.width}")
        if self.context is None:
            return plain
        return digest(f"{plain} {self.context.words!r} {digest_weights({'vectors': self.context.vectors})}")

    def digest(self) -> str:
        """A digest of the weights with buffers, the preprocessing and how features are read: 32 hexadecimal digits."""
        return self._digest

    def embed(
        self, weights: Weights, space: RowSpace, rows: Integers | Tensor, view: View = IDENTITY, key: Key | None = None
    ) -> Float[Tensor, "*B D"]:
        """Features of rows [*B], float32, on the machine's device; rows of -1 give zeros.

        A row that occurs several times is embedded once, so it has one view. Views are drawn from `key`, the key of (seed, step, role,
        copy). Gradients flow to the weights that require them. Raises InputError for another modality, for a row that cannot be decoded,
        and for an augmented view of anything but images.
        """
        return self._rows.embed(weights, space, rows, view, key)

    def embed_chunks(
        self, weights: Weights, space: RowSpace, rows: Integers, view: View = IDENTITY, key: Key | None = None, bad: Reasons | None = None
    ) -> Iterator[tuple[Integers, Float[Tensor, "b D"]]]:
        """Features chunk by chunk, in order: (rows, features). Meanwhile, the next rows are decoded in threads.

        If `bad` is given, rows that cannot be decoded are added to it with the reason, and their features are NaN. If not, they raise
        InputError.
        """
        return self._rows.chunks(weights, space, rows, view, key, bad)

    def row_bytes(self, weights: Weights, space: RowSpace, rows: Integers) -> int:
        """Bytes of activations kept for the gradient by a row, of texts by the longest; 0 if no weight requires one, and for vectors."""
        return self._rows.row_bytes(weights, space, rows)

    @property
    def cpu_rows(self) -> int:
        """How many rows go through the network at once on the CPU."""
        return self._rows.cpu_rows

    def forward(self, weights: Weights, inputs: Any, *, again: bool = False, **options: Any) -> Float[Tensor, "B D"]:
        """The network on prepared inputs: autocast to the machine's precision, features in float32.

        `again`: keep no activations for the gradient, but recompute them when they are needed.
        """
        return self._passes.forward(weights, inputs, again=again, **options)

    def forward_each(self, own: Weights, shared: Weights, inputs: Tensor) -> Float[Tensor, "E B D"]:
        """The network on the inputs [E, B, ...] of episodes, each with its `own` weights [E, ...] beside the `shared` ones [...]."""
        return self._passes.forward_each(own, shared, inputs)

    def embed_labels(self, weights: Weights, texts: Sequence[str], learned: Learned | None = None) -> Float[Tensor, "n D"]:
        """Class vectors of texts. `learned`: vectors for their first words, by default those of the backbone.

        Raises InputError if there is no label side.
        """
        if self.texts is None:
            raise InputError(f"backbone {self.name!r} has no label side (text encoder), so it cannot read class names.")
        return self._rows.labels(weights, texts, self.texts, learned or self.context)

    @cached_property
    def _passes(self) -> Passes:
        return Passes(self.network, self.machine)

    @cached_property
    def _rows(self) -> RowPasses:
        return RowPasses(self.name, self.preparation, self.width, self.noisy, self._passes)
