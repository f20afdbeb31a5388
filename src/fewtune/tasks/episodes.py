"""Episodes: a batch of few-shot problems as integers with a leading E. Rows of a row space, never pixels."""

from __future__ import annotations

import hashlib
import io
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Int, Shaped
from torch import Tensor

from fewtune.errors import InputError
from fewtune.files import read_regular, write_bytes


@final
@dataclass(frozen=True, eq=False)
class Episodes:
    """E few-shot problems.

    `support` [E, S] and `query` [E, Q] are rows of a row space; `support_label` [E, S] and `query_label` [E, Q] are 0..K-1, positions in
    `classes` [E, K] (global class ids); episodes with the same `task` [E] count as one task (see the sampler). Float and multi-hot targets
    are `support_label` [E, S, L] and `query_label` [E, Q, L]. Ragged episodes are padded with -1, always at the end: rows, labels, classes.

    `kind` [E] where the tasks are label columns of several kinds, each a place in `fewtune.tasks.task.KINDS` (else None). Labels are then
    floats [.., L], NaN unknown or past the task's outputs: one-hot classes, one number, or several labels of 0 and 1; `classes` are the ids
    of the task's outputs.
    """

    support: Int[Tensor, "E S"]
    support_label: Shaped[Tensor, "E S *L"]
    query: Int[Tensor, "E Q"]
    query_label: Shaped[Tensor, "E Q *L"]
    classes: Int[Tensor, "E K"]
    task: Int[Tensor, " E"]
    kind: Int[Tensor, " E"] | None = None

    def __len__(self) -> int:
        return self.support.shape[0]

    @property
    def ways(self) -> int:
        """K, the width of the logits (padding included)."""
        return self.classes.shape[1]

    def __getitem__(self, chosen: slice | Sequence[int] | Tensor) -> Episodes:
        """Some of the episodes, still with a leading E."""
        index = chosen if isinstance(chosen, slice | Tensor) else torch.as_tensor(list(chosen))
        return Episodes(**{name: tensor[index] for name, tensor in self._tensors().items()})

    def to(self, device: str | torch.device) -> Episodes:
        return Episodes(**{name: tensor.to(device) for name, tensor in self._tensors().items()})

    def _tensors(self) -> dict[str, Tensor]:
        """The tensors by name; without `kind` where there is none."""
        return {f.name: value for f in fields(self) if (value := getattr(self, f.name)) is not None}

    def digest(self) -> str:
        """32 hexadecimal digits, a hash of every integer of the episodes."""
        whole = hashlib.blake2b(digest_size=16)
        for name, tensor in self._tensors().items():
            array = tensor.contiguous().numpy()
            whole.update(f"{name}{array.shape}{array.dtype}".encode() + array.tobytes())
        return whole.hexdigest()

    def save(self, path: Path, more: Mapping[str, np.ndarray[Any, Any]] | None = None) -> None:
        """Write to one `.npz` file, with the digest inside, and `more` arrays beside it."""
        buffer = io.BytesIO()
        arrays = {name: tensor.numpy() for name, tensor in self._tensors().items()}
        np.savez_compressed(buffer, allow_pickle=False, digest=np.array(self.digest()), **arrays, **(more or {}))
        write_bytes(path, buffer.getvalue())


def load_episodes(path: Path) -> Episodes:
    """Read what `Episodes.save` wrote. Raises InputError when the file is not whole."""
    try:
        with np.load(io.BytesIO(read_regular(path)), allow_pickle=False) as stored:
            named = [f.name for f in fields(Episodes) if f.name != "kind" or "kind" in stored]
            episodes = Episodes(**{name: torch.from_numpy(stored[name]) for name in named})
            expected = str(stored["digest"])
    except (OSError, ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        raise InputError(f"{path} does not hold whole episodes: give the folder or a file that compare --out wrote.") from None
    if episodes.digest() != expected:
        raise InputError(f"{path} was changed after it was written: its episodes do not match their hash; make them again.")
    return episodes


def join(parts: Sequence[Episodes]) -> Episodes:
    """Episodes one after another; narrower ones are padded with -1 (NaN for float targets)."""

    def padded(name: str) -> Tensor | None:
        tensors = [getattr(part, name) for part in parts]
        if tensors[0] is None:
            return None
        if tensors[0].ndim == 1:
            return torch.cat(tensors)
        width = max(t.shape[1] for t in tensors)
        filler = float("nan") if tensors[0].is_floating_point() else -1
        return torch.cat([_widen(t, width, filler) for t in tensors])

    return Episodes(**{f.name: padded(f.name) for f in fields(Episodes)})  # type: ignore[arg-type]  # only `kind` is None


def _widen(tensor: Tensor, width: int, filler: float) -> Tensor:
    if tensor.shape[1] == width:
        return tensor
    pad = tensor.new_full((tensor.shape[0], width - tensor.shape[1], *tensor.shape[2:]), filler)
    return torch.cat([tensor, pad], dim=1)
