"""The runs that are compared, as weights: where each began, where it ended, and the head that answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

import torch
from torch import Tensor

from fewtune.backbones.backbone import Backbone
from fewtune.backbones.places import RUN, made_in, run_and_step, steps_in
from fewtune.errors import InputError
from fewtune.models.bundle import Bundle, load_bundle
from fewtune.models.finetuned_weights import Members
from fewtune.models.named_backbone import load_backbone
from fewtune.models.predict import Running
from fewtune.models.record import is_joint
from fewtune.transfer.landscape import check_alike

HEAD = "head of the saved model/"
"""Before the names of a saved head's tensors, which stand beside the backbone's weights."""


@final
@dataclass(frozen=True, eq=False)
class Solution:
    """One run. `end`: its weights and, where it has a saved model, the tensors of its head under `HEAD`. `start`: the weights that it began
    with, None where they are not known; `began`: what that was, in words. `bundle`: the saved model, None for a pretraining run or a
    checkpoint.
    """

    name: str
    backbone: Backbone
    end: Mapping[str, Tensor]
    start: Mapping[str, Tensor] | None
    bundle: Bundle | None = None
    began: str = "the backbone as it came"

    @property
    def moved(self) -> bool:
        """Whether a weight of the backbone differs from its start."""
        return self.start is not None and any(not torch.equal(t, self.end[n]) for n, t in self.start.items())


def read_solution(given: str, running: Running) -> Solution:
    """A run by its folder, or `run:FOLDER` with `,step=N` for a checkpoint.

    Raises InputError for folders that hold no run, for models of label columns and for ensembles.
    """
    found = run_and_step(given if given.startswith(RUN) else f"{RUN}{given}")
    assert found is not None
    folder, step = found
    if made_in(folder, step) is not None:
        return _pretrained(folder, step, running)
    if not folder.is_dir():
        raise InputError(f"{folder} does not exist: expected the folder of a run of `fewtune adapt` or `fewtune pretrain`.")
    if is_joint(folder):
        raise InputError(f"{folder} is a model of label columns, whose networks are not compared here: give runs of one column of classes.")
    bundle = load_bundle(folder)
    if isinstance(bundle.moved, Members):
        raise InputError(f"{folder} is an ensemble of several backbones, not one: give a run that has a single backbone.")
    backbone = running.load(bundle)
    start = (backbone.origin or backbone).start()
    head = {f"{HEAD}{n}": t for n, t in bundle.state.items()}
    return Solution(folder.resolve().name, backbone, {**backbone.start(), **head}, start, bundle)


def _pretrained(folder: Path, step: int | None, running: Running) -> Solution:
    """A backbone of a pretraining run; it began at the first checkpoint that the run keeps, if that is another one."""
    name = f"{RUN}{folder}"
    end = load_backbone(name if step is None else f"{name},step={step}", machine=running.machine)
    kept = steps_in(folder)
    start = None
    if kept and kept[0] != step:
        start = load_backbone(f"{name},step={kept[0]}", machine=running.machine).start()
    title = f"{folder.resolve().name}{'' if step is None else f' step {step}'}"
    return Solution(title, end, end.start(), start, began=f"the checkpoint of step {kept[0]}" if kept else "")


def check_together(solutions: list[Solution]) -> list[Solution]:
    """The runs with names of their own. Raises InputError for other architectures, classes or kinds of heads, and where one run alone has
    nothing to be compared with.
    """
    first = solutions[0]
    if len(solutions) == 1 and first.start is None:
        raise InputError(f"{first.name} keeps one checkpoint only, so there is nothing to compare it with: give another run or checkpoint.")
    if len(solutions) == 1 and not first.moved:
        raise InputError(f"nothing moved in the backbone of {first.name}, so there is nothing to compare: give a second run.")
    for other in solutions[1:]:
        if _heads_differ(first.bundle, other.bundle):
            raise InputError(
                f"{first.name} and {other.name} have different heads (other classes or another method): give runs of one method on the "
                "same classes, or --probe for a new head that is fitted to your data at each point."
            )
        try:
            check_alike(first.end, other.end)
        except InputError as problem:
            raise InputError(f"{first.name} and {other.name}: {problem}") from None
    names = [one.name for one in solutions]
    return [replace(one, name=one.name if names.count(one.name) == 1 else f"{one.name} ({i + 1})") for i, one in enumerate(solutions)]


def _heads_differ(one: Bundle | None, two: Bundle | None) -> bool:
    return one is not None and two is not None and (one.class_names, one.method) != (two.class_names, two.method)


def without_heads(solutions: list[Solution]) -> list[Solution]:
    """The same runs as backbones alone."""
    return [replace(one, end={n: t for n, t in one.end.items() if not n.startswith(HEAD)}, bundle=None) for one in solutions]
