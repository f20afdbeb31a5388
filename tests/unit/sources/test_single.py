"""One example a class: the learner that answers best on classes of the sources is saved, which need not be the usual one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fewtune.adaptation.adapt import adapt_examples
from fewtune.adaptation.outcome import Outcome
from fewtune.adaptation.settings import AdaptSettings
from fewtune.backbones.load import load_backbone
from fewtune.data.examples import TEST, TRAIN, Examples, make_examples
from fewtune.data.items import Vectors
from fewtune.machine import Machine
from fewtune.recipes import read_method
from fewtune.sides.job import Workplace
from fewtune.sources.settings import SourceSettings
from fewtune.sources.single import BestLearner

COSINE, DISTANCE = "centroid", "centroid(metric='euclidean')"


def rings(classes: int, rows: int, *, apart: bool, name: str, seed: int) -> Examples:
    """Classes along one direction that differ in length, which a cosine cannot see; or, with `apart`, in direction alone."""
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), rows)
    along = np.abs(random.normal(size=(classes if apart else 1, 8)))
    lengths = random.uniform(100, 900, len(labels)) if apart else 100.0 * (1 + labels)
    x = (along / np.linalg.norm(along, axis=1, keepdims=True))[labels if apart else 0] * lengths[:, None]
    x += random.normal(scale=1.0, size=x.shape)
    split = np.where(np.arange(len(labels)) % rows, TEST, TRAIN) if name == "target" else None
    return make_examples(Vectors(x.astype("float32")), [f"{name}{k}" for k in labels], name=name, row_split=split)


def saved(*, apart: bool, single: bool, cache: Path, visits: int = 32, methods: tuple[str, ...] = (COSINE, DISTANCE)) -> Outcome:
    target = rings(5, 21, apart=apart, name="target", seed=1)
    if not single:
        target = make_examples(target.items, [target.class_names[k] for k in target.labels], name="target")
    return adapt_examples(
        target,
        load_backbone("mlp,inputs=8,width=32,depth=1", machine=Machine(device="cpu")),
        sources=[rings(10, 12, apart=apart, name="more", seed=2)],
        settings=AdaptSettings(
            sources=SourceSettings(visits=visits, rates=(0.01,), candidates=4), minutes=float("inf"), finetune="sources"
        ),
        methods={name: read_method(name) for name in methods},
        at=Workplace(cache=cache, quiet=True),
    )


@pytest.mark.parametrize(("apart", "best"), [(False, DISTANCE), (True, COSINE)])
def test_the_learner_is_the_one_that_classes_of_the_sources_like_best(apart: bool, best: str, tmp_path: Path) -> None:
    made = saved(apart=apart, single=True, cache=tmp_path)
    assert made.sources is not None and made.sources.best is not None and not made.finetuned
    assert made.choice.name == best and read_method(made.bundle.method) == read_method(best)
    assert made.measured is not None and made.measured.mean > 0.9
    accuracy = made.sources.best.accuracy
    assert accuracy(best) > 0.9 and (apart or accuracy(COSINE) < 0.5)
    said = [s for s in made.details if "one example each" in s]
    assert len(said) == 1 and ("the usual learner, centroid (" in said[0]) == (best != COSINE)
    assert "right on 10 classes of 1 other data set" in said[0]


def test_another_is_taken_only_where_it_is_clearly_better() -> None:
    """The highest mean is not enough where it comes from one class of five."""
    usual = np.array([0.5, 0.4, 0.3, 0.2, 0.1])
    clear, more, chance = (usual + np.array(gains) for gains in ([0.1] * 4 + [0.2], [0.3] * 4 + [0.4], [0.9, -0.1, 0.0, 0.0, 0.0]))
    assert chance.mean() > clear.mean()
    assert BestLearner({"a": chance, "usual": usual, "b": clear}, "usual", 2).name == "b"
    assert BestLearner({"a": clear, "usual": usual, "b": more}, "usual", 2).name == "b"
    assert BestLearner({"a": chance, "usual": usual}, "usual", 2).name == "usual"
    assert BestLearner({"a": usual + np.array([0.01] * 4 + [0.9]), "usual": usual}, "usual", 2).name == "usual"  # all from one class
    assert BestLearner({"a": usual, "usual": usual}, "usual", 2).name == "usual"
    assert BestLearner({"a": more[:4], "usual": usual[:4]}, "usual", 2).name == "usual"  # four classes are too few
    said = BestLearner({"centroid": usual, "ridge": more}, "centroid", 2).said
    assert said.endswith(
        "ridge had 62.0% right on 5 classes of 2 other data sets, more than the usual learner, centroid (30.0%), so it was taken."
    )
    assert BestLearner({"centroid": usual}, "centroid", 1).said.endswith("other data set, and no other learner had clearly more.")


def test_nothing_is_asked_where_the_target_can_say_it_or_one_learner_is_named(tmp_path: Path) -> None:
    several, alone = saved(apart=False, single=False, cache=tmp_path), saved(apart=False, single=True, cache=tmp_path, methods=(COSINE,))
    for made in (several, alone):
        assert made.sources is not None and made.sources.best is None and not any("one example each" in s for s in made.details)
    assert alone.choice.name == COSINE
