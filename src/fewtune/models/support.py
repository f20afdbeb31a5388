"""The labelled examples that a model was learned from, as they are kept with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from fewtune.data.examples import Examples, Integers
from fewtune.data.fields import shown
from fewtune.models.held_answers import HeldAnswers

DIGEST = 16  # bytes that stand for a row's content
_HELD = {"item": torch.int64, "true": torch.float64, "best": torch.float64, "right": torch.bool}
_LONGEST_TEXT = 200  # letters


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Support:
    """The rows a model was learned from: their features by its own backbone, labels 0..K-1, and 16 bytes for the content of each.

    `names`: of each row, "" where it is not known; never an absolute path. `texts`: the beginning of each text, None for other data.
    `held`: what was answered to these rows while they were held out, None where nothing was. `apart`: features by the backbone as it came,
    kept where finetuning saw the labels: on its features, these rows are nearer to each other than new rows are.
    """

    features: Float[Tensor, "S D"]
    labels: Integers
    digests: tuple[bytes, ...]
    names: tuple[str, ...] = ()
    texts: tuple[str, ...] | None = None
    held: HeldAnswers | None = None
    apart: Float[Tensor, "S D2"] | None = None


def names_of(examples: Examples, rows: Sequence[int]) -> tuple[str, ...]:
    """The names of rows to keep with a model: of an absolute path the last two parts, so that no path of this machine is passed on."""
    return tuple(_relative(examples.row_names[row]) for row in rows)


def _relative(name: str) -> str:
    path = PurePath(name)
    return "/".join(path.parts[-2:]) if path.is_absolute() else name


def texts_of(examples: Examples, rows: Sequence[int]) -> tuple[str, ...] | None:
    """The beginnings of texts, each on one line; None for photos and embeddings."""
    if examples.modality != "text":
        return None
    return tuple(" ".join(shown(str(examples.items.fetch(row))).split())[:_LONGEST_TEXT] for row in rows)


def tensors_of(support: Support) -> dict[str, Tensor]:
    """What is kept in a file of tensors."""
    digests = np.frombuffer(b"".join(support.digests), dtype=np.uint8).reshape(-1, DIGEST)
    kept = {"features": support.features.float(), "labels": torch.from_numpy(support.labels), "digests": torch.from_numpy(digests.copy())}
    if support.apart is not None:
        kept["apart"] = support.apart.float()
    if support.held is not None:
        kept |= {f"held/{name}": torch.from_numpy(np.ascontiguousarray(getattr(support.held, name))) for name in _HELD}
    return kept


def words_of(support: Support | None) -> dict[str, Any] | None:
    """What is kept in a file of JSON."""
    if support is None or not support.names:
        return None
    return {"names": list(support.names), "texts": None if support.texts is None else list(support.texts)}


def read_support(found: Mapping[str, Tensor], words: object) -> Support:
    """From the tensors and the words. Raises ValueError, KeyError or TypeError where they do not fit together."""
    features, labels, digests = (found[name] for name in ("features", "labels", "digests"))
    kinds = (features.dtype, labels.dtype, digests.dtype) == (torch.float32, torch.int64, torch.uint8)
    count = len(features)
    if not kinds or features.ndim != 2 or labels.shape != features.shape[:1] or digests.shape != (count, DIGEST):
        raise ValueError("the support does not hold the features, labels and digests of rows")
    apart = found.get("apart")
    if apart is not None and (apart.dtype != torch.float32 or apart.ndim != 2 or len(apart) != count):
        raise ValueError("the support's features apart are not those of its rows")
    names, texts = _words(words, count)
    return Support(
        features=features,
        labels=labels.numpy(),
        digests=tuple(bytes(row) for row in digests.numpy()),
        names=names,
        texts=texts,
        held=_held(found, count),
        apart=apart,
    )


def _words(words: object, count: int) -> tuple[tuple[str, ...], tuple[str, ...] | None]:
    if words is None:
        return (), None
    if not isinstance(words, dict):
        raise TypeError("the names of the support are no object")
    listed = [words["names"], *([words["texts"]] if words["texts"] is not None else [])]
    if not all(isinstance(one, list) and len(one) == count and all(isinstance(text, str) for text in one) for one in listed):
        raise ValueError("the names of the support are not those of its rows")
    return tuple(listed[0]), tuple(listed[1]) if len(listed) > 1 else None


def _held(found: Mapping[str, Tensor], count: int) -> HeldAnswers | None:
    if "held/item" not in found:
        return None
    parts = {name: found[f"held/{name}"] for name in _HELD}
    item = parts["item"]
    if any(parts[name].dtype != kind or parts[name].shape != item.shape for name, kind in _HELD.items()) or item.ndim != 1:
        raise ValueError("the held-out answers are not whole")
    if not len(item) or not ((item >= 0) & (item < count)).all():
        raise ValueError("the held-out answers are not to rows of the support")
    if not all(((parts[name] >= 0) & (parts[name] <= 1)).all() for name in ("true", "best")):
        raise ValueError("the held-out answers are no probabilities")
    return HeldAnswers(**{name: part.numpy() for name, part in parts.items()})
