"""Several starts of one network, by the words of `--start`: pretrained, random, run:FOLDER, step:K."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from fewtune.backbones.places import RUN, made_in, run_and_step, steps_in
from fewtune.backbones.providers.names import SMALL
from fewtune.errors import InputError, unknown
from fewtune.words import option

STEP = "step:"
WORDS = ("pretrained", "random", "run:FOLDER", "step:NUMBER", "step:all")

Start: TypeAlias = tuple[str, Path | None]  # the name of a backbone, and the weights that were given with it


def starts_of(backbone: str | None, starts: Sequence[str], weights: Path | None = None) -> list[Start]:
    """The backbones that `starts` stand for, in order.

    `pretrained`: `backbone` (None: the usual one) with its own weights, or the given ones; of a `run:FOLDER` what it ended with. `random`:
    the same network with random weights. `run:FOLDER` and `run:FOLDER,step=N`: what a run made, of whatever network. `step:K`: checkpoint K
    of the pretraining run among the starts, or of the backbone if that is one; `step:all`: every checkpoint. Raises InputError for other
    words, and for starts that the backbone does not have.
    """
    name = backbone or "small"
    found: list[Start] = []
    for word in starts:
        if word == "pretrained":
            found.append((_pretrained(name, weights), weights))
        elif word == "random":
            found.append((_random(name), None))
        elif word.startswith(RUN):
            found.append((word, None))
        elif word.startswith(STEP):
            run = _run(name, starts)
            found += [(f"{RUN}{run},step={step}", None) for step in _steps(run, word)]
        else:
            raise unknown("start", word, WORDS)
    if twin := next((one for one in found if found.count(one) > 1), None):
        raise InputError(f"the start {twin[0]} is given twice: give each once.")
    return found


def _pretrained(name: str, weights: Path | None) -> str:
    head, *options = name.split(",")
    if weights is None and (head in SMALL or "pretrained=false" in options):
        raise InputError(
            f"{name} begins at random, so it has no pretrained start: give {option('--weights FILE')}, or leave pretrained out."
        )
    return name


def _random(name: str) -> str:
    head, *options = name.split(",")
    if name.startswith(RUN):
        raise InputError(f"{name} is a run, which does not keep random weights: for the start random, name its network as the backbone.")
    if head in ("pixels", "precomputed"):
        raise InputError(f"{head} has no weights, so it has no random start: leave random out.")
    if head.startswith("pair:"):
        raise InputError("a pair has no random start as a whole: give its towers with pretrained=false.")
    if head in SMALL or "pretrained=false" in options:
        return name
    return ",".join([head, *(one for one in options if not one.startswith("pretrained=")), "pretrained=false"])


def _run(name: str, starts: Sequence[str]) -> Path:
    """The one pretraining run that step:K speaks of."""
    runs = {found[0] for found in (run_and_step(one) for one in (name, *starts)) if found is not None}
    if len(runs) != 1:
        said = "there is none" if not runs else f"there are {len(runs)}"
        raise InputError(f"step:K is a checkpoint of one pretraining run, but {said}: add run:FOLDER, or give run:FOLDER,step=K for each.")
    return runs.pop()


def _steps(run: Path, word: str) -> list[int]:
    step = word.removeprefix(STEP)
    if step == "all":
        if not (steps := steps_in(run)):
            raise InputError(f"{run} keeps no checkpoints: step:all needs a pretraining run that keeps some.")
        return steps
    if not step.isdecimal():
        raise InputError(f"{word}: expected the number of a step, or all, after step:.")
    made_in(run, int(step))  # a step that it does not keep is an error here
    return [int(step)]
