"""A head on every layer: how much of a task can be read off at each depth."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from fewtune.backbones.backbone import Backbone
from fewtune.errors import InputError
from fewtune.parts.heads.head import Head, answer
from fewtune.parts.heads.logistic import Logistic
from fewtune.statistics.intervals import Interval, wilson_interval
from fewtune.statistics.sample import Numbers
from fewtune.tasks.episodes import Episodes

Flags = np.ndarray[Any, np.dtype[np.bool_]]


@final
@dataclass(frozen=True, eq=False)
class Probe:
    """A head on one layer: its `accuracy` on the test rows (Wilson interval) and whether each test row is `right` [M]."""

    accuracy: Interval
    right: Flags


def depth_probe(
    layers: Mapping[str, tuple[Float[Tensor, "N D"], Float[Tensor, "M D"]]],
    labels: Numbers,
    test_labels: Numbers,
    head: Head | None = None,
    *,
    level: float = 0.95,
) -> dict[str, Probe]:
    """A head fitted to the features of each layer, measured on other rows.

    `layers`: layer -> (features [N, D] of the training rows, features [M, D] of the test rows); D may differ from layer to layer.
    `labels` [N], `test_labels` [M]: classes 0..K-1. `head`: any head that learns from a support; None is logistic regression on unit
    features, C = 3. For downstream and upstream accuracy by depth, call it once for each. Raises InputError for a layer whose rows are not
    those of the labels, and for test labels of other classes.
    """
    known, asked = np.asarray(labels, dtype=np.int64), np.asarray(test_labels, dtype=np.int64)
    if not len(known) or not len(asked) or known.min() < 0 or asked.min() < 0 or asked.max() > known.max():
        raise InputError("a depth probe needs training and test rows with classes from 0 on, and test rows of the training classes only.")
    episode = Episodes(
        support=torch.arange(len(known))[None],
        support_label=torch.from_numpy(known)[None],
        query=torch.arange(len(asked))[None],
        query_label=torch.from_numpy(asked)[None],
        classes=torch.arange(int(known.max()) + 1)[None],
        task=torch.zeros(1, dtype=torch.int64),
    )
    found = {}
    for layer, (train, test) in layers.items():
        if len(train) != len(known) or len(test) != len(asked):
            raise InputError(f"layer {layer!r} has {len(train)} and {len(test)} rows, but there are {len(known)} and {len(asked)} labels.")
        with torch.no_grad():
            logits = answer(head or Logistic(), train[None], test[None], episode.to(train.device))
        right = logits[0].argmax(-1).cpu().numpy() == asked
        found[layer] = Probe(wilson_interval(int(right.sum()), len(right), level), right)
    return found


def layer_features(backbone: Backbone, weights: Mapping[str, Tensor], batches: Iterable[Any]) -> dict[str, Float[Tensor, "N D"]]:
    """The output of every group of a backbone, from input to output, and of the whole network ("features").

    `batches`: prepared inputs (`backbone.preparation.batch`). An output [B, C, H, W] is averaged over places, [B, tokens, C] over tokens.
    A group's output is that of the module that holds all its weights, or, if no module does, of the last module in it.
    """
    outputs: dict[str, Any] = {}
    rows: dict[str, list[Tensor]] = {}
    hooks = [module.register_forward_hook(_keeping(outputs, title)) for title, module in group_modules(backbone).items()]
    try:
        for batch in batches:
            outputs.clear()
            final_features = backbone.forward({n: t.detach() for n, t in weights.items()}, batch)
            for title, kept in outputs.items():
                rows.setdefault(title, []).append(pooled(kept).float())
            rows.setdefault("features", []).append(final_features)
    finally:
        for hook in hooks:
            hook.remove()
    return {title: torch.cat(parts) for title, parts in rows.items()}


def group_modules(backbone: Backbone) -> dict[str, nn.Module]:
    """The module whose output is that of each group."""
    found = {}
    modules = dict(backbone.network.named_modules())
    for title, members in backbone.groups:
        paths = [name.rpartition(".")[0].split(".") for name in members]
        common = paths[0]
        for path in paths[1:]:
            common = common[: next((i for i, (a, b) in enumerate(zip(common, path, strict=False)) if a != b), min(len(common), len(path)))]
        whole = ".".join(common)
        others = [n for other, names in backbone.groups if other != title for n in names]
        mine = whole and not any(n.startswith(f"{whole}.") for n in others)
        found[title] = modules[whole if mine else ".".join(paths[-1])]
    return found


def pooled(output: Any) -> Float[Tensor, "B D"]:
    """Features [B, D] of a layer's output: the mean over places or tokens."""
    first = first_of(output)
    if first.ndim == 4:
        return first.mean(dim=(2, 3))
    return first.mean(dim=1) if first.ndim == 3 else first.flatten(1)


def first_of(output: Any) -> Tensor:
    """What a module puts out; of several (attention beside the tokens) the first."""
    found: Tensor = output[0] if isinstance(output, tuple | list) else output
    return found


def _keeping(outputs: dict[str, Any], title: str) -> Callable[[nn.Module, Any, Any], None]:
    def keep(module: nn.Module, inputs: Any, output: Any) -> None:  # noqa: ARG001
        outputs[title] = output

    return keep
