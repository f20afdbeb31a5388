"""Learning masked words: a text encoder with a head over its vocabulary, whose answer to masked texts is what each text costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, final

import torch
from torch import Tensor, nn
from torch.nn import functional

from fewtune.backbones.backbone import Backbone
from fewtune.backbones.groups import group_names
from fewtune.backbones.masking import ASKED, NOT_ASKED
from fewtune.backbones.packed import library_name
from fewtune.backbones.passes import placed
from fewtune.backbones.providers.pretrained import load_to_mask
from fewtune.backbones.providers.quiet import transformers_quietly
from fewtune.backbones.text_preparation import TextPreparation, pooled
from fewtune.errors import InputError
from fewtune.lengths import unit

_MODEL, _WORDS = "model.", "words."


@final
class MaskedCosts(nn.Module):
    """Masked tokens (with `asked`) to [B, 2]: the sum of -log p of the words asked for, and their number. Other tokens to features [B, D].

    The table of words is applied to the places asked for alone.
    """

    def __init__(self, model: Any, pooling: str, normalize: bool) -> None:
        super().__init__()
        table = model.get_output_embeddings()
        self.decoder = next(name for name, module in model.named_modules() if module is table)
        model.set_submodule(self.decoder, nn.Identity())
        self.model, self.words, self.pooling, self.normalize = model, table, pooling, normalize

    def forward(self, tokens: Mapping[str, Tensor], side: Literal["item", "label"] = "item") -> Tensor:  # noqa: ARG002  (one tower)
        asked = tokens.get(ASKED)
        given = {name: t for name, t in tokens.items() if name != ASKED}
        if asked is None:
            features = pooled(self.model.base_model(**given).last_hidden_state, tokens["attention_mask"], self.pooling)
            return unit(features) if self.normalize else features
        states = self.model(**given).logits
        which = asked != NOT_ASKED
        each = functional.cross_entropy(self.words(states[which]).float(), asked[which], reduction="none")
        costs = torch.zeros(len(asked), device=each.device, dtype=each.dtype).index_add(0, which.nonzero()[:, 0], each)
        return torch.stack([costs, which.sum(1).to(costs)], dim=1)


@final
@dataclass(frozen=True, eq=False)
class MaskedTrainer:
    """`backbone`: the network that learns masked words. `encoder`: the names of an encoder's weights -> their names in it."""

    backbone: Backbone
    encoder: Mapping[str, str]

    def written(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """All weights, the head's too, by the names that transformers gives them."""
        network: Any = self.backbone.network
        found = {n: weights[n] for n in self.backbone.start()}
        table = f"{network.decoder}."
        return {n.replace(_WORDS, table, 1) if n.startswith(_WORDS) else n.removeprefix(_MODEL): t for n, t in found.items()}


def masked_trainer(encoder: Backbone) -> MaskedTrainer:
    """The network that learns masked words from a text encoder of transformers, with its weights and its own head where it has one.

    Raises InputError for another backbone, and for a tokenizer without a mask.
    """
    preparation = encoder.preparation
    if not isinstance(preparation, TextPreparation) or not encoder.structure.startswith("hf "):
        raise InputError(f"masked words are learned by text encoders of transformers: expected hf:NAME, found {encoder.name}.")
    if preparation.template is not None:
        raise InputError(f"{encoder.name} reads prompts: leave out its template to learn masked words.")
    if preparation.tokenizer.mask_token_id is None:
        raise InputError(f"the tokenizer of {encoder.name} has no mask token, so there is nothing to put in the place of a word.")
    with transformers_quietly():
        model, _ = load_to_mask(library_name(encoder), encoder.place.weights)
    base: Any = model.base_model
    own = {n.removeprefix(_MODEL): t for n, t in encoder.start().items()}
    if getattr(base, "pooler", None) is not None:
        base.pooler = None
    base.load_state_dict(own, strict=False)
    prefix = next(name for name, module in model.named_modules() if module is base)
    network = MaskedCosts(model, preparation.pooling, preparation.normalize).eval()
    whole = placed(network, encoder.machine, images=False)
    plain = replace(preparation, fields=(), long="cut", known={})
    made = replace(
        encoder,
        network=whole,
        preparation=plain,
        groups=group_names(n for n, _ in network.named_parameters()),
        width=int(model.config.hidden_size),
        texts=None,
        origin=None,
    )
    names = {n: f"{_MODEL}{prefix}.{n.removeprefix(_MODEL)}" for n in encoder.start()}
    if lost := sorted(set(names.values()) - made.start().keys()):
        raise InputError(f"{encoder.name} has weights that its masked-LM form lacks ({lost[0]}): it cannot learn masked words.")
    return MaskedTrainer(made, names)
