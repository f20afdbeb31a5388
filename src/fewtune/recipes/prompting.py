"""Methods for masked language models that answer prompts: the label words are the head (`Text`), so zero-shot, finetuning on own labels and
finetuning on other data differ only in what moves.

The backbone has a template (`--template`); the words of the classes are rows of its output table, which move with it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Unpack

from fewtune.learning.method import Method
from fewtune.learning.phase import Adapt, Phase
from fewtune.parts.heads import Text
from fewtune.parts.optimizers import AdamW
from fewtune.parts.plan import Plan, upper_or_all
from fewtune.parts.rates import Cosine, Rate
from fewtune.recipes.shared_defaults import defaults, typed
from fewtune.recipes.shared_settings import Training
from fewtune.tasks.chosen import Chosen, Selection
from fewtune.tasks.pooled import Pooled
from fewtune.tasks.sampler import Sampler
from fewtune.tasks.samplers import Sampled

WORDS = Text(prompts=("{}",), temperature=1.0)
"""Reads the model's own logits of the label words."""


@typed
def prompt_zero_shot() -> Method:
    """The label word that the model finds most likely at the mask; the support is not looked at.

    Reference: Brown et al., "Language models are few-shot learners", NeurIPS 2020; Gao et al., "Making pre-trained language models better
    few-shot learners" (LM-BFF), ACL 2021, table 3.

    >>> prompt_zero_shot().learner.temperature
    1.0
    """
    return Method(learner=WORDS)


@defaults(steps=100, batch=16, lr=Cosine(lr=1e-4), optimizer=AdamW(), last=...)
def prompt_finetuning(*, last: int = 0, **settings: Unpack[Training]) -> Method:
    """Prompt-based finetuning on the support: cross-entropy over the label words at the mask, all weights at one rate.

    An update sees `batch` rows of the support. `last`: only the last so many groups of the backbone move; 0 moves all.
    Reference: Gao et al., "Making pre-trained language models better few-shot learners" (LM-BFF), ACL 2021 (RoBERTa-large, 1,000 steps of
    2 to 8 rows at 1e-5 to 5e-5, the best on a development set). Departs: no development set; the rate falls to 0 along half a cosine, and
    is that of small models.

    >>> prompt_finetuning(steps=20).learner.phases[0].steps
    20
    """
    phase = _phase(Pooled(batch=settings["batch"]), settings, last)
    return Method(learner=Adapt(phases=(phase,), then=WORDS))


@defaults(steps=200, batch=1, lr=Cosine(lr=1e-4), optimizer=AdamW())
def multitask_prompt_finetuning(
    ways: int = 8,
    queries: int = 4,
    *,
    selection: Selection | None = None,
    test_batch: int = 16,
    test_steps: int = 0,
    test_lr: Rate | float = Cosine(lr=1e-4),  # noqa: B008
    **settings: Unpack[Training],
) -> Method:
    """Prompt-based finetuning on other data sets, then zero-shot, or with `test_steps` prompt-based finetuning on the support.

    Each update draws a data set, all alike, up to `ways` of its classes and `queries` rows of each. Each set has its own template and
    words (`prompted`). `selection`, such as `consistency_diversity()`, chooses the tasks to train on for the target. `test_batch`: rows
    of an update on the support.
    Reference: Xu et al., "Towards few-shot adaptation of foundation models via multitask finetuning", ICLR 2024, table 18 (RoBERTa-large,
    the other 13 sets). Departs: their groups of tasks are made by hand; here `selection` chooses.

    >>> multitask_prompt_finetuning(steps=5, test_steps=10).learner.phases[0].steps
    10
    """
    drawn = Sampled(ways=ways, shots=0, queries=queries, task="collection", ragged=True)
    phase = _phase(drawn if selection is None else Chosen(sampler=drawn, selection=selection), settings, 0)
    if not test_steps:
        return Method(phases=(phase,), learner=WORDS)
    on_support: Training = {"steps": test_steps, "lr": test_lr, "optimizer": settings["optimizer"]}
    return Method(phases=(phase,), learner=Adapt(phases=(_phase(Pooled(batch=test_batch), on_support, 0),), then=WORDS))


def _phase(sampler: Sampler, training: Training, last: int) -> Phase:
    """Cross-entropy over the label words. The temperature stays 1: the model's own logits have their scale."""
    plan = upper_or_all(training["lr"], last)
    still = Plan(rules=(("head.*temperature", 0.0), *plan.rules))
    phase = Phase(sampler=sampler, learner=WORDS, plan=still, steps=training["steps"], optimizer=training["optimizer"])
    return replace(phase, batch=training["batch"]) if isinstance(sampler, Sampled | Chosen) else phase


PROMPTING = (prompt_zero_shot, prompt_finetuning, multitask_prompt_finetuning)
