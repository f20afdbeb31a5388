"""Several models side by side as one backbone: it sees an input once and gives the features of each, one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, final

import torch
from torch import Tensor, nn

from fewtune.backbones.backbone import Backbone
from fewtune.errors import InputError


@final
class _Beside(nn.Module):
    """Members that read the same inputs; their outputs [B, D] become [B, members x D]."""

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, *inputs: Any, **options: Any) -> Tensor:
        return torch.cat([member(*inputs, **options) for member in self.members], dim=-1)


def beside(backbones: Sequence[Backbone]) -> Backbone:
    """Versions of one model, such as the frozen and the finetuned one, as one backbone of their widths together.

    The label side gives the class vectors of each member, one after the other. It takes as long as all members. Raises InputError for
    fewer than two, and for models that prepare inputs in different ways.
    """
    first = backbones[0]
    if len(backbones) < 2 or any(b.preparation.text != first.preparation.text or b.width != first.width for b in backbones):
        raise InputError("models side by side are two or more that prepare inputs alike and have features of one width.")
    groups = tuple(
        (f"{title} of {place}", tuple(f"members.{place}.{name}" for name in names))
        for place, backbone in enumerate(backbones)
        for title, names in backbone.groups
    )
    made = replace(
        first,
        network=_Beside([b.network for b in backbones]).eval(),
        width=sum(b.width for b in backbones),
        structure=f"beside {'; '.join(b.structure for b in backbones)}",
    )
    known = made.start()  # what members share has the name that the first one gives it
    return replace(made, groups=tuple((title, mine) for title, names in groups if (mine := tuple(n for n in names if n in known))))
