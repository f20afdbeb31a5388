"""A spec is its text: equal specs have one text, whatever way their numbers were written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, final

import pytest

from fewtune.parts.heads import HEADS, Ridge
from fewtune.parts.optimizers import OPTIMIZERS, SGD, AdamW
from fewtune.parts.plan import Plan, layerwise
from fewtune.parts.rates import RATES, After, Constant, Cosine, Decaying, Steps
from fewtune.spec import digest, parse, text

if TYPE_CHECKING:
    from fractions import Fraction


@final
@dataclass(frozen=True, kw_only=True)
class Odd:
    """Types that are not simply float."""

    either: int | float = 1
    maybe: float | None = None
    word: Literal["all", 2] | float = "all"
    whole: int = 1
    flag: bool = False
    pair: tuple[float, int] = (1.0, 1)
    row: tuple[float, ...] = ()
    nested: tuple[tuple[str, Constant | float], ...] = ()
    hidden: Fraction | float = 1


WORDS: dict[str, Any] = {word.__name__: word for word in (Odd, Plan, *RATES, *HEADS, *OPTIMIZERS)}


@pytest.mark.parametrize(
    ("given", "twin"),
    [
        (Constant(lr=1), Constant(lr=1.0)),
        (Cosine(lr=2, warmup=3, floor=0), Cosine(lr=2.0, warmup=3, floor=0.0)),
        (Steps(lr=1, at=(5, 9), factor=0), Steps(lr=1.0, at=(5, 9), factor=0.0)),
        (After(step=3, rate=1), After(step=3, rate=1.0)),
        (Decaying(rate=1, factor=1), Decaying(rate=1.0, factor=1.0)),
        (SGD(momentum=0), SGD()),
        (AdamW(betas=(0, 0.999)), AdamW(betas=(0.0, 0.999))),
        (
            Odd(maybe=3, row=(1, 2, 0.5), nested=(("a", 1), ("b", Constant(lr=0)))),
            Odd(maybe=3.0, row=(1.0, 2.0, 0.5), nested=(("a", 1.0), ("b", Constant(lr=0.0)))),
        ),
        (layerwise(None, 1, 1), layerwise(None, 1.0, 1.0)),
        (Ridge(penalty=10), Ridge(penalty=10.0)),
    ],
    ids=repr,
)
def test_an_integer_for_a_float_is_written_as_the_float(given: object, twin: object) -> None:
    assert given == twin and text(given) == text(twin) and digest(given) == digest(twin)
    assert parse(text(given), WORDS) == given


def test_what_may_be_an_integer_stays_one() -> None:
    spec = Odd(either=2, word=2, whole=3, flag=True, pair=(2, 3))
    assert text(spec) == ("Odd(either=2, maybe=None, word=2, whole=3, flag=True, pair=(2.0, 3), row=(), nested=(), hidden=1)")
    assert parse(text(spec), WORDS) == spec
    assert text(Odd(word=3)).startswith("Odd(either=1, maybe=None, word=3.0")


@pytest.mark.parametrize("value", [2**53, 2**53 + 1, 10**400])
def test_an_integer_that_no_float_equals_stays_one(value: int) -> None:
    assert parse(text(Odd(maybe=value)), WORDS) == Odd(maybe=value)
