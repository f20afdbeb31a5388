"""fewtune.testing: a right part passes, and a part that breaks one law is told which."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, final

import numpy as np
import pytest
import torch
from torch import Tensor

from fewtune.backbones.load import load_backbone
from fewtune.data.examples import make_examples
from fewtune.data.items import Vectors
from fewtune.data.row_space import RowSpace
from fewtune.keys import Key
from fewtune.keys import key as key_of
from fewtune.learning.method import Method
from fewtune.parts.aggregators import Mean, Seen, State
from fewtune.parts.heads import Ridge
from fewtune.parts.heads.head import nothing_own, one_hot
from fewtune.recipes import RECIPES
from fewtune.tasks.episodes import Episodes
from fewtune.tasks.samplers import Imbalanced, Sampled, Varied
from fewtune.tasks.task import Tasks
from fewtune.testing import check_aggregator, check_backbone, check_head, check_method, check_sampler


@final
@dataclass(frozen=True, kw_only=True)
class Nearest:
    """A right head, and with `wrong` one that breaks a law."""

    wrong: str = ""
    name: str = "head"
    reads_classes: ClassVar[bool] = False
    reads_support: ClassVar[bool] = True
    differentiable: ClassVar[bool] = True
    shared_by_name: ClassVar[bool] = True
    own: ClassVar[tuple[str, ...]] = ()

    def declare(self, width: int, classes: Sequence[str] = ()) -> dict[str, Tensor]:  # noqa: ARG002
        return {}

    begin = nothing_own

    def fit(self, support: Tensor, episodes: Episodes, class_vectors: Tensor | None, parameters: Any) -> dict[str, Tensor]:  # noqa: ARG002
        hot = one_hot(episodes, support)
        if self.wrong == "padding":
            return {"means": hot.mT @ support / support.shape[1]}
        means = hot.mT @ support / hot.sum(1).clamp(min=1)[..., None]
        match self.wrong:
            case "batch":
                means = means - means.mean(0)
            case "classes":
                means = means * torch.arange(1, means.shape[1] + 1)[:, None]
            case "order":
                means = means + support[:, :1]
        return {"means": means}

    def score(self, state: dict[str, Tensor], query: Tensor, parameters: Any) -> Tensor:  # noqa: ARG002
        means = state["means"].detach() if self.wrong == "gradient" else state["means"]
        logits = -(query[:, :, None] - means[:, None]).square().sum(-1)
        match self.wrong:
            case "dtype":
                return logits.float()
            case "finite":
                return logits / 0.0
        return logits


def test_right_heads_pass() -> None:
    check_head(Nearest())
    check_head(Ridge(penalty=10.0))


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ("padding", "padded rows and classes must have no influence"),
        ("batch", "a batch must give what its episodes give"),
        ("classes", "permuting the classes must permute"),
        ("order", "the order of the support must be irrelevant"),
        ("gradient", "its gradients"),
        ("dtype", "must keep the dtype"),
        ("finite", "must be finite"),
    ],
)
def test_a_head_that_breaks_a_law_is_told_which(wrong: str, sentence: str) -> None:
    with pytest.raises(AssertionError, match=f"Nearest: .*{sentence}"):
        check_head(Nearest(wrong=wrong))


@final
@dataclass(frozen=True, kw_only=True)
class Weighed:
    wrong: str = ""
    needs: ClassVar[Any] = "losses"
    constant: ClassVar[bool] = True
    scale: ClassVar[Any] = "own"

    def begin(self, tasks: int) -> State:
        return {"seen": torch.zeros(tasks, dtype=torch.float64)}

    def weigh(self, seen: Seen, state: State) -> tuple[Tensor, State]:
        T = len(seen.losses)
        weights = torch.ones(T, dtype=torch.float64) / T
        counts = state["seen"].index_add(0, seen.tasks, torch.ones(T, dtype=torch.float64))
        match self.wrong:
            case "one":
                weights = 2 * weights
            case "order":
                weights = weights * torch.arange(1, T + 1)
            case "shape":
                weights = weights[:, None] if T > 1 else weights
            case "dtype":
                weights = weights.float()
            case "negative":
                weights = torch.where(seen.losses > 1e4, -weights, weights)
            case "state order":
                counts = counts.index_add(0, seen.tasks, torch.arange(T, dtype=torch.float64))
            case "given state":
                state["seen"] += 1
            case "absent":
                counts = state["seen"] + 1
        return weights, {"seen": counts}


def test_aggregators() -> None:
    check_aggregator(Mean())
    check_aggregator(Weighed())
    for wrong, sentence in (
        ("one", "one task alone must weigh 1"),
        ("order", "must permute the weights"),
        ("shape", r"must be \[T\]"),
        ("dtype", "must be float64"),
        ("negative", "negative"),
        ("state order", "must not change the state"),
        ("given state", "the given state must not change"),
        ("absent", "absent tasks must keep their state"),
    ):
        with pytest.raises(AssertionError, match=f"Weighed: .*{sentence}"):
            check_aggregator(Weighed(wrong=wrong))


@final
@dataclass(frozen=True, kw_only=True)
class Drawing:
    """Episodes of `Sampled`, and with `wrong` some that break a law."""

    wrong: str = ""

    def draw(self, tasks: Tasks, key: Key, first: int, count: int) -> Episodes:
        inner = Sampled(ways=4, shots=2, queries=3)
        match self.wrong:
            case "batch":
                return inner.draw(tasks, key.child(count), first, count)
            case "key":
                return inner.draw(tasks, key_of(0), first, count)
            case "count":
                return inner.draw(tasks, key, first, count + 1)
        found = inner.draw(tasks, key, first, count)
        match self.wrong:
            case "overlap":
                return replace(found, query=found.support[:, :1].expand_as(found.query).clone())
            case "labels":
                return replace(found, query_label=found.query_label + 1)
            case "classes":
                return replace(found, classes=found.classes[:, :1].expand_as(found.classes).clone())
        return found


def test_samplers() -> None:
    for right in (Drawing(), Sampled(), Varied(), Imbalanced()):
        check_sampler(right)
    for wrong, sentence in (
        ("batch", "function of the key and its number alone"),
        ("key", "another key"),
        ("count", "as many episodes"),
        ("overlap", "share no row"),
        ("labels", "places among"),
        ("classes", "must be distinct"),
    ):
        with pytest.raises(AssertionError, match=f"Drawing: .*{sentence}"):
            check_sampler(Drawing(wrong=wrong))


def test_methods() -> None:
    for recipe in RECIPES[:6]:
        check_method(recipe)
    check_method(Method(learner=Ridge(penalty=2.0)))
    with pytest.raises(AssertionError, match="cannot be read back"):
        check_method(Method(learner=Nearest()))
    with pytest.raises(AssertionError, match=r"must return a fewtune\.Method, found a Ridge"):
        check_method(Ridge)  # type: ignore[arg-type]
    numbers = iter(range(1, 9))
    other: Callable[[], Method] = lambda: Method(learner=Ridge(penalty=float(next(numbers))))  # noqa: E731
    with pytest.raises(AssertionError, match="the same method each time"):
        check_method(other)


def test_backbones() -> None:
    space = RowSpace([make_examples(Vectors(np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)), [0, 1, 0, 1, 0])])
    right = load_backbone("mlp,inputs=4")
    check_backbone(right, space)
    with pytest.raises(AssertionError, match="every parameter exactly once"):
        check_backbone(replace(right, groups=right.groups[1:]), space)
    with pytest.raises(AssertionError, match="features must be"):
        check_backbone(replace(right, width=right.width + 1), space)

    class Mixing(torch.nn.Module):
        def __init__(self, inside: torch.nn.Module) -> None:
            super().__init__()
            self.inside = inside

        def forward(self, rows: Tensor) -> Tensor:
            found: Tensor = self.inside(rows)
            return found - found.mean(0)

    groups = tuple((name, tuple(f"inside.{n}" for n in names)) for name, names in right.groups)
    with pytest.raises(AssertionError, match="alone and among others"):
        check_backbone(replace(right, network=Mixing(right.network).eval(), groups=groups), space)
