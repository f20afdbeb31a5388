"""Checkpoints: what a training run needs to go on bit for bit, in safetensors files that are whole or absent."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor

from fewtune.errors import InputError
from fewtune.files import write_bytes

EVERY = 30.0  # seconds between checkpoints: what a crash may cost


@final
@dataclass(frozen=True, eq=False)
class Saved:
    """`tensors` by name, and `facts`: numbers, strings and lists of them (the curve so far)."""

    tensors: Mapping[str, Tensor]
    facts: Mapping[str, Any] = field(default_factory=dict)


@final
class Checkpoints:
    """The files of one training run under `folder`; with None nothing is kept. A phase is known by its place in the run, such as "0.2".

    `write(path, content)` writes a whole file or none, by default `files.write_bytes`.
    """

    def __init__(
        self, folder: Path | None = None, *, writes: bool = True, every: float = EVERY, write: Callable[[Path, bytes], None] = write_bytes
    ) -> None:
        self.folder, self._writes, self._every, self._whole = folder, writes, every, write
        self._last = time.monotonic()

    @property
    def due(self) -> bool:
        """Whether the last checkpoint is long ago."""
        return self.folder is not None and time.monotonic() - self._last >= self._every

    def end(self, place: str) -> Saved | None:
        """What a phase ended with, if it did."""
        return self._read(f"phase-{place}-end")

    def state(self, place: str) -> Saved | None:
        """The saved state of a phase, if it was begun."""
        return self._read(f"phase-{place}")

    def save_state(self, place: str, saved: Saved) -> None:
        self._write(f"phase-{place}", saved)
        self._last = time.monotonic()

    def save_end(self, place: str, saved: Saved) -> None:
        self._write(f"phase-{place}-end", saved)
        if self.folder is not None and self._writes:
            self._path(f"phase-{place}").unlink(missing_ok=True)

    def named(self, place: str) -> str:
        """The last good checkpoint of a phase, in words."""
        found = self.folder is not None and self._path(f"phase-{place}").exists()
        return f"the last good checkpoint is {self._path(f'phase-{place}')}" if found else "no checkpoint of this phase was kept"

    def _path(self, name: str) -> Path:
        assert self.folder is not None
        return self.folder / f"{name}.safetensors"

    def _write(self, name: str, saved: Saved) -> None:
        if self.folder is None or not self._writes:
            return
        from safetensors.torch import save

        held = {n: t.detach().cpu().contiguous() for n, t in saved.tensors.items()}
        facts = json.dumps(saved.facts)
        self._whole(self._path(name), save(held, {"facts": facts, "digest": _digest(held, facts)}))

    def _read(self, name: str) -> Saved | None:
        if self.folder is None or not self._path(name).exists():
            return None
        from safetensors import SafetensorError, safe_open

        path = self._path(name)
        try:
            with safe_open(path, framework="pt") as file:
                facts = file.metadata()
                tensors = {n: file.get_tensor(n) for n in file.keys()}  # noqa: SIM118  (it is no mapping)
            if _digest(tensors, facts["facts"]) == facts["digest"]:
                return Saved(tensors, json.loads(facts["facts"]))
        except (OSError, SafetensorError, KeyError, TypeError, ValueError):
            pass
        raise InputError(f"checkpoint {path} is damaged: remove it to do this part of the run again.")


def _digest(tensors: Mapping[str, Tensor], facts: str) -> str:
    whole = hashlib.blake2b(facts.encode(), digest_size=16)
    for name in sorted(tensors):
        whole.update(f"{name}{tuple(tensors[name].shape)}{tensors[name].dtype}".encode())
        whole.update(tensors[name].reshape(-1).view(torch.uint8).numpy().tobytes())
    return whole.hexdigest()
