"""An option of the wrong type is refused in one sentence, in the text of a method and in a call from Python."""

from __future__ import annotations

import inspect
import random
from typing import Any

import numpy as np
import pytest

from fewtune import recipes
from fewtune.errors import InputError
from fewtune.parts.optimizers import SGD
from fewtune.parts.rates import Cosine
from fewtune.recipes.language import WORDS, read_method
from fewtune.spec import checked, parse, text

RATES = "Constant(...), Cosine(...), LinearDecay(...), Steps(...), After(...) or Learned(...)"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("multitask(steps='x')", "multitask: steps is a whole number, found 'x'."),
        ("multitask(15, 'x')", "multitask: shots is a whole number, found 'x'."),
        ("multitask(steps=True)", "multitask: steps is a whole number, found True."),
        ("multitask(steps=2.5)", "multitask: steps is a whole number, found 2.5."),
        ("multitask(steps=inf)", "multitask: steps is a whole number, found inf."),
        ("multitask(steps=None)", "multitask: steps is a whole number, found None."),
        ("maml(ways=Cosine(lr=0.1))", "maml: ways is a whole number, found Cosine(...)."),
        ("maml(through='back')", "maml: through is 'unroll' or 'first_order', found 'back'."),
        ("maml(head_lr='x')", "maml: head_lr is a number or None, found 'x'."),
        ("maml(lr='x')", f"maml: lr is a number, {RATES}, found 'x'."),
        ("maml(lr=SGD())", f"maml: lr is a number, {RATES}, found SGD(...)."),
        (
            "maml(optimizer=Cosine(lr=1))",
            "maml: optimizer is SGD(...), Adam(...), AdamW(...), RAdam(...) or Relative(...), found Cosine(...).",
        ),
        ("multitask(head=3)", "multitask: head is a head, Method(...) or None, found 3."),
        ("multitask(selection=ridge)", "multitask: selection is a selection or None, found Method(...)."),
        ("ridge(penalty=[1])", "ridge: penalty is a number or 'loo', found (1,)."),
        ("ridge(penalty='x')", "ridge: penalty is a number or 'loo', found 'x'."),
        ("Ridge(normalize=1)", "Ridge: normalize is True or False, found 1."),
        ("Ridge(name=1)", "Ridge: name is a text in quotes, found 1."),
        ("soup(lrs=0.1)", "soup: lrs is a tuple such as (0.1, 0.2), found 0.1."),
        ("soup(lrs=(0.1, 'x'))", "soup: lrs[1] is a number, found 'x'."),
        ("zero_shot(prompts=(1,))", "zero_shot: prompts[0] is a text in quotes, found 1."),
        ("multitask(optimizer=Adam(betas=(0.9,)))", "Adam: betas is a tuple of 2 such as (0.1, 0.2), found (0.9,)."),
        ("mamf(prompts=ridge)", "mamf: prompts is a tuple such as ('a', 'b'), found Method(...)."),
        ("Method(learner=Ridge(), phases=(3,))", "Method: phases[0] is Phase(...), Average(...) or Greedy(...), found 3."),
        ("Method(learner=Cosine(lr=1))", "Method: learner is a head or Adapt(...), found Cosine(...)."),
        ("Method(learner=Ridge(), phases=3)", "Method: phases is a tuple, each entry Phase(...), Average(...) or Greedy(...), found 3."),
        ("Plan(rules=(('head.*',),))", "Plan: rules[0] is a tuple of 2 such as ('a', 0.2), found ('head.*',)."),
        ("Plan(rules=3)", "Plan: rules is a tuple, each entry a tuple of 2 such as ('a', 0.2), found 3."),
        ("multitask(steps=(Cosine(lr=1), 'x'))", "multitask: steps is a whole number, found (Cosine(...), 'x')."),
        (f"multitask(steps='{'x' * 100}')", f"multitask: steps is a whole number, found '{'x' * 56}...."),
        (f"ridge(penalty='{'x' * 58}')", f"ridge: penalty is a number or 'loo', found '{'x' * 58}'."),
        (f"everything({10**400})", "everything: a number is too large."),
        ("soup(lrs=())", "soup: expected at least one learning rate such as lrs=(0.01,), found none."),
    ],
)
def test_the_sentence_names_the_option_what_was_expected_and_what_was_found(source: str, said: str) -> None:
    with pytest.raises(InputError) as refused:
        read_method(source)
    assert str(refused.value) == said


def test_a_lone_text_means_a_tuple_of_one() -> None:
    assert read_method("zero_shot(prompts='a {}')") == read_method("zero_shot(prompts=('a {}',))")
    assert parse("Named(names='sky')", WORDS).names == ("sky",)
    assert read_method("mamf(prompts='a {}')") == read_method("mamf(prompts=('a {}',))")


def test_a_call_from_python_is_refused_alike() -> None:
    called: Any = recipes.multitask
    for options, said in (
        ({"steps": "x"}, "multitask: steps is a whole number, found 'x'."),
        ({"optimizer": SGD}, "multitask: optimizer is SGD(...), Adam(...), AdamW(...), RAdam(...) or Relative(...), found SGD."),
        ({"lr": None}, f"multitask: lr is a number, {RATES}, found None."),
        ({"head": "ridge"}, "multitask: head is a head, Method(...) or None, found 'ridge'."),
    ):
        with pytest.raises(InputError) as refused:
            called(**options)
        assert str(refused.value) == said
    frozen: Any = recipes.ridge
    with pytest.raises(InputError, match=r"ridge: penalty is a number or 'loo', found \(1,\)"):
        frozen(penalty=[1])


def test_numbers_of_numpy_and_lists_are_taken_from_python() -> None:
    called: Any = recipes.multitask
    method = called(steps=np.int64(6), lr=np.float32(0.5), optimizer=SGD(momentum=0.5))
    assert text(method) == text(recipes.multitask(steps=6, lr=0.5, optimizer=SGD(momentum=0.5)))
    soup: Any = recipes.soup
    assert text(soup(lrs=[0.1, 0.2])) == text(recipes.soup(lrs=(0.1, 0.2)))
    assert text(called(steps=6.0, lr=Cosine(lr=1))) == text(recipes.multitask(steps=6, lr=Cosine(lr=1.0)))


LITERALS = (
    "None", "True", "0", "1", "-3", "7", "0.5", "-0.5", "3.0", "1e300", "inf", "-inf", "nan", str(10**400), "'x'", "''", "'all'", "'{}'",
    "()", "(1,)", "[1, 2]", "('a', 'b')", "(0.9, 0.99)", "((1,),)", "(('*', 1),)", "(('*', 'x'),)", "(None,)", "(True, 2)", "((),)",
)  # fmt: skip
CALLS = (
    "Cosine(lr=0.1)", "Decaying(rate=1, factor=0.5)", "SGD", "Ridge", "Text", "ridge", "multitask", "Sampled", "Named(names=('a',))",
    "CrossEntropy", "Mean", "Last", "Identity", "Augment", "Plan(rules=(('*', 1),))", "Implicit", "(Ridge(),)", "(CrossEntropy(),)",
    "(('*', Ridge()),)", "Average(members=((),), weights=(1,))", "LoRA", "MeanCosine",
)  # fmt: skip


@pytest.mark.parametrize("name", sorted(WORDS))
def test_whatever_an_option_is_given_only_an_input_error_comes_out(name: str) -> None:
    choose = random.Random(name)
    options = list(inspect.signature(WORDS[name]).parameters)
    texts = [f"{name}({option}={value})" for option in options for value in choose.sample(LITERALS + CALLS, 12)]
    for _ in range(40):
        given = choose.sample(options, min(len(options), choose.randint(1, 4)))
        texts.append(f"{name}({', '.join(f'{option}={choose.choice(LITERALS + CALLS)}' for option in given)})")
    for source in texts:
        try:
            found = parse(source, WORDS)
        except InputError as refused:
            assert str(refused) and "\n" not in str(refused), source
        else:
            assert parse(text(found), WORDS) == found or "nan" in source, source


def test_every_option_has_a_type_that_is_checked() -> None:
    """A literal of a type that no option of the word takes is refused, so no annotation is one that the check passes over."""
    for name in WORDS:
        for option in inspect.signature(WORDS[name]).parameters:
            with pytest.raises(InputError, match=rf"{option}(\[0\])* is "):
                checked(WORDS[name], name, {option: (((((),),),),)})
