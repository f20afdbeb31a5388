"""Families of regression tasks by their name, as `fewtune compare` takes them: tasks to learn from, new ones, and a network that suits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from fewtune.data.examples import Examples
from fewtune.errors import unknown
from fewtune.studies.latent import LatentTasks, rows
from fewtune.studies.sinusoid import TEST, TRAIN, waves

NAMES = ("sinusoid", "latent")


@final
@dataclass(frozen=True, eq=False)
class Family:
    """`source`: tasks to learn from; `target`: others, to draw episodes from; `backbone`: the name of the usual network."""

    source: Examples
    target: Examples
    backbone: str


def family(name: str) -> Family:
    """`sinusoid`: y = a sin(x - p) (5,000 tasks of 40 points, 600 new ones; two layers of 40). `latent`: linear tasks in two dimensions,
    half of them steep, with noise of deviation 1 (2,000 tasks of 100 rows, 300 new ones; a linear model). Raises InputError for another
    name.
    """
    if name == "sinusoid":
        return Family(waves("train", *TRAIN, seed=0), waves("test", *TEST, seed=2), "mlp,inputs=1,width=40,depth=2")
    if name == "latent":
        model = LatentTasks()
        return Family(rows(model, "train", 2000, 100, seed=0), rows(model, "test", 300, 100, seed=1), "precomputed")
    raise unknown("family of tasks", name, NAMES)
