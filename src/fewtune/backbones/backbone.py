"""Backbone: a foundation model as a pure function of named weights, `embed(weights, pool, rows, view) -> features`.

Everything about one model that the rest of the house may know: how inputs are prepared (once, deterministic at evaluation), its
named weights in ordered groups from input to output, the width of its features, and, where it has one, its label side.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fewtune.data.pool import Pool, Preparation
from fewtune.machine import Machine

Weights: TypeAlias = Mapping[str, Tensor]


class Prepared(Preparation, Protocol):
    """A preparation whose settings are recorded: `text` is hashed into every feature table's key."""

    @property
    def text(self) -> str: ...


@final
@dataclass(frozen=True, eq=False)
class Backbone:
    """One model.

    `name`: the text that made it, as given to --backbone. `network`: maps a batch of inputs to features [B, D]; it is in eval mode and
    its own parameters are the start. `groups`: (group name, weight names) from input to output; together every parameter once; buffers
    (BatchNorm statistics) are weights too, but in no group. `label_side`: maps texts to class vectors [n, D] given weights, or None.
    `source`: where the weights came from (a file and its sha256, a hub name, "random") for the record.
    """

    name: str
    network: nn.Module
    preparation: Prepared
    width: int
    groups: tuple[tuple[str, tuple[str, ...]], ...]
    machine: Machine
    source: Mapping[str, str]
    label_side: Callable[[Weights, Sequence[str]], Tensor] | None = None
    logit_scale: float = 1.0

    ...
