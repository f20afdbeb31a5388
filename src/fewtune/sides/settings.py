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

    def chosen(self, modality: Modality, finetune: Finetune) -> tuple[str, ...]:
        """The methods to try."""
        if self.recipes:
            return self.recipes
        usual = USUAL.get(modality, ())
        return (*usual, *MORE) if finetune == "all" and usual else usual


def check_words(finetune: str, keep: str) -> None:
    """Raise InputError for a word that says nothing of what may be finetuned, or of what is kept."""
    if finetune not in FINETUNE:
        raise InputError(f"expected finetune to be one of {', '.join(FINETUNE)}, found {finetune!r}.")
    if keep not in get_args(Rule):
        raise InputError(f"expected keep to be likely or shown, found {keep!r}.")
