"""A study: methods x protocols x seeds on one target and backbone, every method on the same episodes. A bench: several of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeAlias, final

import numpy as np
from torch import Tensor

from fewtune.backbones.backbone import Backbone
from fewtune.data.row_space import RowSpace
from fewtune.errors import unknown
from fewtune.evaluation.facts import array_digest, backbone_fact, space_facts
from fewtune.evaluation.protocol import Protocol
from fewtune.evaluation.task_choice import Reserved
from fewtune.evaluation.training_settings import Training
from fewtune.learning.method import Method
from fewtune.learning.scaled import scaled
from fewtune.spec import text
from fewtune.statistics.metrics import METRICS, Metric
from fewtune.tasks.episodes import Episodes
from fewtune.version import __version__

Drawn: TypeAlias = dict[tuple[int, int], Episodes]
Variants: TypeAlias = Mapping[str, Method]  # a method as it is, under "", and as the values of a sweep make it, by what was varied
DEFAULTS = ""
ACCURACY = "accuracy"
EPISODE_METRICS = (ACCURACY, "balanced_accuracy", "macro_f1", "matthews", "mcc", "auc", "average_precision")
"""What episodes are judged by; "matthews" is the long name of "mcc"."""


def episode_metric(name: str) -> str:
    """A metric of episodes by its name. Raises InputError for another."""
    if name not in EPISODE_METRICS:
        raise unknown("metric of episodes", name, EPISODE_METRICS)
    return "mcc" if name == "matthews" else name


@final
@dataclass(frozen=True, eq=False)
class Study:
    """What is compared. `methods` by the name they are shown under, each with the backbone's own temperature where it leaves it open;
    `features` [N, D] are the target's rows through the backbone.

    `source`: what methods that learn may learn from, a row space apart: training never sees the target, so a trained model serves any of
    them. `training`: how such methods are treated. `reserved`: what methods that choose their tasks may know of the target. `beside`:
    by the name of a control, the method that it stands beside, and whose value of a sweep it takes (see `controls`). `given`: episodes that
    are not drawn but were saved before. `metric`: what each episode is judged by, one of `EPISODE_METRICS`.
    """

    target: RowSpace
    backbone: Backbone
    features: Tensor
    protocols: tuple[Protocol, ...]
    methods: Mapping[str, Variants]
    source: RowSpace | None = None
    training: Training = field(default_factory=Training)
    reserved: Reserved | None = None
    beside: Mapping[str, str] = field(default_factory=dict)
    given: Drawn = field(default_factory=dict)
    metric: str = ACCURACY

    def __post_init__(self) -> None:
        methods = {name: {label: scaled(m, self.backbone) for label, m in found.items()} for name, found in self.methods.items()}
        object.__setattr__(self, "methods", methods)

    @property
    def trains(self) -> bool:
        """Whether some method learns, or moves weights on test episodes."""
        return any(not m.frozen for variants in self.methods.values() for m in variants.values())

    def text(self) -> str:
        """All that the results depend on, one fact a line: what is hashed and kept as `study.txt`.

        The version of fewtune is among it, those of other libraries are not: they are kept in `machine.json`. Of `features` the type
        counts, because their values follow from the target and the backbone, up to rounding.
        """
        return self.alone(self.methods, self.training)

    def alone(self, methods: Mapping[str, Variants], training: Training) -> str:
        """The same for some of the methods and other settings of the training."""
        found = [f"method {name!r} {label!r} {text(m)}" for name, variants in methods.items() for label, m in variants.items()]
        learned = any(not m.frozen for variants in methods.values() for m in variants.values())
        trained = [f"training {text(training)}", *self.learned_from()] if learned else []
        if self.reserved is not None:
            trained.append(f"reserved {array_digest(self.reserved.rows)} {array_digest(self.reserved.labels)}")
        found += [f"control {name!r} of {other!r}" for name, other in self.beside.items() if name in methods or methods is self.methods]
        return "\n".join([*self._facts, *trained, *found])

    @cached_property
    def _facts(self) -> list[str]:
        """What does not depend on the methods, one fact a line."""
        features = f"features {self.features.dtype} {self.features.shape[-1]}"
        drawn = [f"protocol {text(p)}" for p in self.protocols]
        drawn += [f"episodes {setting} {seed} {episodes.digest()}" for (setting, seed), episodes in self.given.items()]
        drawn += self.metric_facts
        return [f"fewtune {__version__}", backbone_fact(self.backbone), *space_facts(self.target, "target"), features, *drawn]

    @property
    def metric_facts(self) -> list[str]:
        """What episodes are judged by, where it is not accuracy."""
        return [] if self.metric == ACCURACY else [f"metric {self.metric}"]

    def learned_from(self) -> list[str]:
        """What source phases learn from, one fact a line."""
        return [] if self.source is None else space_facts(self.source, "source")

    @property
    def judged(self) -> Metric | None:
        """The metric that is measured instead of accuracy; None where it is accuracy."""
        return None if self.metric == ACCURACY else METRICS[self.metric]

    def draw(self) -> Drawn:
        """The episodes by (protocol number, seed)."""
        return self._drawn

    @cached_property
    def _drawn(self) -> Drawn:
        if self.given:
            return dict(self.given)
        return {(i, seed): e for i, p in enumerate(self.protocols) for seed, e in p.draw(self.target, self.features).items()}

    def left_out(self) -> tuple[str, ...]:
        """What of the target no episode is drawn from, a sentence for each setting that it holds for, or for all."""
        each = [protocol.left_out(self.target) for protocol in self.protocols]
        if len(set(each)) == 1:
            every = f", in every setting ({', '.join(p.shots for p in self.protocols)} shots)" if len(each) > 1 else ""
            return tuple(f"Test episodes: {sentence}{every}." for sentence in each[0])
        return tuple(
            f"Test episodes of {protocol.ways} ways and {protocol.shots} shots: {sentence}."
            for protocol, said in zip(self.protocols, each, strict=True)
            for sentence in said
        )

    def task_names(self, protocol: int) -> np.ndarray[Any, Any]:
        """The names of the tasks that a protocol draws from, by their numbers."""
        return np.array(self.protocols[protocol].tasks(self.target).names, dtype=object)


@final
@dataclass(frozen=True, eq=False)
class Bench:
    """Studies of the same methods: on several targets, through several backbones. `targets` and `backbones`: the names of each study's.

    Settings are counted through: those of the first study, then those of the second, ...
    """

    studies: tuple[Study, ...]
    targets: tuple[str, ...]
    backbones: tuple[str, ...]

    @classmethod
    def of(cls, *studies: Study) -> Bench:
        """A bench whose targets and backbones have their own names; targets that share one are numbered."""
        spaces = list({id(s.target): s.target for s in studies}.values())
        plain = [" + ".join(source.name for source in space.sources) for space in spaces]
        names = [name if plain.count(name) == 1 else f"{name} {plain[: i + 1].count(name)}" for i, name in enumerate(plain)]
        by_space = {id(space): name for space, name in zip(spaces, names, strict=True)}
        return cls(studies, tuple(by_space[id(s.target)] for s in studies), tuple(s.backbone.name for s in studies))

    @property
    def trains(self) -> bool:
        """Whether some method learns, or moves weights on test episodes."""
        return any(study.trains for study in self.studies)

    @property
    def methods(self) -> Mapping[str, Variants]:
        """The methods, the same in every study."""
        return self.studies[0].methods

    def text(self) -> str:
        """All that the results depend on: the texts of the studies, one after the other."""
        return "\n\n".join(study.text() for study in self.studies)

    @property
    def caption(self) -> str:
        """What is compared on what, in a line."""
        first = self.studies[0].protocols[0]
        part = "all classes" if first.classes == "all" else f"{first.classes} classes"
        where = ", within groups" if first.within == "group" else ""
        queries = getattr(first.sampler, "queries", None)
        asked = f", {queries} queries a class" if queries else ""
        return f"{', '.join(dict.fromkeys(self.targets))}, {part}{where}{asked}, {', '.join(dict.fromkeys(self.backbones))}"

    @property
    def settings(self) -> tuple[tuple[int, int, str, str], ...]:
        """(study, protocol, ways, shots) of every setting, in order."""
        return tuple((s, p, one.ways, one.shots) for s, study in enumerate(self.studies) for p, one in enumerate(study.protocols))

    def setting(self, study: int, protocol: int) -> int:
        """The number of a study's setting among those of all."""
        return sum(len(one.protocols) for one in self.studies[:study]) + protocol

    def task_names(self) -> dict[tuple[int, int], np.ndarray[Any, Any]]:
        """The names of the tasks of each episode, by (setting, seed)."""
        each = ((number, study, place, e) for number, study in enumerate(self.studies) for place, e in study.draw().items())
        return {(self.setting(n, place[0]), place[1]): study.task_names(place[0])[e.task.numpy()] for n, study, place, e in each}

    def draw(self) -> Drawn:
        """The episodes by (setting, seed)."""
        drawn = ((number, study.draw()) for number, study in enumerate(self.studies))
        return {(self.setting(number, protocol), seed): e for number, found in drawn for (protocol, seed), e in found.items()}
