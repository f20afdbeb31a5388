"""Laws of every recipe: its full text reads back, it trains and answers, and a sweep moves what was not given."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import numpy as np
import pytest
import torch

from fewtune.backbones.attention import plain_attention
from fewtune.backbones.load import load_backbone
from fewtune.data.examples import make_examples
from fewtune.data.items import Pixels, Texts, Vectors
from fewtune.data.row_space import RowSpace
from fewtune.errors import InputError
from fewtune.evaluation.answers import score_each
from fewtune.keys import key
from fewtune.learning import declared
from fewtune.learning.budget import fit_phases
from fewtune.learning.ground import Ground
from fewtune.learning.method import Method
from fewtune.learning.phase import Adapt, phases_of
from fewtune.learning.train import train
from fewtune.machine import Machine
from fewtune.parts.heads.head import stored
from fewtune.recipes import RECIPES, read_method, variants
from fewtune.recipes.default_learners import candidates
from fewtune.recipes.image_text import IMAGE_TEXT
from fewtune.recipes.language import WORDS
from fewtune.recipes.sharing import SHARING
from fewtune.recipes.sharing import SHARING as JOINT
from fewtune.spec import digest, parse, text
from fewtune.tasks.samplers import Sampled
from fewtune.tasks.task import class_rows
from tests.tiny import images, save_clip
from tests.tiny_text import WORDS as TOKENS
from tests.tiny_text import tiny_masked

GIVEN = {"surgical": "'layers.1'"}  # what a recipe cannot do without
NAMES = [recipe.__name__ for recipe in RECIPES]
BY_NAME = {"zero_shot", "text_prior", "named_logistic", "shrink", "flyp"} | {recipe.__name__ for recipe in IMAGE_TEXT}  # read class names
BY_VIEW = {"p_m_f"}
BY_PROMPT = {"prompt_zero_shot", "prompt_finetuning", "multitask_prompt_finetuning"}  # for models with a template
BY_COLUMNS = {recipe.__name__ for recipe in SHARING}  # what learns several label columns: tests/laws/test_sharing_recipes.py
VECTORS = [name for name in NAMES if name not in BY_NAME | BY_VIEW | BY_PROMPT | BY_COLUMNS]
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
    unread = {("multitask", "most"), ("multitask", "multiplier_lr")}  # without a constraint
    unread |= {("multitask", "again")}  # without a selection
    unread |= {("mamf", "test_lr"), ("standard", "test_lr"), ("multitask_prompt_finetuning", "test_batch")}  # without test steps
    unread |= {(recipe.__name__, "last") for recipe in JOINT}  # unless the backbone moves
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
    method = read_method(short(name, "on='support'").replace("test_steps=2, ", ""))
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
        *((recipe.__name__, "") for recipe in IMAGE_TEXT),
        ("flyp", ""),
        ("flyp", "on='support'"),
        ("mamf", ""),
        ("mamf", "test_steps=1"),
        ("standard", ""),
        ("standard", "test_steps=1"),
        ("standard", "on='support'"),
        ("fomaml", "ways=3, shots=2, queries=2"),
        ("fomaml", "ways=3, shots=2, queries=2, tasks=2, inner_optimizer=Adam()"),
        ("maml", "ways=3, shots=2, queries=2, inner_steps=1"),
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


def test_one_head_of_class_texts_answers_in_every_recipe_of_the_mamf_study() -> None:
    """In training, on the test support and in the end."""
    for name in ("standard", "fomaml", "maml", "mamf"):
        heads = read_method(f"{name}({PROMPTS}, test_steps=2)").heads
        assert len(set(heads)) == 1 and len(heads) >= 3 and heads[0].prompts == ("a photo of the {}",), name


@pytest.mark.parametrize("call", ["fomaml(inner='head', {})", "maml(head_lr=0.1, {})", "standard(on='support', test_steps=1, {})"])
def test_options_that_exclude_each_other_are_refused(call: str) -> None:
    with pytest.raises(InputError, match=r"leave out inner and head_lr|steps says how many"):
        read_method(call.format(PROMPTS))


def test_a_step_of_maml_by_class_texts_is_the_gradient_through_the_inner_step(clip: Ground) -> None:
    """A first-order step is the query's gradient at the tuned weights; the second-order one is not, and autograd through the step by hand
    gives it."""
    tasks = class_rows(clip.space)
    sgd = "ways=3, shots=2, queries=2, inner_steps=1, inner_lr=0.01, steps=1, batch=1, lr=1.0, optimizer=SGD(momentum=0.0)"
    first, second = (read_method(f"{name}({PROMPTS}, {sgd})") for name in ("fomaml", "maml"))
    (phase,) = phases_of(first.phases)
    episode = phase.sampler.draw(tasks, key(0).child("source", 0).child("draw"), 0, 1)
    text, name = phase.learner.then, "model.visual_projection.weight"
    start = declared.begin(clip, first.phases)

    def loss(weights: dict[str, torch.Tensor], rows: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        features = torch.nn.functional.normalize(clip.embed(weights, rows)[0], dim=-1)
        vectors = clip.class_vectors(text, weights, episode)[0]
        return torch.nn.functional.cross_entropy(weights[stored(text, "head.temperature")] * features @ vectors.T, labels[0])

    moving = {n: t.detach().clone().requires_grad_() for n, t in start.items() if n in clip.movable(start)}
    with plain_attention():  # the fused one has no second derivative
        inner = torch.autograd.grad(
            loss({**start, **moving}, episode.support, episode.support_label), list(moving.values()), create_graph=True, allow_unused=True
        )
        stepped = {n: t if g is None else t - 0.01 * g for (n, t), g in zip(moving.items(), inner, strict=True)}
        outer = loss({**start, **stepped}, episode.query, episode.query_label)
        unrolled = torch.autograd.grad(outer, moving[name], retain_graph=True)[0]
        at_the_tuned = torch.autograd.grad(outer, stepped[name])[0]
    for method, expected in ((first, at_the_tuned), (second, unrolled)):
        moved = train(clip, method.phases, tasks, key(0)).weights[name]
        torch.testing.assert_close(start[name] - moved, expected, rtol=2e-3, atol=2e-5)
    assert float((unrolled - at_the_tuned).abs().max()) > 1e-4


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


@pytest.fixture(scope="module")
def masked(tmp_path_factory: pytest.TempPathFactory) -> Ground:
    """Texts of six classes, each named by a word, and a small masked language model with a template."""
    folder = tiny_masked(tmp_path_factory.mktemp("masked"))
    texts = [f"{TOKENS[row % 6]} {TOKENS[row % 10]} was" for row in range(60)]
    space = RowSpace([make_examples(Texts(texts), np.arange(60) % 6, class_names=list(TOKENS[:6]))])
    name = f"hf:{folder},template={{text}} it was [MASK]."
    return Ground(load_backbone(name, machine=Machine(device="cpu").resolved()), space)


@pytest.mark.parametrize(
    "spelling",
    [
        *(short(name) for name in sorted(BY_PROMPT)),
        "multitask_prompt_finetuning(steps=2, ways=3, queries=2, selection=random())",
        "linear_probe_then_finetune(on='support', steps=2, probe_steps=2)",
        "bitfit(on='support', steps=2)",
        "lora(on='support', steps=2)",
        "contrastive(on='support', steps=2, batch=4)",
        "flyp(on='support', steps=2, batch=4, prompts='{}')",
        "standard(on='support', steps=2)",
        "maml(steps=2, ways=3, shots=2, queries=2, inner_steps=1)",
    ],
)
def test_it_learns_with_a_prompt_and_answers(masked: Ground, spelling: str) -> None:
    trains_and_answers(masked, read_method(spelling))
