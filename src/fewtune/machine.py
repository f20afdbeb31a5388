"""What a run runs on: recorded with every result, never hashed, and never allowed to change one beyond a stated tolerance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, final

from fewtune.errors import InputError
from fewtune.words import option

Precision: TypeAlias = Literal["float32", "bfloat16", "float16"]

_CPU = option("--device cpu", 'Machine(device="cpu")')


@final
@dataclass(frozen=True, kw_only=True)
class Machine:
    """Where and how tensors are computed.

    `device`: "auto" (CUDA if there is one, else the CPU), "cpu", "cuda", "cuda:1".
    `dtype`: "auto" (bfloat16 autocast on CUDA, float32 on the CPU) or a precision; weights stay float32, autocast does the rest.
    `chunk`: rows in one forward pass. `workers`: decoding threads, 0 = as many as there are cores.
    `channels_last`: memory layout of images (faster convolutions). `compile`: torch.compile the forward pass.
    `accumulate`: in how many parts a training step's episodes are answered, one after another (their gradients are summed); 0: in as many
    as keep the activations of each part within 1 GiB, on a GPU within half of its memory.
    `recompute`: while training, keep the activations of one pass alone and compute the others again for the gradient (about a third more
    time); None: only where rows that are embedded together would keep more than that.
    `together`: episodes with weights of their own that are computed at once where they can be; 0: all on vectors, 8 on a GPU, one after
    another for images and texts on the CPU, where that is faster.
    `table`: what `compare` keeps the features in: float32, or bfloat16, which halves the memory that episodes read and rounds each number
    to 8 bits (by 2^-9 of it at most). This counts for the results.
    `fast`: label episodes by compiled kernels (the extra `fast`), which round otherwise; None: where they are installed and a batch has
    100,000 queries or more.
    """

    device: str = "auto"
    dtype: Precision | Literal["auto"] = "auto"
    chunk: int = 64
    workers: int = 0
    channels_last: bool = True
    compile: bool = False
    accumulate: int = 0
    recompute: bool | None = None
    together: int = 0
    table: Literal["float32", "bfloat16"] = "float32"
    fast: bool | None = None

    def __post_init__(self) -> None:
        if self.chunk < 1 or self.workers < 0:
            raise InputError(f"chunk must be at least 1 and workers at least 0, found {self.chunk} and {self.workers}.")
        if self.accumulate < 0 or self.together < 0:
            raise InputError(f"accumulate and together are at least 0, found {self.accumulate} and {self.together}.")
        if self.dtype not in ("auto", "float32", "bfloat16", "float16"):
            raise InputError(f"unknown dtype {self.dtype!r}: expected auto, float32, bfloat16 or float16.")
        if self.table not in ("float32", "bfloat16"):
            raise InputError(f"a table of features is float32 or bfloat16, found {self.table!r}.")

    def resolved(self) -> Machine:
        """The same machine with its device, precision and threads replaced by what is there; refuses a device that is not.

        `accumulate`, `recompute`, `together` and `fast` are decided later where they are not given.
        """
        import os

        import torch

        device = self.device
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        try:
            kind = torch.device(device).type
        except RuntimeError:
            raise InputError(f"unknown device {device!r}: expected auto, cpu, cuda or cuda:N.") from None
        if kind == "cuda" and not torch.cuda.is_available():
            raise InputError(f"device {device!r} was asked for, but this torch sees no CUDA device: use {_CPU}.")
        if device == "cuda" and (local := os.environ.get("LOCAL_RANK", "")).isdecimal():
            device = f"cuda:{int(local) % torch.cuda.device_count()}"  # torchrun starts one process a GPU
        dtype: Precision = ("bfloat16" if kind == "cuda" else "float32") if self.dtype == "auto" else self.dtype
        return Machine(
            device=device,
            dtype=dtype,
            chunk=self.chunk,
            workers=self.workers or len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else self.workers or 1,
            channels_last=self.channels_last,
            compile=self.compile,
            accumulate=self.accumulate,
            recompute=self.recompute,
            together=self.together,
            table=self.table,
            fast=self.fast,
        )
