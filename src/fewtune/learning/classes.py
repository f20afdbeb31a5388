"""Class vectors: what a backbone's label side makes of class names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from jaxtyping import Float
from torch import Tensor

from fewtune.backbones.backbone import Backbone, Weights
from fewtune.backbones.context import Learned
from fewtune.data.templates import fill, readable
from fewtune.errors import InputError
from fewtune.learning.method import Method
from fewtune.lengths import unit
from fewtune.parts.heads.head import Head


def prompts_of(head: Head) -> tuple[str, ...]:
    """The templates a head reads class names through; empty for heads that do not read them."""
    return tuple(getattr(head, "prompts", ())) if head.reads_classes else ()


def class_vectors(
    backbone: Backbone, weights: Weights, class_names: Sequence[str], prompts: Sequence[str], learned: Learned | None = None
) -> Float[Tensor, "C D"]:
    """One unit vector a class: the texts of all templates are embedded, normalised, averaged and normalised again.

    Of a label side that is compared by products ("dot"), the mean as it is, with the bias last: [C, D + 1]. `learned`: vectors for the
    first words of the texts.

    Reference: Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", 2021, section 3.1.4 (ensembling in
    embedding space). Raises InputError where the backbone has no label side.
    """
    if not backbone.label_side:
        raise InputError(f"backbone {backbone.name!r} has no label side, so class names cannot be compared with: choose another method.")
    distinct = sorted(set(class_names))
    texts = [fill(prompt, readable(name)) for name in distinct for prompt in prompts]
    embedded = backbone.embed_labels(weights, texts, learned)
    if backbone.label_metric == "dot":
        mean = embedded.view(len(distinct), len(prompts), -1).mean(1)
    else:
        mean = unit(unit(embedded).view(len(distinct), len(prompts), -1).mean(1))
    place = {name: i for i, name in enumerate(distinct)}
    return mean[[place[name] for name in class_names]]


def vectors_by_prompts(backbone: Backbone, class_names: Sequence[str], methods: Iterable[Method]) -> dict[tuple[str, ...], Tensor]:
    """Class vectors [K, D] for each set of prompts that some method reads."""
    wanted = {prompts_of(m.head) for m in methods if m.head.reads_classes}
    start = backbone.start() if wanted else {}
    return {prompts: class_vectors(backbone, start, class_names, prompts) for prompts in wanted}
