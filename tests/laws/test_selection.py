"""Laws of every selection and score, and what the theory says of them on the linear model with latent classes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from fewtune.backbones.backbone import Backbone
from fewtune.data.examples import make_examples
from fewtune.data.items import Vectors
from fewtune.data.row_space import RowSpace
from fewtune.keys import key
from fewtune.learning.declared import begin
from fewtune.learning.engine import respond
from fewtune.learning.ground import Ground
from fewtune.learning.train import train
from fewtune.machine import Machine
from fewtune.recipes import read_method
from fewtune.recipes.language import WORDS
from fewtune.spec import parse, text
from fewtune.tasks.chosen import SELECTIONS, Again, AsMany, Named, Selection
from fewtune.tasks.samplers import Sampled
from fewtune.tasks.selection import (
    CHOICES,
    SCORES,
    ConsistencyDiversity,
    Evidence,
    GradientAffinity,
    GradientRow,
    HScore,
    Leep,
    Less,
    LogMe,
    MeanCosine,
    NearestClasses,
    Ranked,
    RoundRobin,
    Score,
    TagAffinity,
    all_tasks,
    no_diversity,
    random_tasks,
)
from fewtune.tasks.task import Tasks, class_rows, group_tasks
from tests.laws.grounds import Doubles
from tests.laws.latent import Latent, planted, sign_classes

SCORE_CASES = [
    MeanCosine(),
    NearestClasses(),
    Leep(),
    Leep(temperature=3),
    LogMe(),
    HScore(),
    HScore(shrunk=False),
    GradientAffinity(),
    TagAffinity(),
    TagAffinity(rate=1.0),
    Less(),
    Less(temperature=3.0),
]
CASES = [
    Named(names=("family 0/1", "family 2/0")),
    AsMany(selection=RoundRobin(most=5), seed=2),
    AsMany(selection=ConsistencyDiversity()),
    Again(selection=Ranked(score=LogMe(), most=4)),
    *(make() for make in CHOICES.values()),
    ConsistencyDiversity(mode="skip", p=0.01),
    ConsistencyDiversity(mode="skip", order="random", seed=3, most=5),
    ConsistencyDiversity(p=-0.5, most=4),
    *(Ranked(score=score, most=6) for score in SCORE_CASES),
    RoundRobin(most=5),
    RoundRobin(rows=GradientRow(), most=5),
]
MODEL = Latent(half=1.0, noise=0.5)


@pytest.fixture(scope="module")
def ground() -> tuple[Tasks, Evidence]:
    """12 candidates of four families, renamed so that each can be found in another order."""
    tasks, evidence, _ = planted(replace(MODEL, coordinates=3, width=20), 0, tasks=3, shots=3, rows=4)
    seen: dict[str, int] = {}
    names = []
    for name in tasks.names:
        family = name.split("/")[0]
        seen[family] = seen.get(family, -1) + 1
        names.append(f"{family}/{seen[family]}")
    return replace(tasks, names=tuple(names)), evidence


def test_every_selection_and_score_is_covered() -> None:
    assert {type(case) for case in CASES} == set(SELECTIONS)
    assert {type(case) for case in SCORE_CASES} == set(SCORES)


@pytest.mark.parametrize("selection", CASES, ids=text)
class TestEverySelection:
    def test_it_is_some_of_the_tasks_and_the_same_again(self, ground: tuple[Tasks, Evidence], selection: Selection) -> None:
        tasks, evidence = ground
        chosen = selection.select(tasks, evidence)
        assert set(chosen.names) <= set(tasks.names) and len(set(chosen.names)) == len(chosen) > 0
        for name, number, task in zip(chosen.names, chosen.ids.tolist(), chosen, strict=True):
            assert tasks.names[number] == name and task.classes.tolist() == tasks[number].classes.tolist()
        assert selection.select(tasks, evidence).names == chosen.names

    def test_the_order_of_candidates_is_irrelevant(self, ground: tuple[Tasks, Evidence], selection: Selection) -> None:
        tasks, evidence = ground
        turned = tasks.take(np.random.default_rng(1).permutation(len(tasks)))
        mine, theirs = selection.select(tasks, evidence).names, selection.select(turned, evidence).names
        if selection == all_tasks():  # in the order given
            mine, theirs = tuple(sorted(mine)), tuple(sorted(theirs))
        assert mine == theirs

    def test_the_unit_of_features_is_irrelevant(self, ground: tuple[Tasks, Evidence], selection: Selection) -> None:
        tasks, evidence = ground
        for scale in (2.0**-9, 2.0**12):
            assert selection.select(tasks, scaled(evidence, scale)).names == selection.select(tasks, evidence).names

    def test_text_reads_back(self, ground: tuple[Tasks, Evidence], selection: Selection) -> None:  # noqa: ARG002
        assert parse(text(selection), WORDS) == selection


@pytest.mark.parametrize("score", SCORE_CASES, ids=text)
class TestEveryScore:
    def test_a_candidate_is_scored_for_itself(self, ground: tuple[Tasks, Evidence], score: Score) -> None:
        tasks, evidence = ground
        whole = score.score(tasks, evidence)
        assert whole.shape == (len(tasks),) and whole.dtype == np.float64 and np.isfinite(whole).all()
        assert score.score(tasks.take([7, 2]), evidence) == pytest.approx(whole[[7, 2]], rel=1e-9, abs=1e-12)

    def test_the_order_of_the_support_is_irrelevant(self, ground: tuple[Tasks, Evidence], score: Score) -> None:
        tasks, evidence = ground
        turned = torch.from_numpy(np.random.default_rng(0).permutation(len(evidence.target)))
        other = Evidence(evidence.features, evidence.target[turned], 7 - evidence.target_label[turned])
        assert score.score(tasks, other) == pytest.approx(score.score(tasks, evidence), rel=1e-7, abs=1e-10)

    def test_text_reads_back(self, score: Score) -> None:
        assert parse(text(score), WORDS) == score


def scaled(evidence: Evidence, scale: float) -> Evidence:
    return Evidence(lambda rows: evidence.features(rows) * scale, evidence.target * scale, evidence.target_label)


def test_as_many_random_tasks_are_a_draw_of_the_number_that_was_chosen(ground: tuple[Tasks, Evidence]) -> None:
    tasks, evidence = ground
    draws = [AsMany(selection=no_diversity(most=4), seed=seed).select(tasks, evidence).names for seed in range(40)]
    assert {len(names) for names in draws} == {4} and len(set(draws)) > 30
    assert {name for names in draws for name in names} == set(tasks.names)
    assert draws[7] == random_tasks(most=4, seed=7).select(tasks).names
    many = ConsistencyDiversity(mode="skip", p=-0.5)
    assert len(AsMany(selection=many).select(tasks, evidence)) == len(many.select(tasks, evidence)) > 4


def test_all_are_the_same_tasks(ground: tuple[Tasks, Evidence]) -> None:
    tasks, _ = ground
    chosen = all_tasks().select(tasks)
    assert chosen.names == tasks.names and np.array_equal(chosen.slots, tasks.slots) and np.array_equal(chosen.bounds, tasks.bounds)


def test_choices_are_words_of_a_method() -> None:
    method = read_method("Method(phases=(Phase(sampler=Chosen(sampler=Sampled(), selection=no_diversity(most=20)), learner=Centroid(), "
                         "plan=everything(0.1), steps=1),), learner=Centroid())")  # fmt: skip
    assert "ConsistencyDiversity(p=0.0, mode='stop', order='similarity', diversity=False, most=20, seed=0)" in text(method)


@pytest.mark.parametrize(("mode", "precise"), [("stop", 0.95), ("skip", 0.8)])
def test_planted_related_tasks_are_found_among_distractors(mode: str, precise: float) -> None:
    """8 related tasks, one for each coordinate of the target, among 24 of three other families; 20 seeds, settings as they come.

    What it gave: recall 1.00 in both modes; precision 0.99 (stop) and 0.86 (skip, which goes on to take what covers a little more).
    """
    recall, precision = [], []
    for seed in range(20):
        tasks, evidence, related = planted(MODEL, seed, tasks=8, shots=5, rows=10)
        taken = ConsistencyDiversity(mode=mode).trace(tasks, evidence).taken  # type: ignore[arg-type]
        recall.append(related[taken].sum() / related.sum())
        precision.append(related[taken].mean())
    assert np.mean(recall) >= 0.95 and np.mean(precision) >= precise


def test_diversity_is_what_finds_the_missing_coordinates() -> None:
    """Coverage rises with every related task (noise may cost a hundredth); a task of another family takes some of it away."""
    for seed in range(5):
        tasks, evidence, related = planted(MODEL, seed, tasks=8, shots=5, rows=10)
        order = np.concatenate([np.flatnonzero(related), np.flatnonzero(~related)[:1]])
        trace = ConsistencyDiversity(order="given", p=-0.9).trace(tasks.take(order), evidence)
        gain = trace.column("gain")
        assert (gain[1:8] > -0.01).all() and (gain[1:6] > 0).all() and gain[8] < 0


WIDTH, COORDINATES, HALF, WAYS = 24, 4, 1.5, 2


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Matrices of 24 x 24 are many times slower on two threads beside other work."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def finetuned(tasks: int, samples: int, seed: int) -> tuple[float, float]:
    """(error on new classes after multitask finetuning of a linear map on `tasks` tasks of `samples` rows a class, error before)."""
    random = np.random.default_rng(seed)
    model = Latent(width=WIDTH)

    def source(name: str, classes: int, rows: int) -> tuple[str, np.ndarray[tuple[int, int], np.dtype[np.float64]], int, int]:
        centres = sign_classes(classes, random, coordinates=COORDINATES, width=WIDTH, half=HALF)
        return name, model.rows(centres, rows, random, seed), classes, rows

    made = []
    for name, x, classes, rows in (source("source", WAYS * tasks, samples), source("target", 40, 12)):
        labels = np.repeat(np.arange(classes), rows)
        groups = [f"{name} {label // WAYS}" for label in labels]
        names = [f"{name} {label}" for label in range(classes)]
        made.append(make_examples(Vectors(x.astype(np.float32)), labels, name=name, class_names=names, groups=groups))
    space = RowSpace(made)
    network = nn.Linear(WIDTH, WIDTH, bias=False, dtype=torch.float64)
    nn.init.eye_(network.weight)
    here = Machine(device="cpu", dtype="float32").resolved()
    ground = Ground(Backbone("linear", network.eval(), Doubles(), WIDTH, (("map", ("weight",)),), here, {}, "linear"), space)
    method = read_method(f"multitask(ways={WAYS}, shots=1, queries=1, steps=40, batch=8, lr=0.3)")
    first = len(made[0])
    weights = train(ground, method.phases, group_tasks(space, rows=np.arange(first)), key(seed)).weights
    asked = Sampled(ways=5, shots=1, queries=5).draw(class_rows(space, rows=np.arange(first, len(space))), key(9), 0, 100)

    def error(now: dict[str, torch.Tensor]) -> float:
        answers = respond(ground, method.learner, now, asked, key(0)).logits.argmax(dim=-1)
        return 1 - float((answers == asked.query_label).double().mean())

    return error(weights), error(begin(ground, method.phases))


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_error_falls_with_tasks_and_with_samples() -> None:
    """As in figure 3 of the paper: error on the target after multitask finetuning falls with M (tasks) and with m (samples a task).

    The same number of steps and of rows a step in all runs; only how many different tasks and rows there are differs. Means of 4 seeds,
    5-way 1-shot on new classes: M = 4, 16, 64 at m = 4 a class: .51, .43, .37; m = 2, 4, 16 at M = 16: .47, .43, .38; before: .44. So
    four tasks are worse than none (the map learns their noise), and 64 better with every seed.
    """
    seeds = range(4)
    found = {case: np.array([finetuned(*case, seed) for seed in seeds]) for case in ((4, 4), (16, 4), (64, 4), (16, 2), (16, 16))}
    mean = {case: values[:, 0].mean() for case, values in found.items()}
    assert mean[4, 4] > mean[16, 4] > mean[64, 4]
    assert mean[16, 2] > mean[16, 4] > mean[16, 16]
    assert (found[64, 4][:, 0] < found[64, 4][:, 1]).all()
    assert (found[64, 4][:, 0] < found[4, 4][:, 0]).all() and (found[16, 16][:, 0] < found[16, 2][:, 0]).all()
