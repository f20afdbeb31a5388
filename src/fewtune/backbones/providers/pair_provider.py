"""Two towers side by side: `pair:IMAGE+TEXT`, an image encoder and a text encoder, each with a projection into one space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, final

import torch
from torch import Tensor, nn

from fewtune.backbones.backbone import Backbone
from fewtune.backbones.places import NOWHERE, Place, is_packed
from fewtune.backbones.providers.names import Name
from fewtune.backbones.providers.packable import Packable
from fewtune.backbones.providers.pair_names import Tower, placed, read_pair
from fewtune.backbones.weights import fit_weights
from fewtune.errors import InputError
from fewtune.keys import key
from fewtune.lengths import unit
from fewtune.machine import Machine

IMAGE, TEXT = "image", "text"  # the towers: names of weights begin so, and so are the folders of a packed pair called
PROJECTION = "projection"  # the group of both projections
SCALE = 10.0  # of the cosines, before anything was learned


@final
class Pair(nn.Module):
    """Images to features, or (side "label") texts to class vectors, in one space: the unit features of a tower through its projection.

    `logit_scale` is the logarithm of the number that multiplies cosines. No forward pass reads it.
    """

    logit_scale: Tensor

    def __init__(self, image: nn.Module, text: nn.Module, widths: tuple[int, int], width: int) -> None:
        super().__init__()
        self.image, self.text = image, text
        self.image_projection, self.text_projection = (nn.Linear(w, width) for w in widths)
        self.register_buffer("logit_scale", torch.tensor(SCALE).log())
        for name, projection in ((IMAGE, self.image_projection), (TEXT, self.text_projection)):
            _start(name, projection)

    def forward(self, inputs: Any, side: Literal["item", "label"] = "item", **noise: Tensor) -> Tensor:
        if side == "label":
            vectors: Tensor = self.text_projection(unit(self.text(inputs, side="label")))
            return vectors
        features: Tensor = self.image_projection(unit(self.image(inputs, **noise)))
        return features


@torch.no_grad()
def _start(name: str, projection: nn.Linear) -> None:
    """The identity where the widths are equal, else random (a function of the tower and its width), which keeps lengths on average."""
    width, inputs = projection.weight.shape
    if width == inputs:
        projection.weight.copy_(torch.eye(width))
    else:
        drawn = torch.randn(width, inputs, generator=key(0, "pair", name).torch_generator())
        projection.weight.copy_(drawn / width**0.5)
    projection.bias.zero_()


def load_pair(name: Name, weights: Path | None, machine: Machine, towers: Sequence[Place] = ()) -> Backbone:
    """Two towers. Images are prepared as the image tower has it, class names are tokens of the text tower.

    Option: `width` of the common space, by default that of the text tower. `weights`: those of the whole pair, a file with the names of its
    weights. `towers`: the places of both, where they are known. A pair that was packed lies in one folder, `name.model`.

    Raises InputError for towers of the wrong modality, and what their providers raise.
    """
    folder = Path(name.model) if Path(name.model).is_dir() else None
    if folder is not None and not all(is_packed(folder / part) for part in (IMAGE, TEXT)):
        raise InputError(f"{folder} holds no packed pair: expected a folder with {IMAGE}/ and {TEXT}/ in it, as `fewtune pack` writes.")
    if folder is None:
        image, text, _ = read_pair(f"{name.provider}:{name.model}")
        both = placed((image, text), [(p.folder, p.weights) for p in towers]) if towers else (image, text)
        loaded = [_loaded(tower, machine) for tower in both]
    else:
        from fewtune.backbones.packed import load_packed

        loaded = [load_packed(folder / part, machine) for part in (IMAGE, TEXT)]
    made = paired(loaded[0], loaded[1], name, machine)
    whole = weights if folder is None else folder / "model.safetensors"
    if whole is None:
        return made
    source = fit_weights(_Apart(made.network) if folder is not None else made.network, whole)
    scale = float(made.network.get_buffer("logit_scale").exp())
    return replace(made, source={**made.source, **source}, logit_scale=scale)


def paired(image: Backbone, text: Backbone, name: Name, machine: Machine) -> Backbone:
    """A pair of two loaded backbones. Raises InputError where one is of the wrong modality."""
    if image.preparation.modality != "image":
        raise InputError(
            f"{name.full}: the first tower reads images, but {image.name} reads {image.preparation.modality}s: write pair:IMAGE+TEXT."
        )
    if text.texts is None:
        raise InputError(
            f"{name.full}: the second tower reads texts, but {text.name} reads {text.preparation.modality}s alone: write pair:IMAGE+TEXT."
        )
    if text.label_metric != "cosine":
        raise InputError(f"{name.full}: {text.name} compares by products with a bias, not by cosines: give an encoder of sentences.")
    width = name.integer("width", text.width)
    network = Pair(image.network, text.network, (image.width, text.width), width).eval()
    groups = [
        *((f"{TEXT} {title}", tuple(f"{TEXT}.{n}" for n in names)) for title, names in text.groups),
        *((f"{IMAGE} {title}", tuple(f"{IMAGE}.{n}" for n in names)) for title, names in image.groups),
        (PROJECTION, tuple(n for n, _ in network.named_parameters() if n.split(".")[0].endswith("_projection"))),
    ]
    return Backbone(
        name.full,
        network,
        image.preparation,
        width,
        tuple(groups),
        machine,
        {f"{side} {what}": said for side, tower in ((IMAGE, image), (TEXT, text)) for what, said in tower.source.items()},
        f"pair {image.structure} + {text.structure} {text.preparation.text} {width}",
        text.texts,
        SCALE,
        image.noisy,
        Place(towers=(image.place, text.place)) if (image.place, text.place) != (NOWHERE, NOWHERE) else NOWHERE,
        towers=(image, text),
    )


def packable(original: Backbone) -> Packable:
    """Both towers, each packed by its own provider, and the projections with the scale."""
    network = original.network
    parts = {part: replace(tower, network=network.get_submodule(part)) for part, tower in zip((IMAGE, TEXT), original.towers, strict=True)}
    return Packable(name=original.name, weights=dict(_Apart(network).state_dict()), folder=True, parts=parts)


@final
class _Apart(nn.Module):
    """What a pair has beside its towers; by the same names."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.image_projection, self.text_projection = (network.get_submodule(f"{part}_projection") for part in (IMAGE, TEXT))
        self.register_buffer("logit_scale", network.get_buffer("logit_scale"))


def _loaded(tower: Tower, machine: Machine) -> Backbone:
    """One tower by its name, with the place where it was read from."""
    from fewtune.backbones.load import load_backbone

    return load_backbone(tower.name.full, weights=tower.weights, folder=tower.name.folder, machine=machine)
