"""The words of `--method`: recipes by their names, and the types they expand to."""

from __future__ import annotations

import ast
import inspect
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fewtune.backbones.edits import EDITS
from fewtune.data.templates import PHOTO_TEMPLATES
from fewtune.data.views.views import VIEWS
from fewtune.errors import InputError
from fewtune.learning.method import Method
from fewtune.learning.phase import Adapt, Average, Greedy, Implicit, Phase
from fewtune.parts.aggregators import AGGREGATORS
from fewtune.parts.heads import HEADS
from fewtune.parts.heads.head import Head
from fewtune.parts.keep import KEEPS
from fewtune.parts.losses import LOSSES
from fewtune.parts.merging import RULES
from fewtune.parts.optimizers import OPTIMIZERS, Relative
from fewtune.parts.plan import PLANS, Plan
from fewtune.parts.rates import RATES
from fewtune.parts.sharing import SHARING
from fewtune.plugins import WordsWith
from fewtune.recipes.episodic import EPISODIC
from fewtune.recipes.finetuning import FINETUNING
from fewtune.recipes.frozen import FROZEN
from fewtune.recipes.image_text import IMAGE_TEXT
from fewtune.recipes.meta import META
from fewtune.recipes.paths import meant, put
from fewtune.recipes.prompting import PROMPTING
from fewtune.recipes.sharing import SHARING as JOINT
from fewtune.recipes.source_training import SOURCES
from fewtune.recipes.spelled import spelled_out
from fewtune.spec import Words, parse, text
from fewtune.tasks.chosen import SELECTIONS
from fewtune.tasks.samplers import SAMPLERS
from fewtune.tasks.selection import CHOICES, ROW_SCORES, SCORES

RECIPES = (*FROZEN, *IMAGE_TEXT, *FINETUNING, *EPISODIC, *SOURCES, *PROMPTING, *META, *JOINT)
_WHOLE = (Method, Phase, Adapt, Average, Greedy, Implicit)
# `layerwise` is a recipe too: the plan of that name is the recipe's
_PLANS = tuple(plan for plan in PLANS if plan.__name__ not in {recipe.__name__ for recipe in RECIPES})

# what methods are written with: an axis, and its members by name
AXES: Mapping[str, Mapping[str, Callable[..., Any]]] = {
    axis: {member.__name__: member for member in members}
    for axis, members in {
        "whole": _WHOLE,
        "head": HEADS,
        "sharing": SHARING,
        "loss": LOSSES,
        "aggregator": AGGREGATORS,
        "optimizer": (*OPTIMIZERS, Relative),
        "rate": RATES,
        "plan": (Plan, *_PLANS),
        "keep": KEEPS,
        "rule": RULES,
        "sampler": SAMPLERS,
        "selection": SELECTIONS,
        "score": (*SCORES, *ROW_SCORES),
        "edit": EDITS,
        "view": VIEWS,
    }.items()
} | {"choice": CHOICES}

WORDS: Words = WordsWith(
    {recipe.__name__: recipe for recipe in RECIPES} | {name: word for axis in AXES.values() for name, word in axis.items()},
    "fewtune.heads",
    "fewtune.methods",
)


def read_method(source: str) -> Method:
    """The method that a text spells: `ridge(penalty=10)`, `multitask(steps=100)`, `Method(learner=Ridge(penalty=10))`.

    `torchjd:NAME` is an aggregator of the library TorchJD, `TorchJd(name='NAME')`.
    """
    found = parse(spelled_out(source), WORDS)
    if isinstance(found, Head) and (found.reads_support or found.reads_classes):  # a table of rows that nothing trains is no method
        return Method(learner=found)
    if not isinstance(found, Method):
        raise InputError(f"{source!r} is no method: expected one of {', '.join(f.__name__ for f in RECIPES)}.")
    return found


def read_frozen(source: str) -> Method:
    """As `read_method`, of a method that leaves the backbone as it is. Raises InputError for another."""
    method = read_method(source)
    if not method.frozen:
        raise InputError(
            f"{source!r} moves the backbone's weights: expected a frozen method such as {', '.join(f.__name__ for f in FROZEN)}."
        )
    return method


def variants(source: str, sweep: Sequence[tuple[str, Sequence[float]]]) -> dict[str, Method]:
    """The methods that a text spells when the options of `sweep` that it takes, and that it does not give, run over their values.

    An option is one of the recipe, such as "lr", or a path into the method, such as "phases.0.lr" (see `paths`); paths vary what the text
    gives too. By what was varied, such as "lr=0.001"; under "" the method as it is spelled, alone where there is nothing to vary.
    """
    whole = read_method(source)
    if whole.frozen:
        return {"": whole}
    options = [(option, values) for option, values in sweep if "." not in option and option in _free_options(source)]
    within = [(path, values) for path, values in sweep if "." in path and meant(whole, path)]
    found = {"": whole}
    if not options and not within:
        return found
    for chosen in itertools.product(*(values for _, values in options)):
        method = read_method(_with_options(source, [(name, value) for (name, _), value in zip(options, chosen, strict=True)]))
        for values in itertools.product(*(values for _, values in within)):
            made = method
            for (path, _), value in zip(within, values, strict=True):
                for place in meant(method, path):
                    made = put(made, place, value)
            names = [name for name, _ in (*options, *within)]
            found[", ".join(f"{name}={value:g}" for name, value in zip(names, (*chosen, *values), strict=True))] = made
    return found


def varied(method: Method, sweep: Sequence[tuple[str, Sequence[float]]]) -> dict[str, Method]:
    """As `variants`, of a method that is no text: only paths vary it."""
    return variants(text(method), [(path, values) for path, values in sweep if "." in path])


def _free_options(source: str) -> set[str]:
    """The options of a recipe that its call does not give."""
    call = ast.parse(spelled_out(source).strip(), mode="eval").body
    name = call.func if isinstance(call, ast.Call) else call
    assert isinstance(name, ast.Name)
    parameters = list(inspect.signature(WORDS[name.id]).parameters)
    given = {k.arg for k in call.keywords} | set(parameters[: len(call.args)]) if isinstance(call, ast.Call) else set()
    return set(parameters) - given


def with_options(source: str, options: Mapping[str, object]) -> str:
    """The text of a method with those of `options` that its recipe takes and that the text does not give. Raises InputError for no method.

    >>> with_options("multitask(steps=7)", {"steps": 9, "ways": 3, "rows": 60})
    'multitask(steps=7, ways=3)'
    """
    read_method(source)
    free = _free_options(source)
    return _with_options(source, [(name, value) for name, value in options.items() if name in free])


def in_templates(source: str, templates: tuple[str, ...]) -> str:
    """The text of a method that reads class names in these templates, where its recipe has those of photos by default and the text gives
    none. No templates: as it is. Raises InputError for no method.

    >>> in_templates("text_prior(penalty=0.5)", ("{}",))
    "text_prior(penalty=0.5, prompts=('{}',))"
    >>> in_templates("ridge", ("{}",)), in_templates("zero_shot('a {}')", ("{}",))
    ('ridge', "zero_shot('a {}')")
    """
    read_method(source)
    if not templates or "prompts" not in _free_options(source):
        return source
    call = ast.parse(spelled_out(source).strip(), mode="eval").body
    name = call.func if isinstance(call, ast.Call) else call
    assert isinstance(name, ast.Name)
    usual = inspect.signature(WORDS[name.id]).parameters["prompts"].default
    return _with_options(source, [("prompts", templates)]) if usual == PHOTO_TEMPLATES else source


def _with_options(source: str, options: Sequence[tuple[str, object]]) -> str:
    """The text of a call with more options."""
    call = ast.parse(spelled_out(source).strip(), mode="eval").body
    name, inside = (call.func, [*call.args, *call.keywords]) if isinstance(call, ast.Call) else (call, [])
    written = [*map(ast.unparse, inside), *(f"{option}={value!r}" for option, value in options)]
    return f"{ast.unparse(name)}({', '.join(written)})"
