"""`embedded`: a small image-text model inside the package, so that images and class names can be tried without a network.

It was trained on drawn scenes whose captions never say how many objects there are (`benchmarks/embedded.py`).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, final

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, relu

from fewtune.backbones.backbone import Backbone
from fewtune.backbones.groups import group_names
from fewtune.backbones.preparation import squashed
from fewtune.backbones.providers.names import Name
from fewtune.backbones.providers.seeded import seeded
from fewtune.backbones.weights import fit_weights
from fewtune.errors import InputError
from fewtune.machine import Machine

WEIGHTS = Path(__file__).with_name("embedded.safetensors")
FEATURES, SIDE = 128, 64
OPTIONS = ("pretrained", "seed")
_STEM, _WIDTHS, _GROUPS = 16, (40, 80, 128), 8
_BUCKETS, _WORDS, _LONGEST, _LOOKS = 2048, 64, 32, 4
_WORD = re.compile(r"[^\W\d_]+|\d+")


def load_embedded(name: Name, weights: Path | None, machine: Machine) -> Backbone:
    """`embedded[,pretrained=true][,seed=0]`: images of 64 x 64 pixels and texts to 128 features in one space.

    `pretrained=false`: random weights, a function of `seed`. Raises InputError for other options or weights that do not fit.
    """
    name.check(OPTIONS)
    seed = name.options.get("seed", "0")
    if not (seed.isascii() and seed.isdecimal()):
        raise InputError(f"{name.full}: expected a whole number for seed, found {seed!r}.")
    structure = f"embedded 1 {_STEM} {_WIDTHS} {_GROUPS} {_BUCKETS} {_WORDS} {_LONGEST} {_LOOKS} {FEATURES}"
    with seeded(f"{structure} seed={int(seed)}"):
        network = Embedded().eval()
    source = {"weights": "random"}
    if weights is not None:
        source = fit_weights(network, weights)
    elif name.flag("pretrained", True):
        fit_weights(network, WEIGHTS)
        source = {"weights": "embedded in fewtune"}
    parameters = [parameter for parameter, _ in network.named_parameters()]
    image, text = ([p for p in parameters if p.startswith(f"{side}.")] for side in ("image", "text"))
    groups = (*group_names(image, "image "), *group_names(text, "text "))
    scale = float(network.logit_scale.exp())
    return Backbone(name.full, network, squashed(SIDE, grey=False), FEATURES, groups, machine, source, structure, Words(), scale)


def tokens(texts: Sequence[str]) -> Tensor:
    """Numbers of words [n, T], 0 after the end of a text; T is the longest text, at least 1 and at most 32 words.

    A word is a run of letters or of digits, in small letters, without an "s" at its end; its number is a digest of it, so no list of words
    is needed. Different words rarely share a number (2,047 numbers).
    """
    found = [[_number(word) for word in _WORD.findall(text.casefold())[:_LONGEST]] for text in texts]
    long = max(1, max(map(len, found), default=1))
    return torch.tensor([numbers + [0] * (long - len(numbers)) for numbers in found], dtype=torch.int64).view(len(found), long)


@final
class Words:
    """The tokenizer of the label side: `tokens`, and which texts are cut."""

    def __call__(self, texts: Sequence[str]) -> Tensor:
        return tokens(texts)

    def cut(self, texts: Sequence[str]) -> list[bool]:
        """Whether each text has more words than are read."""
        return [len(_WORD.findall(text.casefold())) > _LONGEST for text in texts]


def _number(word: str) -> int:
    stem = word[:-1] if len(word) > 3 and word.endswith("s") else word
    digest = hashlib.blake2b(stem.encode("utf-8", "replace"), digest_size=4).digest()
    return 1 + int.from_bytes(digest, "little") % (_BUCKETS - 1)


@final
class Embedded(nn.Module):
    """Images [B, 3, 64, 64], or (side "label") numbers of words [B, T], to features [B, 128] in one space; neither is normalised.

    The buffer `logit_scale` is the logarithm of the temperature that the model was trained with.
    """

    logit_scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.image, self.text = _Image(), _Text()
        self.register_buffer("logit_scale", torch.tensor(0.0))

    def forward(self, inputs: Tensor, side: Literal["item", "label"] = "item") -> Tensor:
        features: Tensor = self.text(inputs) if side == "label" else self.image(inputs)
        return features


@final
class _Image(nn.Module):
    """A stem and three blocks, each halving the sides; the features are a linear map of all 4 x 4 places, so that places are told apart."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = _Conv(3, _STEM, 5, stride=2)
        inputs = (_STEM, *_WIDTHS[:-1])
        self.blocks = nn.ModuleList(_Block(i, o, twice=o == 80) for i, o in zip(inputs, _WIDTHS, strict=True))
        self.projection = nn.Linear(_WIDTHS[-1] * (SIDE // 16) ** 2, FEATURES)

    def forward(self, images: Tensor) -> Tensor:
        places = self.stem(images)
        for block in self.blocks:
            places = block(places)
        features: Tensor = self.projection(places.flatten(1))
        return features


@final
class _Block(nn.Module):
    """A convolution that halves the sides; if `twice`, then one beside which its input is added."""

    def __init__(self, inputs: int, outputs: int, *, twice: bool) -> None:
        super().__init__()
        self.down = _Conv(inputs, outputs, 3, stride=2)
        self.same = _Conv(outputs, outputs, 3, stride=1) if twice else None

    def forward(self, images: Tensor) -> Tensor:
        smaller: Tensor = self.down(images)
        return smaller if self.same is None else smaller + self.same(smaller)


@final
class _Conv(nn.Module):
    """A convolution without bias, GroupNorm with scale and shift, ReLU."""

    def __init__(self, inputs: int, outputs: int, size: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, size, stride=stride, padding=size // 2, bias=False)
        self.norm = nn.GroupNorm(_GROUPS, outputs)

    def forward(self, images: Tensor) -> Tensor:
        return relu(self.norm(self.conv(images)))


@final
class _Text(nn.Module):
    """Word vectors, averaged in four ways that learn which words to look at, then two layers. The order of words does not matter."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(_BUCKETS, _WORDS)
        self.looks = nn.Linear(_WORDS, _LOOKS, bias=False)
        self.hidden = nn.Linear(_LOOKS * _WORDS, 2 * FEATURES)
        self.projection = nn.Linear(2 * FEATURES, FEATURES)

    def forward(self, numbers: Tensor) -> Tensor:
        known = (numbers > 0)[..., None]
        words = self.embedding(numbers) * known
        weights = torch.softmax(self.looks(words).masked_fill(~known, -1e4), dim=1)  # equal where there is no word
        averages = (weights[..., None] * words[..., None, :]).sum(1)
        features: Tensor = self.projection(gelu(self.hidden(averages.flatten(1))))
        return features
