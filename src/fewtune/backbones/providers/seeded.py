"""Random starting weights that are a function of a name, and that leave torch's global generator as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from fewtune.keys import key


@contextmanager
def seeded(name: str) -> Iterator[None]:
    """Inside, torch's CPU generator starts at the key of `name`; libraries draw their initial weights from it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(key(0, "weights", name).value & (2**63 - 1))
        yield
