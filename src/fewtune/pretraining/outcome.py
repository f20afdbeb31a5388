"""What a pretraining run ends with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from fewtune.backbones.backbone import Backbone
from fewtune.words import counted

ALIGNMENT = "alignment"  # the objective that the record of `align` names


@final
@dataclass(frozen=True, eq=False)
class Pretrained:
    """`backbone`: what was made, also to be had as `run:FOLDER`. `where`: the folder. `record`: what its pretraining.json says; see
    `sentences` for the same in words. `leads`: False in the processes of torchrun that write and say nothing."""

    backbone: Backbone
    where: Path
    record: Mapping[str, Any]
    leads: bool = True

    @property
    def curve(self) -> list[dict[str, Any]]:
        """A row for each update: `step` from 1, `loss`, `visits`, and `probe`, the accuracy in [0, 1], where it was measured."""
        return list(self.record["curve"])

    @property
    def sentences(self) -> tuple[str, ...]:
        """What was learned and how the probe changed."""
        return sentences_of(self.record)


TITLES = {"mlm": "Masked-word", "simclr": "SimCLR"}  # objectives as they begin a sentence


def sentences_of(record: Mapping[str, Any]) -> tuple[str, ...]:
    """A record in words."""
    steps, seconds = record["steps"], record["seconds"]
    looked = f"{counted(steps, 'update')} looked at {counted(record['visits'], 'row')} in {seconds:.0f} s"
    said = [f"{task_of(record)} of {record['backbone']['name']}: {looked}."]
    found = record["probe"]
    if found is not None:
        first, last = found["accuracies"][0], found["accuracies"][-1]
        said.append(
            f"The probe's accuracy went from {_percent(first)} at the start to {_percent(last)} at the end; the difference is within what "
            f"chance does to {found['rows']:,} rows."
            if first["low"] <= last["accuracy"] <= first["high"]
            else f"The probe's accuracy went from {_percent(first)} at the start to {_percent(last)} at the end."
        )
        said.append(found["told"])
    kept = record["checkpoints"]
    if kept:
        steps = ", ".join(f"{step:,}" for step in kept)
        said.append(f"Checkpoints were kept after the updates {steps}: each is a backbone, run:FOLDER,step=N.")
    return (*said, *record["remarks"])


def task_of(record: Mapping[str, Any]) -> str:
    """What a run did, such as "Supervised pretraining" or "Alignment"."""
    objective = str(record["objective"])
    return TITLES.get(objective, objective.capitalize()) + ("" if record["objective"] == ALIGNMENT else " pretraining")


def _percent(point: Mapping[str, float]) -> str:
    return f"{100 * point['accuracy']:.1f}% ({100 * point['low']:.1f} to {100 * point['high']:.1f})"
