"""Laws of every recipe: its full text reads back, it trains and answers, and a sweep moves what was not given."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import numpy as np
import pytest
import torch

from fewtune.backbones.load import load_backbone
from fewtune.data.examples import make_examples
from fewtune.data.items import Pixels, Vectors
from fewtune.data.row_space import RowSpace
from fewtune.errors import InputError
from fewtune.evaluation.answers import score_each
from fewtune.keys import key
from fewtune.learning.budget import fit_phases
from fewtune.learning.ground import Ground
from fewtune.learning.method import Method
from fewtune.learning.phase import Adapt, phases_of
from fewtune.learning.train import train
from fewtune.machine import Machine
from fewtune.recipes import RECIPES, read_method, variants
from fewtune.recipes.default_learners import candidates
from fewtune.recipes.language import WORDS
from fewtune.recipes.sharing import SHARING
from fewtune.spec import digest, parse, text
from fewtune.tasks.samplers import Sampled
from fewtune.tasks.task import class_rows
from tests.tiny import images, save_clip

GIVEN = {"surgical": "'layers.1'"}  # what a recipe cannot do without
NAMES = [recipe.__name__ for recipe in RECIPES]
BY_NAME = {"zero_shot", "text_prior", "named_logistic", "shrink", "flyp"}  # what reads class names
BY_VIEW = {"p_m_f"}
BY_COLUMNS = {recipe.__name__ for recipe in SHARING}  # what learns several label columns: tests/laws/test_sharing_recipes.py
VECTORS = [name for name in NAMES if name not in BY_NAME | BY_VIEW | BY_COLUMNS]
PROMPTS = "prompts=('a photo of the {}',)"
CLASSES = ("cat", "dog", "bird", "mat", "red", "blue")
Call = Callable[[str], Method]


def spelled(name: str, *more: str) -> str:
    """A call of a recipe, with what it needs."""
    return f"{name}({', '.join([*([GIVEN[name]] if name in GIVEN else []), *more])})"


def short(name: str, *more: str) -> str:
    """A call of a recipe that trains two steps, on three ways."""
    few = {"steps": 2, "probe_steps": 2, "ways": 3, "test_steps": 2, "inner_steps": 2, "every": 1, "batch": 4, "shots": 2, "queries": 2}
    takes = inspect.signature(WORDS[name]).parameters
    return spelled(name, *(f"{option}={value}" for option, value in few.items() if option in takes), *more)


@pytest.mark.parametrize("name", NAMES)
def test_the_full_text_reads_back(name: str) -> None:
    method = read_method(spelled(name))
    assert parse(text(method), WORDS) == method == read_method(text(method))
    assert digest(read_method(text(method))) == digest(method)
    if name not in GIVEN:
        assert method == read_method(name) == WORDS[name]()
    assert WORDS[name].__doc__


def test_names_are_distinct_and_of_every_recipe_in_the_language() -> None:
    assert len(set(NAMES)) == len(NAMES) and all(WORDS[recipe.__name__] is recipe for recipe in RECIPES)
    expected = "standard contrastive linear_probe_then_finetune surgical gradual_unfreezing layerwise lora l2_sp wise_ft soup"
    expected += " multitask mamf shared_heads"
    expected += (
        " protonet matching_networks r2d2 metaoptnet maml fomaml anil boil meta_sgd reptile minibatch_prox imaml p_m_f meta_baseline flyp"
    )
    expected += " independent shared_bottom film cross_stitch mtan mmoe soft_sharing"
    assert set(expected.split()) <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_default_counts(name: str) -> None:
    """Another value of a number is another digest, unless the recipe does not look at it as it stands."""
    unread = {("mamf", "test_lr")}  # without test steps
    whole = digest(read_method(spelled(name)))
    for option, parameter in inspect.signature(WORDS[name]).parameters.items():
        default = parameter.default
        if isinstance(default, bool) or not isinstance(default, int | float) or (name, option) in unread:
            continue
        other = read_method(spelled(name, f"{option}={default + 1 if isinstance(default, int) else default / 2 or 0.5}"))
        assert digest(other) != whole, option


@pytest.fixture(scope="module")
def small() -> Ground:
    """Vectors of six classes under two hidden layers."""
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(6), 20)
    vectors = (random.normal(size=(6, 8))[labels] + 0.5 * random.normal(size=(120, 8))).astype(np.float32)
    space = RowSpace([make_examples(Vectors(vectors), labels, class_names=list(CLASSES))])
    return Ground(load_backbone("mlp,inputs=8,width=12", machine=Machine(device="cpu").resolved()), space)


def trains_and_answers(ground: Ground, method: Method) -> None:
    """Two steps on the source, then an answer to test episodes, better than nothing."""
    ground = Ground(ground.backbone, ground.space, method.edits)
    tasks = class_rows(ground.space)
    phases, _ = fit_phases(method.phases, tasks)
    run = train(ground, phases, tasks, key(0), validate=lambda _: 0.5)
    assert len(run.curve) == run.steps == sum(phase.steps for phase in phases_of(phases))
    assert all(np.isfinite(row["loss"]) for row in run.curve) and (run.visits > 0) == bool(phases) == bool(run.moved)
    episodes = Sampled(ways=3, shots=5, queries=4).draw(tasks, key(1), 0, 4)
    (scores,) = score_each(ground, method.learner, run.weights, [episodes])
    (again,) = score_each(ground, method.learner, run.weights, [episodes])
    assert scores.accuracy.shape == scores.loss.shape == (4,) and np.isfinite(scores.loss).all()
    assert ((scores.accuracy >= 0) & (scores.accuracy <= 1)).all()
    np.testing.assert_array_equal(scores.accuracy, again.accuracy)
    for n, t in ground.start().items():  # neither training nor testing changes what the backbone came with
        assert torch.equal(t, ground.start()[n])


@pytest.mark.parametrize("name", VECTORS)
def test_it_learns_from_vectors_and_answers(small: Ground, name: str) -> None:
    start = {n: t.clone() for n, t in small.backbone.start().items()}
    trains_and_answers(small, read_method(short(name)))
    assert all(torch.equal(t, start[n]) for n, t in small.backbone.start().items())


@pytest.mark.parametrize(
    "name", ["standard", "contrastive", "linear_probe_then_finetune", "surgical", "gradual_unfreezing", "layerwise", "bitfit", "lora"]
)
def test_it_learns_on_the_support_and_answers(small: Ground, name: str) -> None:
    method = read_method(short(name, "on='support'"))
    assert isinstance(method.learner, Adapt) and not method.phases
    trains_and_answers(small, method)


@pytest.mark.parametrize("name", ["multitask", "mamf", "shared_heads", "standard"])
@pytest.mark.parametrize("head", ["ridge(penalty=10)", "logistic", "svm", "Matching()"])
def test_any_head_answers_in_the_end(small: Ground, name: str, head: str) -> None:
    trains_and_answers(small, read_method(short(name, f"head={head if '(' in head else head + '()'}")))


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("zero_shot", ""),
        ("text_prior", ""),
        ("named_logistic", ""),
        ("shrink", ""),
        ("flyp", ""),
        ("flyp", "on='support'"),
        ("mamf", ""),
        ("mamf", "test_steps=1"),
    ],
)
def test_it_reads_class_names_and_answers(clip: Ground, name: str, more: str) -> None:
    few = [f"{option}=2" for option in ("steps", "epochs") if option in inspect.signature(WORDS[name]).parameters]
    batch = ["batch=8"] if "batch" in inspect.signature(WORDS[name]).parameters else []
    trains_and_answers(clip, read_method(spelled(name, *few, *batch, PROMPTS, *filter(None, [more]))))


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Ground:
    """Pictures of six classes and two small towers."""
    folder = tmp_path_factory.mktemp("clip")
    save_clip(folder)
    space = RowSpace([make_examples(Pixels(images(60, height=32, width=32)), np.repeat(np.arange(6), 10), class_names=list(CLASSES))])
    return Ground(load_backbone(f"hf:{folder}", machine=Machine(device="cpu").resolved()), space)


@pytest.mark.parametrize("name", sorted(BY_VIEW))
def test_it_sees_views_of_images_and_answers(name: str) -> None:
    space = RowSpace([make_examples(Pixels(images(60, height=16, width=16)), np.repeat(np.arange(6), 10), class_names=list(CLASSES))])
    ground = Ground(load_backbone("conv4,size=16,width=4", machine=Machine(device="cpu").resolved()), space)
    trains_and_answers(ground, read_method(short(name)))


def test_a_number_is_what_its_option_declares() -> None:
    assert text(read_method("maml(inner_steps=3.0, inner_lr=1)")) == text(read_method("maml(inner_steps=3, inner_lr=1.0)"))
    assert variants("maml", (("test_steps", (5.0, 10.0)),))["test_steps=5"] == read_method("maml(test_steps=5)")
    with pytest.raises(InputError, match=r"steps is a whole number, found 2\.5"):
        read_method("standard(steps=2.5)")


def test_a_sweep_moves_what_is_not_given() -> None:
    sweep = (("lr", (1e-4, 1e-3)), ("shots", (1, 5)))
    found = variants("multitask(steps=7)", sweep)
    assert list(found) == ["", "lr=0.0001, shots=1", "lr=0.0001, shots=5", "lr=0.001, shots=1", "lr=0.001, shots=5"]
    assert found["lr=0.001, shots=5"] == read_method("multitask(steps=7, lr=0.001, shots=5)")
    assert found[""] == read_method("multitask(steps=7)")
    given = variants("multitask(lr=0.5)", sweep)
    assert given == {
        "": read_method("multitask(lr=0.5)"),
        **{f"shots={s}": read_method(f"multitask(lr=0.5, shots={s})") for s in (1, 5)},
    }
    assert variants("multitask(15, 5, lr=0.5)", sweep) == {"": read_method("multitask(15, 5, lr=0.5)")}  # by its place, too
    assert list(variants("standard", sweep)) == ["", "lr=0.0001", "lr=0.001"]
    for frozen in ("centroid", "ridge(penalty=10)", "Centroid()"):
        assert variants(frozen, (("penalty", (1.0, 2.0)), *sweep)) == {"": read_method(frozen)}
    method = text(read_method("multitask"))
    assert variants(method, sweep) == {"": read_method(method)}  # a method spelt out in full has nothing open


@pytest.mark.parametrize("name", [name for name in NAMES if "lr" in inspect.signature(WORDS[name]).parameters])
def test_every_recipe_that_learns_can_be_swept(name: str) -> None:
    found = variants(spelled(name), (("lr", (1e-3, 3e-2)),))
    swept = {f"lr={value}": read_method(spelled(name, f"lr={value}")) for value in (0.001, 0.03)}
    assert found == {"": read_method(spelled(name)), **swept}
    assert len(set(map(digest, swept.values()))) == 2


def test_a_learned_rate_of_a_head_that_begins_anew_is_refused(small: Ground) -> None:
    inner = "Phase(sampler=Pooled(), learner=Linear(), plan=everything(Learned(lr=0.1)), steps=1)"
    method = read_method(f"Method(learner=Adapt(phases=({inner},), then=Linear(), through='unroll'))")
    with pytest.raises(InputError, match=r"'head.weight' begins anew in each: use start='shared'"):
        trains_and_answers(small, method)


def test_a_call_is_expanded_before_it_is_hashed() -> None:
    assert digest(read_method("ridge(penalty=1)")) != digest(read_method("ridge(penalty=2)"))
    assert digest(read_method("centroid")) == digest(read_method("centroid(metric='cosine')")) == digest(read_method("Centroid()"))


@pytest.mark.parametrize("modality", ["image", "text", "vector"])
def test_candidates_go_by_the_text_that_spells_them(modality: str) -> None:
    for side in (False, True):
        for name, method in candidates(label_side=side, modality=modality).items():
            assert read_method(name) == method
    assert "svm" not in candidates(label_side=False, modality=modality, rows=10_000)


def test_what_is_no_method_is_refused() -> None:
    with pytest.raises(InputError, match="is no method: expected one of centroid"):
        read_method("3")
    with pytest.raises(InputError, match="did you mean logistic"):
        read_method("logistics")
