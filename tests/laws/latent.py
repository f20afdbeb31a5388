"""The linear model with latent classes of the theory: x = Q [z; e], Q orthogonal, z in a few coordinates by class, e noise in the others.

A *family* is a context coordinate and some coordinates of its own. The two classes of a task agree in all entries of z but one:
z = context + middle +- half along that coordinate. The target asks about every coordinate of family 0; a candidate is related if it is of
family 0. Reference: Xu et al., "Towards few-shot adaptation of foundation models via multitask finetuning", ICLR 2024 (diversity: the
tasks' coordinates cover the target's; consistency: they leave it nowhere).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch

from fewtune.tasks.selection import Evidence
from fewtune.tasks.task import Tasks

Floats: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True, kw_only=True)
class Latent:
    """`families` of `coordinates` each; features of `width`; `noise` in every direction."""

    families: int = 4
    coordinates: int = 8
    width: int = 48
    context: float = 6.0
    middle: float = 4.0
    half: float = 2.0
    noise: float = 1.0

    def rotation(self, seed: int) -> Floats:
        """Q [width, width]."""
        found: Floats = np.linalg.qr(np.random.default_rng(seed).normal(size=(self.width, self.width)))[0]
        return found

    def latent(self, family: int, coordinate: int, middle: float, side: int) -> Floats:
        """z of a class, zeros where there is only noise."""
        place = family * (1 + self.coordinates)
        z = np.zeros(self.width)
        z[place] = self.context
        z[place + 1 + coordinate] = middle + side * self.half
        return z

    def rows(self, centres: Floats, count: int, random: np.random.Generator, seed: int) -> Floats:
        """`count` rows around each latent class [classes, width], in the order of the classes."""
        z = np.repeat(centres, count, axis=0)
        rows: Floats = (z + self.noise * random.normal(size=z.shape)) @ self.rotation(seed).T
        return rows

    def target(self) -> Floats:
        """The latent classes of the target: both sides of every coordinate of family 0, about its context."""
        return np.stack([self.latent(0, c, 0.0, side) for c in range(self.coordinates) for side in (-1, 1)])


def planted(model: Latent, seed: int, *, tasks: int, shots: int, rows: int) -> tuple[Tasks, Evidence, np.ndarray[Any, np.dtype[np.bool_]]]:
    """(candidates, the evidence, which are related): `tasks` of each family, one coordinate after another, in random order."""
    random = np.random.default_rng(seed)
    owner = random.permutation(np.repeat(np.arange(model.families), tasks))
    seen = [0] * model.families
    centres = []
    for family in owner.tolist():
        centres += [model.latent(family, seen[family] % model.coordinates, model.middle, side) for side in (-1, 1)]
        seen[family] += 1
    features = torch.from_numpy(model.rows(np.stack(centres), rows, random, seed))
    support = torch.from_numpy(model.rows(model.target(), shots, random, seed))
    labels = torch.arange(2 * model.coordinates).repeat_interleave(shots)
    slots = np.arange(2 * len(owner))
    names = tuple(f"family {family}/{i}" for i, family in enumerate(owner.tolist()))
    order, size = np.arange(len(features)), np.full(len(slots), rows)
    made = Tasks(order, slots * rows, size, slots, slots, np.arange(len(owner) + 1) * 2, names)
    return made, Evidence(lambda asked: features[torch.from_numpy(asked)], support, labels), owner == 0


def sign_classes(count: int, random: np.random.Generator, *, coordinates: int, width: int, half: float) -> Floats:
    """Latent classes [count, width]: `half` or -`half` in each of the first coordinates, zeros in those of the noise."""
    z = np.zeros((count, width))
    z[:, :coordinates] = half * random.choice([-1.0, 1.0], size=(count, coordinates))
    return z
