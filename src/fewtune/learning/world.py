"""World: the processes that share a training run (torch.distributed), each answering some of a step's episodes. Alone, all is local.

Every process holds all weights, draws the same episodes and takes the same steps; only answers and their gradients are divided. The
launcher is torchrun, whose environment is read here.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor
from torch import distributed as dist

from fewtune.errors import InputError


@final
@dataclass(frozen=True)
class World:
    """`rank` of `size` processes."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process is the one that prints and writes files."""
        return self.rank == 0

    def share(self, episodes: int) -> Tensor:
        """The places in a batch that this process answers: every `size`-th one."""
        return torch.arange(self.rank, episodes, self.size)

    def own(self, values: Tensor) -> Tensor:
        """`values` [E] where this process answers, 0 elsewhere."""
        mine = torch.zeros_like(values)
        here = self.share(len(values))
        mine[here] = values[here]
        return mine

    def sum(self, values: Tensor) -> Tensor:
        """The sum over processes."""
        if self.size > 1:
            values = values.clone()
            dist.all_reduce(values)
        return values

    def joined(self, rows: Tensor, dim: int = 0) -> Tensor:
        """The rows of all processes, one after another along `dim`; each may have another number of them."""
        if self.size == 1:
            return rows
        sizes = torch.zeros(self.size, dtype=torch.int64)
        sizes[self.rank] = rows.shape[dim]
        counts = self.sum(sizes).tolist()
        shape = list(rows.shape)
        shape[dim] = sum(counts)
        whole = rows.new_zeros(shape)
        whole.narrow(dim, sum(counts[: self.rank]), rows.shape[dim]).copy_(rows)
        return self.sum(whole)

    def any(self, flag: bool) -> bool:
        """Whether it is true in some process."""
        return flag if self.size == 1 else bool(self.sum(torch.tensor(float(flag))) > 0)

    def gradients(self, gradients: Mapping[str, Tensor | None], leaves: Mapping[str, Tensor]) -> dict[str, Tensor | None]:
        """The sum over processes by name, in one message; None where no process has one."""
        if self.size == 1:
            return {n: gradients.get(n) for n in leaves}
        found = [gradients.get(n) for n in leaves]
        has = self.sum(torch.tensor([float(g is not None) for g in found])) > 0
        flat = torch.cat([(torch.zeros_like(leaf) if g is None else g).reshape(-1) for g, leaf in zip(found, leaves.values(), strict=True)])
        dist.all_reduce(flat)
        pieces = torch.split(flat, [leaf.numel() for leaf in leaves.values()])
        return {n: p.view_as(leaf) if h else None for (n, leaf), p, h in zip(leaves.items(), pieces, has.tolist(), strict=True)}


ALONE = World()


def join_world(device: str = "cpu") -> World:
    """The world that torchrun's environment describes (ALONE without it): nccl between GPUs; gloo between CPUs, and for the few
    numbers that a GPU run keeps there (losses, visits, whether to stop)."""
    size = os.environ.get("WORLD_SIZE", "1")
    if not size.isdecimal() or int(size) <= 1:
        return ALONE
    if "RANK" not in os.environ or "MASTER_ADDR" not in os.environ:
        raise InputError(f"WORLD_SIZE is {size}, but RANK or MASTER_ADDR is not set: start several processes with torchrun.")
    # Its functions have the group as a default from the moment it is imported, as training does somewhere: imported after the group began,
    # it would keep it, and the group's threads abort a process that ends before them.
    importlib.import_module("torch.distributed.nn.functional")
    if not dist.is_initialized():
        dist.init_process_group("cpu:gloo,cuda:nccl" if device.startswith("cuda") else "gloo")
    return World(dist.get_rank(), dist.get_world_size())


def leave_world() -> None:
    """End what `join_world` began."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()
