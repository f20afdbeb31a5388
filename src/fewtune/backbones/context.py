"""Context: the words before the class name become vectors that are learned, where class names are read as tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, final

import torch
from torch import Tensor, nn

from fewtune.errors import InputError
from fewtune.keys import Key, key

if TYPE_CHECKING:
    from fewtune.backbones.backbone import Backbone

Texts: TypeAlias = Callable[[Sequence[str]], Any]
Weights: TypeAlias = Mapping[str, Tensor]

_NAMES = ("dog", "apple", "river", "stone")  # whose first tokens are not all the same
TINY = 1e-6  # the least unit


@final
@dataclass(frozen=True)
class Learned:
    """`vectors` [n, W] that stand for `words` at the beginning of a text."""

    words: str
    vectors: Tensor


@final
@dataclass(frozen=True, kw_only=True)
class Context:
    """The vectors of the tokens of `words` at the beginning of a prompt are learned: `<name>.unit` x `<name>.vectors` [n, W], the same for
    all classes.

    The unit is the root mean square of the model's vectors of these words, so that one rate suits all models; a plan moves
    "<name>.vectors" alone. `start`: "words", the model's vectors, or "random", normal of the same size (`words` then say how many there
    are, as in "X X X X"). Texts that do not begin with `words` are read as before. Features of items stay as they are.

    Raises InputError for a model without a text tower that reads tokens: one without a label side, or a masked language model.
    Reference: Zhou et al., "Learning to prompt for vision-language models" (CoOp), IJCV 2022. Departs: the unit (theirs is 1, and a random
    start has a spread of .02).
    """

    words: str = "a photo of a"
    start: Literal["words", "random"] = "words"
    name: str = "context"

    def __post_init__(self) -> None:
        if not self.words.split() or "{}" in self.words:
            raise InputError(f"the words of a context stand before the class name, as in 'a photo of a', found {self.words!r}.")
        if self.start not in ("words", "random"):
            raise InputError(f"a context starts at 'words' or 'random', found {self.start!r}.")
        if not self.name:
            raise InputError("a context needs a name: its vectors are called NAME.vectors.")

    def declare(self, backbone: Backbone) -> dict[str, Tensor]:
        """The vectors that it starts from."""
        read = _reader(backbone)
        where = _place(self.words, read)
        table = _embedding(backbone, read)
        with torch.no_grad():
            vectors: Tensor = table(where.ids.to(backbone.machine.device)).clone()
        size = vectors.square().mean().sqrt().clamp_min(TINY)
        if self.start == "random":
            drawn = torch.randn(vectors.shape, generator=key(0, "edits", self.name).torch_generator(), dtype=torch.float64)
            return {f"{self.name}.vectors": drawn.to(vectors), f"{self.name}.unit": size}
        return {f"{self.name}.vectors": vectors / size, f"{self.name}.unit": size}

    def read(self, weights: Weights) -> Learned:
        """The vectors that weights hold."""
        return Learned(self.words, weights[f"{self.name}.unit"] * weights[f"{self.name}.vectors"])

    def apply(self, weights: Weights) -> dict[str, Tensor]:
        """The weights without the vectors, which are no weight of the network."""
        return {n: t for n, t in weights.items() if n not in (f"{self.name}.vectors", f"{self.name}.unit")}

    def settled(self, weights: Weights, start: Weights) -> dict[str, Tensor]:  # noqa: ARG002
        """The weights as they are: vectors are averaged by name."""
        return dict(weights)

    def aligned(self, ends: Sequence[Weights], start: Weights) -> list[dict[str, Tensor]]:  # noqa: ARG002
        """The ends as they are."""
        return [dict(end) for end in ends]

    def masks(self, declared: Weights) -> dict[str, tuple[int, ...]]:  # noqa: ARG002
        """Nothing is drawn."""
        return {}

    def drawn(self, key: Key, declared: Weights) -> dict[str, Tensor]:  # noqa: ARG002
        """Nothing is drawn."""
        return {}


@final
@dataclass(frozen=True)
class _Place:
    """The tokens `ids` [n] of some words, after the first `after` tokens of each text."""

    after: int
    ids: Tensor


@contextmanager
def reading(backbone_network: nn.Module, tokens: Any, learned: Learned, read: Texts) -> Iterator[None]:
    """Within it, the network reads `learned` in those of the texts `tokens` that begin with its words."""
    where = _place(learned.words, read)
    ids = ids_of(tokens)
    n, at = len(where.ids), slice(where.after, where.after + len(where.ids))
    begins = (ids[:, at] == where.ids).all(1) if ids.shape[1] >= at.stop else torch.zeros(len(ids), dtype=torch.bool)
    if not bool(begins.any()):
        yield
        return

    def swapped(_: nn.Module, given: tuple[Any, ...], vectors: Tensor) -> Tensor | None:
        if not given or not _are(given[0], ids):
            return None
        mine = learned.vectors.to(vectors).expand(len(ids), n, -1)
        chosen = torch.where(begins.to(vectors.device)[:, None, None], mine, vectors[:, at])
        return torch.cat([vectors[:, : at.start], chosen, vectors[:, at.stop :]], dim=1)

    hooks = [module.register_forward_hook(swapped) for module in backbone_network.modules() if isinstance(module, nn.Embedding)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def ids_of(tokens: Any) -> Tensor:
    """The numbers of tokens [n, T] in what a tokenizer gives."""
    found: Tensor = tokens["input_ids"] if isinstance(tokens, Mapping) else tokens
    return found.cpu()


def _are(given: Any, ids: Tensor) -> bool:
    return isinstance(given, Tensor) and given.shape == ids.shape and bool(torch.equal(given.cpu(), ids))


def _reader(backbone: Backbone) -> Texts:
    if backbone.texts is None or backbone.label_metric != "cosine":
        lacks = "has no label side" if backbone.texts is None else "reads class names as single words of its own"
        raise InputError(
            f"{backbone.name} {lacks}, so it has no words before a class name to learn: use an image-text model or a sentence encoder."
        )
    return backbone.texts


def _place(words: str, read: Texts) -> _Place:
    """Where the tokens of words at the beginning of a text are."""
    bare, both = (ids_of(read([f"{before}{name}" for name in _NAMES])) for before in ("", f"{words} "))
    after, end = (int((ids != ids[:1]).any(0).int().argmax()) for ids in (bare, both))
    if end <= after:
        raise InputError(f"the words {words!r} are no tokens of this model: give others, such as 'a photo of a'.")
    return _Place(after, both[0, after:end])


def _embedding(backbone: Backbone, read: Texts) -> nn.Module:
    """The table that the label side looks tokens up in."""
    tokens = read(list(_NAMES))
    ids = ids_of(tokens)
    found: list[nn.Module] = []

    def seen(module: nn.Module, given: tuple[Any, ...], _: Tensor) -> None:
        if given and _are(given[0], ids):
            found.append(module)

    tables = [module for module in backbone.network.modules() if isinstance(module, nn.Embedding)]
    hooks = [table.register_forward_hook(seen) for table in tables]
    try:
        backbone.forward(backbone.start(), tokens, side="label")
    finally:
        for hook in hooks:
            hook.remove()
    if not found:
        raise InputError(f"the label side of {backbone.name} looks no tokens up in a table, so it has no words that can be learned.")
    return found[0]
