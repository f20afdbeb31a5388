"""Other labelled data: what helps is used, what does not is not, and nothing of the target leaks into the choice."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from fewtune.adaptation.adapt import adapt_examples
from fewtune.adaptation.outcome import Outcome
from fewtune.adaptation.settings import AdaptSettings
from fewtune.api.adapted import Adapted
from fewtune.backbones.backbone import Backbone
from fewtune.backbones.load import load_backbone
from fewtune.cli.source_flags import SourceFlags
from fewtune.data.examples import TEST, TRAIN, Examples, make_examples
from fewtune.data.items import Vectors
from fewtune.errors import InputError
from fewtune.learners.side import Side
from fewtune.learners.target import usable_target
from fewtune.learning.phase import Phase
from fewtune.machine import Machine
from fewtune.models.bundle import load_bundle
from fewtune.models.predict import predict_examples
from fewtune.recipes import read_method
from fewtune.report.adapted import learners_table
from fewtune.report.collect import findings_of
from fewtune.report.tables import to_terminal
from fewtune.sides.clock import Clock
from fewtune.sides.job import Job, Workplace
from fewtune.sides.route import FROZEN
from fewtune.sides.settings import OwnSettings
from fewtune.sources import planning, stages
from fewtune.sources.planning import least_visits, looked_at, rows_within
from fewtune.sources.settings import SELECTION, TRIES, SourceSettings
from fewtune.sources.source_rows import usable_rows
from fewtune.sources.stages import SOURCES, use_sources
from fewtune.tasks.selection import CHOICES, ConsistencyDiversity

WIDTH = 16
SIGNAL, NOISE = slice(0, 4), slice(4, 16)


def clusters(classes: int, rows: int, *, where: slice = SIGNAL, seed: int = 0, name: str = "pool", names: str = "c") -> Examples:
    """Classes that lie apart in some dimensions; in the others there is nothing but louder noise."""
    random = np.random.default_rng(seed)
    x = random.normal(scale=3.0, size=(classes * rows, WIDTH))
    labels = np.repeat(np.arange(classes), rows)
    x[:, where] = (
        random.normal(scale=1.5, size=(classes, WIDTH))[labels][:, where] + random.normal(scale=0.3, size=(len(x), WIDTH))[:, where]
    )
    return make_examples(Vectors(x.astype("float32")), [f"{names}{label}" for label in labels], name=name)


def target(where: slice = SIGNAL, shots: int = 8, classes: int = 5) -> Examples:
    examples = clusters(classes, shots + 20, where=where, seed=7, name="target", names="t")
    split = np.where(np.arange(len(examples)) % (shots + 20) < shots, TRAIN, TEST)
    return make_examples(examples.items, [examples.class_names[k] for k in examples.labels], name="target", row_split=split)


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return load_backbone(f"mlp,inputs={WIDTH},width=32,depth=1", machine=Machine(device="cpu"))


def adapted(backbone: Backbone, examples: Examples, sources: list[Examples], tmp_path: Path, **how: Any) -> Outcome:
    given = {"visits": 4000, "rates": (0.01, 0.1), "candidates": 20, **how}
    minutes = given.pop("minutes", math.inf if given["visits"] else 5.0)
    methods = {name: read_method(name) for name in ("centroid", "ridge")}
    return adapt_examples(
        examples,
        backbone,
        sources=sources,
        settings=AdaptSettings(sources=SourceSettings(**given), minutes=minutes),
        methods=methods,
        at=Workplace(cache=tmp_path, quiet=True),
    )


@pytest.fixture(scope="module")
def helped(backbone: Backbone, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    return adapted(backbone, target(), [clusters(30, 20)], tmp_path_factory.mktemp("cache"))


def test_related_sources_help(helped: Outcome) -> None:
    assert helped.sources is not None and helped.finetuned
    guard = helped.finetuning.guard
    assert guard is not None and guard.gain.low > 0 and guard.where == "the target's own splits"
    assert helped.measured is not None and helped.choice.expected is not None
    assert helped.measured.mean > helped.frozen.candidates[0].accuracy + 0.05
    assert helped.details[0].startswith("Finetuning helped: the m") and "finetuned on 1 other data set" in helped.details[0]
    assert "The saved model is that " in helped.details[0]
    assert f"judging: {SOURCES}" in [s.name for s in helped.stages]


def test_differences_are_to_the_chosen_learner_alone(helped: Outcome) -> None:
    """Those of the frozen side are to the best frozen learner, which is not the chosen one. Beside it stand the sides: the frozen one, the
    finetuned one and their mean."""
    rows = findings_of(helped).methods
    assert [(r.kind, r.chosen) for r in rows].count(("finetuned", True)) == 1 and len(rows) == 2 + 3
    beside = [r for r in rows if r.kind == "finetuned" or r.name == FROZEN]
    assert len(beside) == 3 and all(r.difference is None and r.p is None for r in rows if r not in beside or r.chosen)
    assert all(r.difference is not None and r.p is not None for r in beside if not r.chosen)
    assert learners_table(helped).caption == "Learners on finetuned features, on the same splits"
    assert learners_table(replace(helped, choice=helped.frozen)).caption == "Learners on frozen features, on the same splits"
    assert "-0.0" not in to_terminal(learners_table(helped))


def test_the_chosen_tasks_stand_beside_random_ones_and_all(helped: Outcome) -> None:
    used, selection = helped.sources, findings_of(helped).selection
    assert used is not None and selection is not None
    chosen, drawn, every = selection.beside
    taken = used.trace.column("taken").astype(bool)
    assert chosen.tasks == drawn.tasks == taken.sum() and every.tasks == len(used.candidates)
    assert chosen.coverage == pytest.approx(used.trace.column("coverage")[taken][-1], rel=1e-6)
    assert drawn.name == "as many random ones (mean of ten draws)"


def test_what_is_saved_is_the_finetuned_model(helped: Outcome, tmp_path: Path) -> None:
    Adapted(helped).save(tmp_path / "run")
    assert {"report.html", "selection.parquet", "weights.safetensors", "fewtune.json"} <= {f.name for f in (tmp_path / "run").iterdir()}
    rows = helped.target.examples.take(helped.target.test[:10])
    again = predict_examples(load_bundle(tmp_path / "run"), rows)
    assert [p.label for p in again] == [p.label for p in Adapted(helped).predict(rows)]
    assert "finetuned" in (tmp_path / "run" / "README.md").read_text()


def test_a_study_of_choices_may_leave_the_guard_out(backbone: Backbone, tmp_path: Path) -> None:
    usable = usable_target(target(), backbone, cache=tmp_path, skip_bad=False, quiet=True)
    how = SourceSettings(visits=4000, rates=(0.01, 0.1), candidates=20)
    side, learners, clock = Side(backbone, usable.features), {"ridge": read_method("ridge")}, Clock(math.inf)
    job = Job(clock=clock, at=Workplace(cache=tmp_path, quiet=True))
    got = use_sources(usable, side, learners, [clusters(30, 20)], how, job, judge=False)
    assert got.tuned is not None and got.tuned.changed and not got.kept and got.guard is None
    assert (
        got.route is None
        and not {"the guard", f"judging: {SOURCES}"} & {stage.name for stage in clock.stages}
        and "The guard was not asked" in got.why
    )


def test_unrelated_sources_are_not_shown_to_help(backbone: Backbone, tmp_path: Path) -> None:
    """The target differs in dimensions that are noise to every class of the source."""
    found = adapted(backbone, target(where=slice(10, 14)), [clusters(30, 20)], tmp_path)
    compared = found.finetuning.compared
    assert found.sources is not None and compared is not None and not compared.shown
    assert replace(compared, rule="shown").kept == FROZEN
    assert "helped" not in found.details[0] and "may be chance" in found.details[0]


def test_too_few_labels_are_judged_on_the_sources(backbone: Backbone, tmp_path: Path) -> None:
    found = adapted(backbone, target(shots=1), [clusters(60, 20)], tmp_path)
    assert found.sources is not None and found.sources.guard is not None
    assert found.sources.guard.where == "held-out classes of the sources"
    judging = found.sources.source_rows.tasks("judging")
    assert judging is not None and len(found.sources.guard.differences) == len(judging.slots_of(0))
    assert "held-out classes of the sources" in found.details[0]
    assert found.sources.kept and found.choice.name == found.sources.guard.learners[0][1]
    assert "held-out classes of the sources" in found.verdict.finetuning  # which is not the target itself


def test_the_learner_that_was_judged_is_the_one_that_is_saved(backbone: Backbone, tmp_path: Path) -> None:
    """With one example a class nothing can be held out, and the first learner is taken; but it was another that the sources advised."""
    methods = {"plain": read_method("centroid(metric='euclidean')"), "centroid": read_method("centroid")}
    how = SourceSettings(visits=4000, rates=(0.01, 0.1), candidates=20)
    for names in (list(methods), list(methods)[::-1]):
        given = {name: methods[name] for name in names}
        found = adapt_examples(
            target(shots=1),
            backbone,
            sources=[clusters(60, 20)],
            settings=AdaptSettings(sources=how),
            methods=given,
            at=Workplace(cache=tmp_path, quiet=True),
        )
        assert found.sources is not None and found.sources.kept and found.sources.guard is not None
        assert found.frozen.name == names[0] and found.choice.name == found.sources.guard.learners[0][1] == "centroid"


def test_classes_with_fewer_rows_than_an_episode_asks_for_are_said(backbone: Backbone, tmp_path: Path) -> None:
    sources = clusters(30, 20)
    uneven = sources.take(np.flatnonzero((np.arange(len(sources)) % 20 < 3) | (sources.labels >= 12)))
    found = adapted(backbone, target(), [uneven], tmp_path, visits=2000)
    assert found.sources is not None and found.sources.tuned is not None
    (said,) = found.sources.tuned.notes
    assert said.startswith("Finetuning: ") and "(the smallest 3): all they have is drawn." in said
    assert said in found.details and said in found.sources.facts()["left out"]


def test_a_short_budget_looks_at_fewer_rows_of_large_sources() -> None:
    sources = [clusters(30, 20), clusters(10, 5)]
    assert rows_within(sources, 20, 650) == 20  # 30 classes of 20 rows, 10 of 5
    assert rows_within(sources, 20, 649) == 19
    assert rows_within(sources, 20, 200) == 5
    assert rows_within(sources, 20, 1) == 2  # one to show, one to ask


def test_what_is_left_out_for_the_budget_is_said(backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fewtune.sources.planning.seconds_a_row", lambda *_: 0.25 * 60 / 200)
    found = adapted(backbone, target(), [clusters(30, 20)], tmp_path, minutes=1.0, visits=2000)
    assert found.sources is not None and found.sources.source_rows.notes[0] == "The budget allows 6 rows of a class of the sources, not 20."
    assert len(found.sources.source_rows.space) == 30 * 6
    assert found.sources.source_rows.notes[0] in found.details


def test_without_classes_to_judge_by_nothing_is_used(backbone: Backbone, tmp_path: Path) -> None:
    found = adapted(backbone, target(shots=1), [clusters(5, 20)], tmp_path)
    assert found.sources is not None and found.sources.guard is None and not found.sources.kept
    assert "cannot be shown" in found.details[0]


def test_a_small_budget_is_said(backbone: Backbone, tmp_path: Path) -> None:
    found = adapted(backbone, target(), [clusters(30, 20)], tmp_path, visits=60)
    assert found.sources is not None and found.sources.tuned is None
    least = least_visits(found.sources.tuner)
    assert least == 50 * 35  # 50 steps of at least 32 rows, in whole rows of five classes
    assert "Too little time to tell whether finetuning on the sources would help" in found.details[0]
    assert (
        f"a run of 50 steps looks at {least:,} rows" in found.details[0]
        and f"It takes --budget visits={least} (in Python SourceSettings(visits={least}))." in found.details[0]
    )
    assert found.finetuning.compared is None and found.bundle.moved is None


def test_minutes_become_rows(backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty seconds are left and a row costs 1 ms: 0.8 of the time, for one run, a third of one for the lone rate, and four folds; less
    what looking at validation tasks takes, three times for the rate and once for each other share of the way, and at every row once."""
    monkeypatch.setattr(Clock, "left", 20.0)
    monkeypatch.setattr("fewtune.sources.planning.seconds_a_visit", lambda *_: 0.001)
    found = adapted(backbone, target(), [clusters(30, 20)], tmp_path, visits=0, minutes=1.0, rates=(0.1,))
    assert found.sources is not None
    looks = 0.3 * ((3 + 3) * looked_at(found.sources.tuner, ["pool"]) + len(found.sources.source_rows.space))
    assert found.sources.tuner.visits == int((0.8 * 20 / 0.001 - looks) / (1 + 4 + 1 / 3)) > 1000
    tuned = found.sources.tuned
    assert tuned is not None and 0.9 < tuned.visits / (found.sources.tuner.visits * tuned.advice.part) <= 1
    assert f"{found.sources.tuner.visits:,} rows a run" in next(s.note for s in found.stages if s.name == "measuring the speed")


@pytest.mark.parametrize("tries", [(), (-0.5, 0.0)])
def test_training_that_diverges_leaves_the_model_frozen_and_says_so(backbone: Backbone, tmp_path: Path, tries: tuple[float, ...]) -> None:
    found = adapted(backbone, target(), [clusters(30, 20)], tmp_path, rates=(1e18, 1e19), tries=tries, recipe="standard", visits=3200)
    assert found.sources is not None and not found.finetuned and found.bundle.moved is None
    assert found.details[0].startswith("Finetuning failed (training diverged") and "the saved model is the frozen one" in found.details[0]


def test_features_that_are_no_numbers_leave_the_model_frozen_and_say_so(
    backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = stages.side_of

    def broken(*given: Any) -> Side:
        side = honest(*given)
        return Side(side.backbone, side.features * math.inf)

    monkeypatch.setattr(stages, "side_of", broken)
    found = adapted(backbone, target(), [clusters(30, 20)], tmp_path)
    assert found.sources is not None and not found.finetuned and found.finetuning.compared is None
    assert found.details[0].startswith("Finetuning failed (the finetuned backbone gives features that are no numbers)")


def test_another_seed_draws_other_tasks_at_random(backbone: Backbone, tmp_path: Path) -> None:
    how = {"selection": CHOICES["random"](), "visits": 60}
    first, second = (
        adapt_examples(
            target(),
            backbone,
            sources=[clusters(30, 20)],
            settings=AdaptSettings(sources=SourceSettings(**how), seed=seed),
            at=Workplace(cache=tmp_path, quiet=True),
            methods=None,
        )
        for seed in (1, 2)
    )
    assert first.sources is not None and second.sources is not None
    assert first.sources.trace.taken.tolist() != second.sources.trace.taken.tolist()


def test_no_time_is_said(backbone: Backbone, tmp_path: Path) -> None:
    found = adapted(backbone, target(), [clusters(30, 20)], tmp_path, visits=0, minutes=1e-6)
    assert found.sources is not None and not found.finetuned and "Too little time to tell" in found.details[0]
    assert "minutes on this machine: --budget minutes=" in found.details[0]


@pytest.mark.parametrize(("left", "steps"), [(19.0, [1, 1]), (21.0, [1, 3]), (math.inf, [1, 3])])
def test_little_time_is_not_spent_on_measuring(left: float, steps: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """A first step of two seconds is more than a tenth of 19."""
    trained: list[int] = []

    def train(_: object, phases: tuple[Phase, ...], *__: object) -> SimpleNamespace:
        trained.extend(phase.steps for phase in phases)
        return SimpleNamespace(seconds=2.0 * phases[0].steps, visits=10 * phases[0].steps)

    monkeypatch.setattr(planning, "train", train)
    monkeypatch.setattr(planning, "fit_phases", lambda phases, _: (phases, ()))
    method = read_method("multitask(ways=5)")
    tuner: Any = SimpleNamespace(train_tasks=lambda: None, variants={"": method}, ground=lambda: None, seed=0)
    assert planning.seconds_a_visit(tuner, left) == 0.2 and trained == steps


def test_a_run_that_gets_no_rows_has_small_steps_too(backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole steps of 150 rows would take four times as long, and so would the time that is said to be enough."""
    monkeypatch.setattr(stages._Stages, "affordable", lambda *_: 0)
    found = adapted(backbone, target(), [clusters(30, 20)], tmp_path, visits=0)
    assert found.sources is not None and (found.sources.tuner.visits, least_visits(found.sources.tuner)) == (0, 50 * 35)


@pytest.mark.parametrize("name", sorted(CHOICES))
def test_every_selection(name: str, backbone: Backbone, tmp_path: Path) -> None:
    sources = [clusters(12, 12, name="a"), clusters(12, 12, where=NOISE, seed=3, name="b", names="d")]
    found = adapted(backbone, target(), sources, tmp_path, selection=CHOICES[name](), visits=60)
    assert found.sources is not None and len(found.sources.trace.taken) >= 1
    assert all(0 <= i < len(found.sources.candidates) for i in found.sources.trace.taken)


@pytest.mark.parametrize("name", sorted(CHOICES))
def test_flags_name_every_selection(name: str) -> None:
    how = SourceFlags(select=name, mode="stop").settings()  # type: ignore[arg-type]
    made = CHOICES[name]()
    covers = isinstance(made, ConsistencyDiversity) and made.diversity
    assert how.selection == (replace(made, mode="stop") if covers else made) and how.tries == ()  # type: ignore[arg-type,type-var]
    if covers:
        assert SourceFlags(select=name, gain="0.02").settings().selection.p == 0.02  # type: ignore[arg-type,attr-defined]
        assert SourceFlags(select=name, gain="auto").settings().tries == TRIES  # type: ignore[arg-type]
        return
    with pytest.raises(InputError, match=f"--select {name} does not look at coverage: leave --gain out"):
        SourceFlags(select=name, gain="0.02").settings()  # type: ignore[arg-type]
    with pytest.raises(InputError, match="leave `tries` out"):
        SourceSettings(selection=made, tries=TRIES)


def test_the_default_of_the_flags_is_the_default_of_the_settings() -> None:
    assert SourceFlags().settings().selection == SELECTION == SourceSettings().selection


def test_p_by_validation_tasks(backbone: Backbone, tmp_path: Path) -> None:
    found = adapted(backbone, target(), [clusters(30, 20)], tmp_path, tries=(-0.5, 0.0), visits=2000)
    assert found.sources is not None and found.sources.tuned is not None


def test_the_same_seed_gives_the_same_model(backbone: Backbone, tmp_path: Path) -> None:
    first, again = (adapted(backbone, target(), [clusters(30, 20)], tmp_path / name, visits=2000) for name in ("first", "again"))
    assert again.backbone.digest() == first.backbone.digest() and again.bundle.method == first.bundle.method
    assert first.sources is not None and first.sources.tuned is not None and first.sources.tuned.moved is not None  # something was trained
    assert again.sources is not None and again.sources.tuned is not None and again.sources.tuned.moved is not None
    one, other = first.sources.tuned.moved.weights, again.sources.tuned.moved.weights
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_what_serves_what(backbone: Backbone, tmp_path: Path) -> None:
    examples, sources = target(), clusters(30, 30)
    features = backbone_features(backbone, examples)
    source_rows = usable_rows([sources], examples, np.arange(len(examples)), features, backbone, quiet_job(tmp_path), most=20)
    parts = {part: source_rows.tasks(part) for part in ("train", "validation", "judging")}  # type: ignore[arg-type]
    classes = {part: set(t.slot_class[t.slots].tolist()) for part, t in parts.items() if t is not None}
    assert len(classes["train"]) == 24 and len(classes["validation"]) == len(classes["judging"]) == 3
    assert not classes["train"] & classes["validation"] and not classes["judging"] & (classes["train"] | classes["validation"])
    assert np.bincount(source_rows.space.labels).max() == 20


def test_rows_of_the_target_and_test_rows_stay_out(backbone: Backbone, tmp_path: Path) -> None:
    examples = target()
    sources = clusters(8, 12)
    shared = make_examples(
        Vectors(np.concatenate([np.stack([sources.items.fetch(i) for i in range(len(sources))]), np.stack([examples.items.fetch(3)])])),
        [*(sources.class_names[k] for k in sources.labels), "c0"],
        name="pool",
        row_split=np.array([TEST if i % 12 == 0 else TRAIN for i in range(len(sources))] + [TRAIN]),
    )
    features = backbone_features(backbone, examples)
    source_rows = usable_rows([shared], examples, np.arange(len(examples)), features, backbone, quiet_job(tmp_path))
    assert len(source_rows.leaks) == 1 and source_rows.leaks[0].target == 3 and "in the target too" in source_rows.notes[0]
    assert len(source_rows.space) == 8 * 11


def test_sources_that_nothing_is_finetuned_on_are_said(backbone: Backbone, tmp_path: Path) -> None:
    """And so is finetuning on sources without any."""
    for word in ("never", "own"):
        found = adapt_examples(
            target(),
            backbone,
            sources=[clusters(6, 8)],
            settings=AdaptSettings(finetune=word, own=OwnSettings(recipes=("standard(on='support', steps=2)",))),  # type: ignore[arg-type]
            at=Workplace(cache=tmp_path, quiet=True),
            methods={"ridge": read_method("ridge")},
        )
        assert found.sources is None and f"The other data was not used, because finetune is {word!r}." in found.details
    with pytest.raises(InputError, match=r"other data was asked for, but there is none: give --source DATA \(in Python sources=\[...\]\)"):
        adapt_examples(target(), backbone, settings=AdaptSettings(finetune="sources"), at=Workplace(cache=tmp_path, quiet=True))


def test_the_flags_ask_for_what_python_does_by_default() -> None:
    """The command line names the defaults for its help page without importing what they belong to."""
    assert SourceFlags().settings() == SourceSettings()


def test_bad_sources(backbone: Backbone, tmp_path: Path) -> None:
    examples, features = target(), backbone_features(backbone, target())

    def use(*sources: Examples) -> None:
        usable_rows(sources, examples, np.arange(len(examples)), features, backbone, quiet_job(tmp_path))

    from fewtune.data.items import Texts

    with pytest.raises(InputError, match="the target holds vectors, but source words holds texts"):
        use(make_examples(Texts(["a", "b"]), ["x", "y"], name="words"))
    with pytest.raises(InputError, match="training classes"):
        use(clusters(1, 10))
    with pytest.raises(InputError, match="above 0 minutes"):
        AdaptSettings(minutes=0.0)
    with pytest.raises(InputError, match="learns nothing from a source"):
        adapted(backbone, examples, [clusters(8, 12)], tmp_path, recipe="ridge")
    assert math.isfinite(AdaptSettings().minutes)


def quiet_job(cache: Path) -> Job:
    return Job(clock=Clock(math.inf), at=Workplace(cache=cache, quiet=True))


def backbone_features(backbone: Backbone, examples: Examples) -> Any:
    from fewtune.data.row_space import RowSpace

    return backbone.embed(backbone.start(), RowSpace([examples]), np.arange(len(examples)))
