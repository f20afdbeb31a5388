"""TorchJd: weightings of the library TorchJD (extra `torchjd`), by their names there."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any, ClassVar, final

import torch
from torch import Tensor

from fewtune.errors import InputError
from fewtune.parts.aggregators.aggregator import Form, Needs, Scale, Seen, State, check_reading, nothing_kept


@final
@dataclass(frozen=True, kw_only=True)
class TorchJd:
    """The weights that `torchjd.aggregation.NAMEWeighting()` gives for the Gram matrix, with its own settings: "UPGrad", "DualProj", ...

    Random ones draw from the step's key, but by the order of the tasks. Raises InputError where the library is not installed, has no such
    weighting, or where the weighting keeps a state of its own, which checkpoints could not hold. Some need more libraries (cvxpy,
    quadprog). One task alone weighs what the library says with `scale="own"` (a declared exception to the axis' law).

    Reference: Quinton, Rey, "Jacobian descent for multi-objective optimization", 2024; https://torchjd.org.
    """

    name: str = "UPGrad"
    scale: Scale = "mean"
    gram: Form = "exact"
    every: int = 1

    needs: ClassVar[Needs] = "gram"
    constant: ClassVar[bool] = False

    begin = nothing_kept

    def __post_init__(self) -> None:
        check_reading(self)

    def weigh(self, seen: Seen, state: State) -> tuple[Tensor, State]:
        weighting = self._weighting()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seen.key.child("torchjd").value >> 1)
            found: Tensor = weighting(seen.inner)
        return found.double(), state

    def _weighting(self) -> Any:
        try:
            library = importlib.import_module("torchjd")
            there = importlib.import_module("torchjd.aggregation")
        except ImportError as problem:
            raise InputError("TorchJd needs the library torchjd, which is not installed: pip install 'fewtune[torchjd]'.") from problem
        kind = getattr(there, f"{self.name}Weighting", None)
        names = sorted(n.removesuffix("Weighting") for n in there.__all__ if n.endswith("Weighting") and n != "Weighting")
        if kind is None:
            raise InputError(f"TorchJD has no weighting of a Gram matrix named {self.name!r}: expected one of {', '.join(names)}.")
        try:
            made = kind()
        except (TypeError, ImportError) as problem:
            raise InputError(f"TorchJD's {self.name} cannot be made without settings or more libraries: {problem}") from problem
        if isinstance(made, library.Stateful):
            raise InputError(f"TorchJD's {self.name} keeps a state of its own, which checkpoints cannot hold: choose another.")
        return made
