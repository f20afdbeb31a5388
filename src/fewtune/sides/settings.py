"""How the backbone may be finetuned, and by which methods on the target's own labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, final, get_args

from fewtune.data.items import Modality
from fewtune.errors import InputError
from fewtune.sides.compared import Rule
from fewtune.sides.own import own_method

Finetune: TypeAlias = Literal["auto", "never", "own", "sources", "all"]
FINETUNE: tuple[str, ...] = get_args(Finetune)

CONTRASTIVE = "contrastive(on='support')"
WITH_HEAD = "contrastive(on='support', lr=Cosine(lr=3e-4), last=6, head_lr=0.01)"
USUAL: dict[str, tuple[str, ...]] = {"text": (CONTRASTIVE,), "image": (WITH_HEAD,)}
"""What is tried first on own labels, by modality (docs/reproductions.md)."""
SETTINGS: dict[str, tuple[str, ...]] = {
    "text": (
        CONTRASTIVE,
        "contrastive(on='support', lr=Cosine(lr=3e-4))",
        "contrastive(on='support', lr=Cosine(lr=3e-5))",
        "contrastive(on='support', last=1)",
        "contrastive(on='support', last=6)",
    ),
    "image": (
        WITH_HEAD,
        "contrastive(on='support', lr=Cosine(lr=9e-4), last=6, head_lr=0.01)",
        "contrastive(on='support', lr=Cosine(lr=1e-4), last=6, head_lr=0.01)",
        "contrastive(on='support', lr=Cosine(lr=3e-4), last=3, head_lr=0.01)",
        "contrastive(on='support', lr=Cosine(lr=3e-4), last=12, head_lr=0.01)",
    ),
}
"""What `all` chooses among for each target, the usual one first: three times its rate and a third, fewer groups and twice as many."""
NAMED = "l2_sp(on='support', steps=60, lr=Cosine(lr=1e-4), last=3, optimizer=AdamW(weight_decay=0.0), prompts='a photo of a {}.')"
"""Tried too for images where the model reads class names: they are the head, zero-shot at the start, and all stays near its start."""
PROMPTS = "prompt_finetuning()"
"""Tried for models that answer prompts."""
WITH_VIEWS = WITH_HEAD.removesuffix(")") + ", view=Augment())"
MORE = (
    "linear_probe_then_finetune(on='support', steps=60, last=3)",
    "lora(on='support', steps=60)",
    "bitfit(on='support', steps=60)",
)
"""What `all` tries beside it."""


@final
@dataclass(frozen=True, kw_only=True)
class OwnSettings:
    """Finetuning on the target's own labels. `recipes`: texts of methods that train on a support; by default what suits the backbone.

    `repeats`: of the folds that judge every side, instead of what the time allows (0), so that the outcome does not depend on the machine.
    Raises InputError for a method that does not train on a support, and for fewer than 0 repeats.
    """

    recipes: tuple[str, ...] = ()
    repeats: int = 0

    def __post_init__(self) -> None:
        if self.repeats < 0:
            raise InputError(f"expected at least 0 repeats of the folds, found {self.repeats}.")
        for recipe in self.recipes:
            own_method(recipe)

    def chosen(self, modality: Modality, finetune: Finetune, *, label_side: bool = False, answers_prompts: bool = False) -> tuple[str, ...]:
        """The methods to try. `label_side`: whether the model reads class names. `answers_prompts`: whether they are words at a mask."""
        if self.recipes:
            return self.recipes
        if answers_prompts:
            return (PROMPTS,)
        usual = USUAL.get(modality, ())
        if modality == "image":
            usual += (NAMED,) * label_side
        more = (*MORE, *((WITH_VIEWS,) if modality == "image" else ()))
        return (*usual, *more) if finetune == "all" and usual else usual

    def settings(self, modality: Modality, finetune: Finetune) -> tuple[str, ...]:
        """The methods that are chosen among for each target, the usual one first. None where methods were asked for by name."""
        return SETTINGS.get(modality, ()) if finetune == "all" and not self.recipes else ()


def check_words(finetune: str, keep: str) -> None:
    """Raise InputError for a word that says nothing of what may be finetuned, or of what is kept."""
    if finetune not in FINETUNE:
        raise InputError(f"expected finetune to be one of {', '.join(FINETUNE)}, found {finetune!r}.")
    if keep not in get_args(Rule):
        raise InputError(f"expected keep to be likely or shown, found {keep!r}.")
