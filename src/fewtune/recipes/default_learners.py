"""The frozen learners that are compared and chosen among where none is named."""

from __future__ import annotations

import ast

from fewtune.learning.method import Method
from fewtune.recipes.language import read_method
from fewtune.words import option

MOST_MATCHING_ROWS = 20_000  # it compares every held-out row with every other one: its time grows with the square of the rows
MOST_ITERATED = 2_000_000  # rows x classes: beyond it the learners that iterate take hours, and those in closed form seconds
_ASKED = option("--method matching", 'method="matching"')
_ASKED_TOO = option("--method logistic", 'method="logistic"')
_SAID = {
    "prompt_zero_shot": "zero-shot by the prompt",
    "zero_shot": "zero-shot",
    "text_prior": "ridge with class names",
    "named_logistic": "logistic with class names",
    "shrink": "means with class names",
}


def display_name(text: str) -> str:
    """What people call the learner that a text spells, without the templates of class names. Other texts stay as they are.

    >>> display_name("named_logistic(prompts='{}', C=0.5)")
    'logistic with class names (C=0.5)'
    >>> display_name("ridge(penalty=10)")
    'ridge(penalty=10)'
    """
    try:
        spelled = ast.parse(text, mode="eval").body
    except SyntaxError:
        return text
    call = spelled if isinstance(spelled, ast.Call) else None
    named = spelled if call is None else call.func
    if not isinstance(named, ast.Name) or named.id not in _SAID:
        return text
    given = [] if call is None else [ast.unparse(k) for k in (*call.args, *(k for k in call.keywords if k.arg != "prompts"))]
    return _SAID[named.id] + (f" ({', '.join(given)})" if given else "")


def candidates(
    *,
    label_side: bool,
    modality: str,
    rows: int = 0,
    classes: int = 0,
    prompts: tuple[str, ...] = (),
    single: bool = False,
    answers_prompts: bool = False,
) -> dict[str, Method]:
    """Methods by the text that spells them, simplest first; those that read class names only where they can be read.

    `prompts`: the templates of those that read class names, by default common ones. `rows`: how many there are to learn from; matching is
    left out beyond 20,000. `classes`: how many they have; where rows x classes are beyond two million, the learners in closed form remain.
    `single`: no class has two examples, so that nothing can be held out and a fixed learner is taken
    (`usual.alone_of`); `shrink` is then among the methods for texts. With more examples it is no better than the others
    (docs/reproductions.md). `answers_prompts`: the names are words at the mask of a prompt, which have a learner of their own. A support
    vector machine is not among them: on average it is no better than logistic regression (benchmarks/heads.py).
    """
    most = {"centroid": None, "matching": MOST_MATCHING_ROWS, "ridge": None, "logistic": None, "blend": None}
    texts = [text for text, limit in most.items() if limit is None or rows <= limit]
    closed = is_large(rows, classes)
    if closed:
        texts = ["centroid", "ridge", "gaussian"]
    if answers_prompts:
        texts.append("prompt_zero_shot")
    elif label_side:  # images are named in sentences, texts by the class name alone
        given = repr(prompts) if prompts else "" if modality == "image" else "'{}'"
        texts += [
            f"{name}(prompts={given})" if given else name
            for name in (
                "zero_shot",
                *(() if closed else ("text_prior", "named_logistic")),
                *(["shrink"] if single and modality == "text" else []),
            )
        ]
    return {text: read_method(text) for text in texts}


def is_large(rows: int, classes: int) -> bool:
    """Whether only learners in closed form are tried."""
    return rows * classes > MOST_ITERATED


def remarks_on_candidates(rows: int, classes: int = 0) -> tuple[str, ...]:
    """What is said of learners that so many rows leave out, a sentence each."""
    if is_large(rows, classes):
        return (
            f"Only learners in closed form were tried: with {rows:,} rows of {classes:,} classes, logistic regression "
            f"and what is made of it take hours (ask for it with {_ASKED_TOO}).",
        )
    if rows <= MOST_MATCHING_ROWS:
        return ()
    return (
        f"matching was not tried: it compares each row with every other, which takes long beyond {MOST_MATCHING_ROWS:,} rows "
        f"(ask for it with {_ASKED}).",
    )
