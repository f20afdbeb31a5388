"""Linear: a weight matrix that is trained, not solved for. It reads its parameters and nothing of the support."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, final

import torch
from jaxtyping import Float
from torch import Tensor

from fewtune.data.templates import PHOTO_TEMPLATES
from fewtune.errors import InputError
from fewtune.keys import key
from fewtune.lengths import unit
from fewtune.parts.heads.features import linear
from fewtune.parts.heads.head import Parameters, State, one_hot
from fewtune.parts.heads.prompts import USUAL, check_prompts, has_bias
from fewtune.parts.meeting import picked
from fewtune.spec import digest
from fewtune.tasks.episodes import Episodes


@final
@dataclass(frozen=True, kw_only=True)
class Linear:
    """logits = f W^T + b, with `<name>.weight` and, with `bias`, `<name>.bias`.

    `rows` "class": one row for each class of the row space, [C, D]; an episode reads the rows of its classes (standard finetuning over all
    base classes; the shared class table of Wang et al. 2021). "place": one row for each place 0..ways-1 of an episode, [ways, D].

    `start` of a "place" head: "zeros"; "random" (normal, 1 / sqrt(D), a function of the name); "centroid": what makes the logits those of
    the nearest class mean by squared distance of unit features, W = 2 p, b = -|p|^2; "text": the class vectors of `prompts`, for backbones
    that read class names (unit vectors; of a masked language model the rows of its words and their biases); "shared": what the current
    weights hold under its name (MAML: the outer phase trains it, from `init`). With a zero head the encoder has no gradient at first: for
    MAML that is the better start (the first inner step makes prototypes of the support), while BOIL, whose inner loop moves the body
    alone, needs "random".

    `cosine`: logits = t cosine(f, W_c), without a bias; `<name>.temperature` is t and starts at `temperature`, None: as in `Text`.

    Reference: Wang, Zhao, Li, "Bridging Multi-Task Learning and Meta-Learning", ICML 2021, equation 4 (shared rows).
    """

    rows: Literal["class", "place"] = "place"
    start: Literal["zeros", "random", "centroid", "shared", "text"] = "zeros"
    init: Literal["zeros", "random"] = "zeros"
    ways: int = 0
    bias: bool = True
    cosine: bool = False
    temperature: float | None = None
    prompts: tuple[str, ...] = ()
    name: str = "head"

    reads_support: ClassVar[bool] = False
    differentiable: ClassVar[bool] = True
    shared_by_name: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.rows not in ("class", "place") or self.start not in ("zeros", "random", "centroid", "shared", "text"):
            raise InputError(
                f"unknown rows {self.rows!r} or start {self.start!r}: expected class or place; zeros, random, centroid, shared or text."
            )
        if self.init not in ("zeros", "random"):
            raise InputError(f"unknown init {self.init!r}: expected zeros or random.")
        if self.rows == "class" and self.start in ("centroid", "shared", "text"):
            raise InputError(f"a class table starts at zeros or random, found {self.start!r}.")
        if self.start == "text" or self.prompts:
            object.__setattr__(self, "prompts", check_prompts(self.prompts or PHOTO_TEMPLATES))
        if self.temperature is not None and not (self.cosine and 0 < self.temperature < math.inf):
            raise InputError(f"a temperature is a positive number and goes with cosine=True, found {self.temperature:g}.")

    @property
    def reads_classes(self) -> bool:
        """Where it starts at class names."""
        return self.start == "text"

    @property
    def own(self) -> tuple[str, ...]:
        """All of a "place" head, unless its start is shared."""
        return self._names if self.rows == "place" and self.start != "shared" else ()

    @property
    def _names(self) -> tuple[str, ...]:
        return (f"{self.name}.weight", f"{self.name}.bias") if self.bias and not self.cosine else (f"{self.name}.weight",)

    def declare(self, width: int, classes: Sequence[str] = ()) -> Parameters:
        """The rows it starts from: [classes, D] of a class table, [ways, D] of places (zeros or random; none where `ways` is 0).

        A class table also declares `<name>.classes`, a number that stands for the classes of its rows.
        """
        if self.rows == "place":
            return {**(self._rows(self.ways, width) if self.ways else {}), **self._scale()}
        mark = int(digest(repr(tuple(classes)))[:15], 16)
        return {**self._rows(len(classes), width), **self._scale(), f"{self.name}.classes": torch.tensor(mark, dtype=torch.int64)}

    def _scale(self) -> Parameters:
        start = USUAL if self.temperature is None else self.temperature
        return {f"{self.name}.temperature": torch.tensor(start, dtype=torch.float32)} if self.cosine else {}

    def _rows(self, count: int, width: int) -> Parameters:
        weight = torch.zeros(count, width)
        if "random" in (self.start, self.init if self.start == "shared" else ""):
            generator = key(0, "head", self.name).torch_generator()
            weight = torch.randn(count, width, generator=generator) / width**0.5
        return dict(zip(self._names, (weight, torch.zeros(count)), strict=False))

    def begin(self, width: int, support: Callable[[], Tensor], episode: Episodes) -> Parameters:
        """The rows of one episode's own "place" head: zeros, random, or from its class means."""
        if not self.own or self.start == "text":
            return {}
        if self.start != "centroid":
            return self._rows(episode.ways, width)
        features = support()
        members = one_hot(episode, features)
        means = torch.bmm(members.mT, unit(features))[0] / members.sum(1)[0].clamp_min(1)[:, None]
        return dict(zip(self._names, (2 * means, -(means**2).sum(-1)), strict=False))

    def begin_at(self, class_vectors: Float[Tensor, "K V"], width: int) -> Parameters:
        """The rows of one episode's own head from its class vectors; nothing where they do not start it."""
        if self.start != "text":
            return {}
        if has_bias(class_vectors, width):
            return dict(zip(self._names, (class_vectors[:, :-1], class_vectors[:, -1]), strict=False))
        return dict(zip(self._names, (unit(class_vectors), class_vectors.new_zeros(len(class_vectors))), strict=False))

    def fit(self, support: Tensor, episodes: Episodes, class_vectors: Tensor | None, parameters: Parameters) -> State:  # noqa: ARG002
        """{"weight": [E, K, D], "bias": [E, K]}: the rows of each episode's classes; with `cosine` unit rows times the temperature."""
        if missing := [n for n in self._names if n not in parameters or not len(parameters[n])]:
            raise InputError(
                f"nothing has trained {missing[0]!r}, so head {self.name!r} has no rows to answer with: train it in a source phase, or "
                "take a head that learns from the support, such as Centroid()."
            )
        chosen = {n.removeprefix(f"{self.name}."): parameters[n] for n in self._names}
        if self.rows == "class":
            index = episodes.classes.clamp_min(0).to(support.device)
            return self._scaled({part: picked(rows, index) for part, rows in chosen.items()}, parameters)
        E, K = len(episodes), episodes.ways
        if chosen["weight"].shape[0] != K:
            raise InputError(
                f"a head of {chosen['weight'].shape[0]} places was trained, but the episodes have {K} ways: "
                "train and test with the same number of ways."
            )
        return self._scaled({part: rows.expand(E, *rows.shape) for part, rows in chosen.items()}, parameters)

    def _scaled(self, state: State, parameters: Parameters) -> State:
        if not self.cosine:
            return state
        return {"weight": parameters[f"{self.name}.temperature"].to(state["weight"]) * unit(state["weight"])}

    def score(self, state: State, query: Tensor, parameters: Parameters) -> Tensor:  # noqa: ARG002
        if self.cosine:
            return linear(state, query, normalize=True)
        logits = torch.bmm(query, state["weight"].to(query).mT)
        return logits + state["bias"].to(query)[:, None] if self.bias else logits
