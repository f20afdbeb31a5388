"""Finetuning a whole network with a new linear head, watched on the way, with BatchNorm as in training.

The engine keeps BatchNorm statistics, so that a batch gives what its rows give alone. A network that begins at random cannot learn so:
its statistics change faster than its weights. Here BatchNorm may normalise by the batch, for every start alike.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeAlias, final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from fewtune.backbones.backbone import Backbone
from fewtune.data.examples import Examples, Integers
from fewtune.data.row_space import RowSpace
from fewtune.data.views.blocks import shuffled
from fewtune.data.views.views import BlockShuffle
from fewtune.errors import Diverged, InputError
from fewtune.keys import Key
from fewtune.transfer import chosen_groups

Weights: TypeAlias = Mapping[str, Tensor]
Flags: TypeAlias = np.ndarray[Any, np.dtype[np.bool_]]

HEAD = "new head/"
"""Before the names of the head's tensors, which stand beside the backbone's weights."""

REMEMBERED = 1 << 30  # bytes of prepared photos


@final
@dataclass(frozen=True, kw_only=True)
class Finetuning:
    """How a start is finetuned: `steps` of SGD with `momentum` on `batch` rows, rows in a new order in each pass.

    `rate` and `weight_decay` of the backbone; `head_rate` and `head_decay` of the head (None: the same). `groups`: patterns of the groups
    of weights that move beside the head; () for none. `statistics`: "batch" normalises by the batch in BatchNorm layers of these groups,
    and their running statistics follow; "kept" leaves them as they are. `watch`: test rows are answered every so many steps, at the start
    and at the end too.
    """

    steps: int = 200
    batch: int = 16
    rate: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 0.0
    head_rate: float | None = None
    head_decay: float | None = None
    groups: tuple[str, ...] = ("*",)
    statistics: Literal["batch", "kept"] = "batch"
    watch: int = 20

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch < 2 or self.watch < 1:
            raise InputError(
                f"expected steps and watch of at least 1 and batch of at least 2, found {self.steps}, {self.watch}, {self.batch}."
            )
        if not self.rate > 0 or min(self.weight_decay, self.head_decay or 0.0) < 0 or not 0 <= self.momentum < 1:
            raise InputError("expected a rate above 0, weight decay of at least 0 and momentum from 0 to below 1.")

    @property
    def points(self) -> tuple[int, ...]:
        """The steps after which test rows are answered."""
        return (*range(0, self.steps, self.watch), self.steps)


@final
@dataclass(frozen=True, eq=False)
class Seen:
    """Labelled rows as a network sees them; `blocks`: the blocks of photos are shuffled, None leaves them."""

    examples: Examples
    backbone: Backbone
    blocks: BlockShuffle | None = None

    def __post_init__(self) -> None:
        if self.blocks is not None and self.examples.modality != "image":
            raise InputError(f"blocks are those of photos, but {self.examples.name} holds {self.examples.modality}s.")
        if (self.examples.labels < 0).any() or not len(self.examples):
            raise InputError(f"expected labelled rows, but {self.examples.name} has some without a label or none at all.")

    @cached_property
    def space(self) -> RowSpace:
        return RowSpace([self.examples], remember=REMEMBERED)

    @property
    def labels(self) -> Integers:
        return self.examples.labels

    def inputs(self, rows: Sequence[int] | Integers) -> Any:
        """The network's input for rows."""
        batch = self.space.gather(rows, self.backbone.preparation)
        return batch if self.blocks is None else shuffled(self.blocks, batch)

    def batches(self, size: int = 32) -> Iterator[Any]:
        """All rows, in order."""
        for first in range(0, len(self.examples), size):
            yield self.inputs(range(first, min(first + size, len(self.examples))))

    def logits(self, weights: Weights) -> Tensor:
        """Of all rows [N, K], from weights of the backbone and the head."""
        own = {n: t for n, t in weights.items() if not n.startswith(HEAD)}
        with torch.no_grad():
            features = torch.cat([self.backbone.forward(own, batch) for batch in self.batches()])
        return features @ weights[f"{HEAD}weight"].T + weights[f"{HEAD}bias"]

    def right(self, weights: Weights) -> Flags:
        """Whether each row is answered correctly [N]."""
        found: Flags = self.logits(weights).argmax(1).cpu().numpy() == self.labels
        return found


@final
@dataclass(frozen=True, eq=False)
class Finetuned:
    """`weights` of the backbone, BatchNorm statistics among them, and of the head, under `HEAD`. `steps` [P] and `right` [P, M]: when test
    rows were answered, and which of them correctly.
    """

    weights: dict[str, Tensor]
    steps: tuple[int, ...]
    right: Flags


def begun(backbone: Backbone, classes: int) -> dict[str, Tensor]:
    """The weights of the start: those of the backbone, and a head of zeros."""
    device = backbone.machine.device
    head = {f"{HEAD}weight": torch.zeros(classes, backbone.width, device=device), f"{HEAD}bias": torch.zeros(classes, device=device)}
    return {**backbone.start(), **head}


def finetuned(train: Seen, test: Seen, settings: Finetuning, key: Key, head: Weights | None = None) -> Finetuned:
    """Finetune the backbone of `train`, with a head that begins at zero; `test` rows are only answered.

    `head`: weights among which there is a head, under `HEAD`; it begins there instead.
    The order of the rows is a function of `key`. Raises InputError where there are fewer rows than a batch, for groups that do not exist,
    and Diverged where the loss is not finite.
    """
    backbone, classes = train.backbone, len(train.examples.class_names)
    if len(train.examples) < settings.batch:
        raise InputError(
            f"{train.examples.name} has {len(train.examples)} rows to learn from: expected at least a batch, {settings.batch}."
        )
    device = backbone.machine.device
    network, start = copy.deepcopy(backbone.network), backbone.start()
    moving = _release(network, backbone, settings)
    first = begun(backbone, classes) if head is None else head
    own = {n: t.clone().requires_grad_() for n, t in first.items() if n.startswith(HEAD)}
    optimizer = _optimizer(moving, list(own.values()), settings)
    labels = torch.from_numpy(train.labels).to(device)
    right: list[Flags] = []

    def weights() -> dict[str, Tensor]:
        return {n: t.detach() for n, t in (*((n, t) for n, t in network.state_dict().items() if n in start), *own.items())}

    for step, rows in enumerate(_orders(len(train.examples), settings, key)):
        if step in settings.points:
            right.append(test.right(weights()))
        inputs = train.inputs(rows)
        features = network(inputs.to(device) if isinstance(inputs, Tensor) else inputs)
        loss = cross_entropy(features.float() @ own[f"{HEAD}weight"].T + own[f"{HEAD}bias"], labels[torch.from_numpy(rows).to(device)])
        if not torch.isfinite(loss):
            raise Diverged(f"the loss is not finite at step {step + 1}: give a smaller rate than {settings.rate:g}.")
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    right.append(test.right(weights()))
    return Finetuned({n: t.clone() for n, t in weights().items()}, settings.points, np.stack(right))


def _release(network: nn.Module, backbone: Backbone, settings: Finetuning) -> list[nn.Parameter]:
    """The parameters that move; BatchNorm layers among them are set to training."""
    groups = chosen_groups(backbone.groups, settings.groups) if settings.groups else ()
    names = {n for _, members in groups for n in members}
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name in names)
    if settings.statistics == "batch":
        for layer in network.modules():
            if isinstance(layer, nn.modules.batchnorm._BatchNorm) and any(p.requires_grad for p in layer.parameters(recurse=False)):
                layer.train()
    return [p for p in network.parameters() if p.requires_grad]


def _optimizer(moving: list[nn.Parameter], head: list[Tensor], settings: Finetuning) -> torch.optim.Optimizer:
    rate, decay = settings.rate, settings.weight_decay
    own = {
        "lr": rate if settings.head_rate is None else settings.head_rate,
        "weight_decay": decay if settings.head_decay is None else settings.head_decay,
    }
    groups: list[dict[str, Any]] = [{"params": head, **own}]
    if moving:
        groups.append({"params": moving})
    return torch.optim.SGD(groups, lr=rate, weight_decay=decay, momentum=settings.momentum)


def _orders(count: int, settings: Finetuning, key: Key) -> Iterator[Integers]:
    """The rows of each step: passes over all rows in an order of their own, cut into batches; what is left of a pass is dropped."""
    for step in range(settings.steps):
        each, place = divmod(step, count // settings.batch)
        order = np.argsort(key.child("pass", each).uniform(np.arange(count, dtype=np.uint64)), kind="stable")
        yield np.sort(order[place * settings.batch :][: settings.batch])  # a fixed order inside the batch
