"""Masked language models that answer prompts: `hf:NAME,template=...`. The label side is the model's own table of output words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, final
from urllib.parse import unquote

import torch
from torch import Tensor, nn

from fewtune.backbones.backbone import Backbone
from fewtune.backbones.groups import group_names
from fewtune.backbones.providers.names import Name
from fewtune.backbones.providers.pretrained import load_masked, load_tokenizer
from fewtune.backbones.providers.structures import longest, structure
from fewtune.backbones.providers.text_options import fields_in, template_of, words_in
from fewtune.backbones.text_preparation import TextPreparation
from fewtune.backbones.tokens import MASK_PLACE
from fewtune.data.prompts.words import BETWEEN, LabelWords
from fewtune.errors import InputError
from fewtune.machine import Machine

OPTIONS = ("template", "words", "fields", "max_length", "pretrained")


@final
class MaskedEncoder(nn.Module):
    """Prompts to what the model computes at the mask, just before its table of words [B, D]; label words to their rows and biases [n, D +
    1].

    The product of the two, and the bias, is the model's own logit of the word. `decoder`: the name of that table in the model.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        table = model.get_output_embeddings()
        self.decoder = next(name for name, module in model.named_modules() if module is table)
        model.set_submodule(self.decoder, nn.Identity())
        self.model, self.words = model, table

    def forward(self, tokens: Mapping[str, Tensor], side: Literal["item", "label"] = "item") -> Tensor:
        if side == "label":
            return self._label(tokens["ids"], tokens["share"])
        given = {name: t for name, t in tokens.items() if name != MASK_PLACE}
        states = self.model(**given).logits
        place = tokens[MASK_PLACE].clamp_max(states.shape[1] - 1)
        picked: Tensor = states[torch.arange(len(states), device=states.device), place]
        return picked

    def _label(self, ids: Tensor, share: Tensor) -> Tensor:
        """The mean over the words of a class, [n, D + 1]."""
        share = share.to(self.words.weight.dtype)
        rows = (self.words.weight[ids] * share[..., None]).sum(1)
        bias = torch.zeros_like(share) if self.words.bias is None else self.words.bias[ids] * share
        return torch.cat([rows, bias.sum(1, keepdim=True)], dim=1)


@final
@dataclass(frozen=True, eq=False)
class WordTokens:
    """Class names to the tokens of their label words. `name`: of the backbone, for messages."""

    name: str
    tokenizer: Any
    words: LabelWords

    def __call__(self, class_names: Sequence[str]) -> dict[str, Tensor]:
        """`ids` and `share` [n, W]; the shares of a class sum to 1. Raises InputError for a word that is not one token."""
        found = [[self._token(word, name) for part in self.words.of(name) for word in part.split(BETWEEN)] for name in class_names]
        widest = max(map(len, found), default=1)
        ids = torch.tensor([tokens + [0] * (widest - len(tokens)) for tokens in found], dtype=torch.int64).view(len(found), widest)
        share = torch.tensor([[1 / len(tokens)] * len(tokens) + [0.0] * (widest - len(tokens)) for tokens in found])
        return {"ids": ids, "share": share.view(len(found), widest)}

    def _token(self, word: str, class_name: str) -> int:
        ids = self.tokenizer(f" {word}", add_special_tokens=False)["input_ids"]
        if len(ids) == 1 and ids[0] != self.tokenizer.unk_token_id:
            return int(ids[0])
        pieces = ", ".join(self.tokenizer.convert_ids_to_tokens(ids)) if len(ids) != 1 else ""
        said = f"{len(ids)} tokens ({pieces})" if pieces else "no word of its vocabulary"
        raise InputError(
            f"a label word is one token, but {word!r} (of the class {class_name!r}) is {said} for {self.name}: give another with --words "
            f"{class_name!r}=WORD."
        )


def load_masked_model(name: Name, weights: Path | None, machine: Machine) -> Backbone:
    """A masked language model whose features are read at the mask of a template.

    Options: `template` (a sentence with [MASK], or the name of a shipped task), `words` (class=word, ...), `fields` (the names of the
    fields of texts that have two), `max_length`, `pretrained`. Raises InputError for a model without a masked-LM head, or without a mask.
    """
    name.check(OPTIONS)
    fields = fields_in(name.options.get("fields", ""))
    template, shipped = template_of(unquote(name.options["template"]), fields)
    words = words_in(name.options.get("words", ""), shipped)
    tokenizer = load_tokenizer(name)
    if tokenizer.mask_token_id is None or not getattr(tokenizer, "is_fast", False):
        lacks = "has no mask token" if tokenizer.mask_token_id is None else "has no tokenizer.json, and is too slow to place a mask"
        raise InputError(f"{name.full}: the tokenizer {lacks}, so it cannot read prompts: give a masked language model.")
    model, source = load_masked(name, weights)
    most = longest(model, tokenizer)
    preparation = TextPreparation(
        tokenizer=tokenizer,
        max_length=min(name.integer("max_length", most), most),
        pooling="mask",
        normalize=False,
        template=template,
        fields=fields,
    )
    said = structure(model, "mask")
    network = MaskedEncoder(model).eval()
    groups = group_names(n for n, _ in network.named_parameters())
    width = int(network.words.weight.shape[1])
    texts = WordTokens(name.full, tokenizer, words)
    return Backbone(
        name.full, network, preparation, width, groups, machine, source, f"{said} words={words.text}", texts, label_metric="dot"
    )
