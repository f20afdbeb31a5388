"""Random starting weights that depend only on a name; torch's global generator is not changed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from fewtune.keys import key


@contextmanager
def seeded(name: str) -> Iterator[None]:
    """Inside, torch's CPU generator starts from the key of `name`, and libraries draw their initial weights from it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(key(0, "weights", name).value & (2**63 - 1))
        yield
