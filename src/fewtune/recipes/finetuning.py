"""Finetuning one network with a linear head, on the source (then nearest centroid answers) or on each test support (then the head does).

`on` says which. On the source an update sees `batch` rows of all base classes. On the support it sees all rows, and the head starts at the
class means. `lr` is a number or a rate over time. Settings that work are in docs/reproductions.md.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, Unpack

from fewtune.backbones.edits import LoRA
from fewtune.data.views.views import IDENTITY, View
from fewtune.errors import InputError
from fewtune.learning.method import Method
from fewtune.learning.phase import Adapt, Average, Greedy
from fewtune.parts.heads import Logistic, Text
from fewtune.parts.losses import Anchor, CrossEntropy, SupervisedContrast
from fewtune.parts.merging import Rule
from fewtune.parts.optimizers import AdamW, Optimizer, Relative, plain
from fewtune.parts.plan import Plan, bias_and_norm, everything, gradual, only
from fewtune.parts.plan import layerwise as by_depth
from fewtune.parts.rates import Cosine
from fewtune.recipes.pieces import MOMENTUM, as_head
from fewtune.recipes.shared_defaults import defaults, typed
from fewtune.recipes.shared_settings import Answer, Finetuning, Place, Upper, UpperThenTest
from fewtune.recipes.site import CROSS_ENTROPY, Site
from fewtune.tasks.pooled import Pooled


@defaults(on="source", steps=200, batch=64, lr=1e-3, optimizer=MOMENTUM, head=None, last=0, prompts=..., test_steps=0, test_lr=1e-5)
def standard(*, prompts: tuple[str, ...] = (), **settings: Unpack[UpperThenTest]) -> Method:
    """Standard finetuning: cross-entropy through a linear head over all classes, all weights at one rate.

    `prompts`, such as 'a photo of a {}.', for models with a label side: class texts answer instead of a linear head, in training and
    testing, and what reads them moves too (classical finetuning, Wang et al. 2022). `test_steps`, on the source: updates on the support of
    each test episode before the answer, by a linear head that starts at the class means, or by the class texts.
    Reference: Xu et al., ICLR 2024, as their baseline. Departs: there the head is fitted first and the encoder's rate is 10 to 100 times
    below that of multitask finetuning; here both are swept over the same rates.

    >>> standard(steps=50).phases[0].steps
    50
    >>> standard(on="support").phases
    ()
    """
    site = Site(prompts=prompts, **settings)
    if site.test_steps and site.on == "support":
        raise InputError("test_steps are for on='source': on the support, steps says how many updates are done there.")
    return site.method(site.deep())


@defaults(on="source", steps=60, batch=32, lr=Cosine(lr=1e-4), optimizer=AdamW(), head=None, last=3)
def contrastive(*, temperature: float = 0.1, head_lr: float = 0.0, view: View = IDENTITY, **settings: Unpack[Upper]) -> Method:
    """Supervised contrast: in each batch every row finds the others of its class among all; then `head` answers, by default logistic
    regression.

    `temperature` divides the cosines. `head_lr` above 0: a linear head is trained at this rate on the same features, and its cross-entropy
    counts too. On the support too an update sees `batch` rows. The default moves the last 3 groups. `view`, such as `Augment()`: how an
    update sees images; random views run through all of the network, which takes several times as long.
    Reference: Khosla et al., NeurIPS 2020; Tunstall et al., "Efficient few-shot learning without prompts" (SetFit), 2022. Departs: SetFit
    draws pairs one by one, moves all weights and compares by the squared error of the cosine; here all pairs of a batch count.

    >>> contrastive(on="support", steps=20).learner.phases[0].steps
    20
    """
    head = as_head(settings["head"]) or Logistic()
    site = Site(**settings)
    contrast = SupervisedContrast(temperature=temperature)
    phase = site.deep(*CROSS_ENTROPY, contrast) if head_lr else site.deep(contrast)
    phase = replace(phase, sampler=Pooled(batch=site.batch), query_view=view)
    if head_lr:
        phase = replace(phase, plan=Plan(rules=((site.patterns, head_lr), *phase.plan.rules)))
    if site.on == "source":
        return Method(phases=(phase,), learner=head)
    return Method(learner=Adapt(phases=(phase,), then=head))


@defaults(on="source", probe_steps=..., probe_lr=..., steps=100, batch=64, lr=..., optimizer=MOMENTUM, head=None)
def linear_probe_then_finetune(
    *, probe_steps: int = 100, probe_lr: float = 0.01, lr: float = 1e-3, last: int = 0, **settings: Unpack[Place]
) -> Method:
    """LP-FT: the head alone first, then all weights at a lower rate, which falls to 0 along half a cosine.

    `probe_steps` (0 or more) and `probe_lr` (0 or more) are those of the head; `lr` is a number here. `last`: after the probe only the
    last so many groups of the backbone move, and the head; 0 moves all.
    Reference: Kumar et al., "Fine-tuning can distort pretrained features", ICLR 2022. Departs: the probe is trained, not fitted by logistic
    regression.

    >>> [phase.steps for phase in linear_probe_then_finetune(probe_steps=10, steps=20).phases]
    [10, 20]
    """
    site = Site(lr=Cosine(lr=lr), last=last, **settings)
    probe = site.phase(only(site.patterns, probe_lr), steps=probe_steps)
    return site.method(probe, site.deep())


@defaults(on="source", steps=200, batch=64, lr=1e-3, optimizer=MOMENTUM, head=None)
def surgical(group: str, **settings: Unpack[Finetuning]) -> Method:
    """Surgical finetuning: the head and the groups whose names match `group` ("blocks.0", "*") move.

    Reference: Lee et al., "Surgical fine-tuning improves adaptation to distribution shifts", ICLR 2023.

    >>> surgical("blocks.0", lr=0.01).phases[0].plan.rules[0]
    ('group:blocks.0', Constant(lr=0.01))
    """
    site = Site(**settings)
    return site.method(site.phase(only((f"group:{group}", site.patterns), site.lr)))


@defaults(on="source", steps=200, batch=64, lr=1e-3, optimizer=MOMENTUM, head=None)
def auto_surgical(*, by: Literal["norm", "snr"] = "norm", threshold: float = 0.0, **settings: Unpack[Finetuning]) -> Method:
    """Surgical finetuning that chooses by itself: each layer's rate is `lr` times what its gradients say, over the largest of all layers.

    `by` "norm" is Auto-RGN (size of the gradient relative to the weights), "snr" Auto-SNR (signal to noise of the gradient; give an Adam as
    `optimizer`). Layers below `threshold` do not move in a step. See `Relative`.
    Reference: Lee et al., "Surgical fine-tuning improves adaptation to distribution shifts", ICLR 2023.

    >>> auto_surgical(lr=0.01).phases[0].optimizer.by
    'norm'
    """
    settings["optimizer"] = Relative(optimizer=plain(settings["optimizer"]), by=by, threshold=threshold)
    site = Site(**settings)
    return site.method(site.deep())


@defaults(on="source", every=..., steps=200, batch=64, lr=1e-3, optimizer=MOMENTUM, head=None)
def gradual_unfreezing(*, every: int = 20, **settings: Unpack[Finetuning]) -> Method:
    """Gradual unfreezing: head and last group first, one group more every `every` steps of `steps`; a budget scales both.

    Reference: Howard, Ruder, "ULMFiT", ACL 2018.

    >>> gradual_unfreezing(every=10, steps=100).phases[0].steps
    100
    """
    site = Site(**settings)
    return site.method(site.phase(gradual(None, site.lr, every)))


@defaults(on="source", decay=..., steps=200, batch=64, lr=1e-3, optimizer=MOMENTUM, head=None)
def layerwise(*, decay: float = 0.75, **settings: Unpack[Finetuning]) -> Method:
    """Layer-wise rates: lr x decay^depth, depth counted from the head down. Reference: Clark et al., "ELECTRA", ICLR 2020.

    >>> layerwise(decay=0.5, on="support").frozen
    False
    """
    site = Site(**settings)
    return site.method(site.phase(by_depth(None, site.lr, decay)))


@defaults(on="source", steps=200, batch=64, lr=1e-2, optimizer=MOMENTUM, head=None)
def bitfit(**settings: Unpack[Finetuning]) -> Method:
    """Biases, normalisation scales and the head move. Reference: Ben Zaken et al., "BitFit", ACL 2022 (biases only).

    >>> bitfit(lr=0.1).phases[0].plan.rules[0]
    ('source.*', Constant(lr=0.1))
    """
    site = Site(**settings)
    plan = Plan(rules=((site.patterns, site.lr), *bias_and_norm(site.lr).rules))
    return site.method(site.phase(plan))


@defaults(on="source", rank=..., alpha=..., steps=200, batch=64, lr=1e-2, optimizer=MOMENTUM, head=None)
def lora(*, rank: int = 8, alpha: float = 8.0, **settings: Unpack[Finetuning]) -> Method:
    """LoRA: every linear weight W becomes W + alpha / rank x up down, where up and down have rank `rank`; these and the head move.

    Reference: Hu et al., "LoRA", ICLR 2022 (attention weights of language models).

    >>> lora(rank=4).edits[0].rank
    4
    """
    site = Site(**settings)
    edit = LoRA(rank=rank, alpha=alpha)
    return site.method(site.phase(only((f"{edit.name}.*", site.patterns), site.lr)), edits=(edit,))


@defaults(on="source", steps=200, batch=64, lr=1e-3, optimizer=MOMENTUM, head=None, last=0)
def l2_sp(strength: float = 0.01, *, prompts: tuple[str, ...] = (), **settings: Unpack[Upper]) -> Method:
    """L2-SP: standard finetuning with strength / 2 ||theta - theta_0||^2. Reference: Li, Grandvalet, Davoine, ICML 2018.

    Departs: a new head is also held near its start; theirs has a plain L2 penalty. `prompts`, such as 'a photo of a {}.', on the support
    and for models with a label side: the class names are the head (zero-shot at the start, `Text`), and what reads them moves and is held
    too.

    >>> l2_sp(strength=0.1).phases[0].losses[1].strength
    0.1
    >>> l2_sp(on="support", prompts="a photo of a {}.").learner.then.prompts
    ('a photo of a {}.',)
    """
    if prompts and settings["on"] == "source":
        raise InputError("l2_sp: prompts are for on='support': on a source the head has a row for each of its classes.")
    site = Site(**settings)
    phase = site.deep(CrossEntropy(), Anchor(strength=strength))
    if not prompts:
        return site.method(phase)
    named = Text(prompts=prompts)
    return Method(learner=Adapt(phases=(replace(phase, learner=named),), then=as_head(settings["head"]) or named))


@defaults(on="source", steps=200, batch=64, lr=1e-3, optimizer=MOMENTUM, head=None)
def wise_ft(share: float = 0.5, **settings: Unpack[Finetuning]) -> Method:
    """WiSE-FT: (1 - share) theta_0 + share theta_finetuned, weight by weight. Reference: Wortsman et al., CVPR 2022.

    >>> wise_ft(share=0.25).phases[0].weights
    (0.75, 0.25)
    """
    site = Site(**settings)
    return site.method(Average(members=((), (site.phase(everything(site.lr)),)), weights=(1 - share, share)))


@typed
def soup(
    lrs: tuple[float, ...] = (3e-4, 1e-3, 3e-3),
    how: Literal["uniform", "greedy"] = "uniform",
    rule: Rule | None = None,
    steps: int = 200,
    batch: int = 64,
    optimizer: Optimizer = MOMENTUM,
    head: Answer = None,
) -> Method:
    """Model soup: source finetuning once for each rate of `lrs`, each in an order of its own, and the average of the ends.

    "greedy" takes them in order of validation accuracy and keeps those with which the average's accuracy does not fall. `rule`, such as
    `Ties(density=0.2)`: merge the ends by another rule than their mean (`fewtune.parts.merging`), instead of "greedy".
    Reference: Wortsman et al., "Model soups", ICML 2022. Raises InputError without a rate, and for a rule beside "greedy".

    >>> len(soup(lrs=(1e-3, 1e-2), how="greedy").phases[0].members)
    2
    """
    if not lrs:
        raise InputError("soup: expected at least one learning rate such as lrs=(0.01,), found none.")
    if rule is not None and how == "greedy":
        raise InputError("soup: a greedy soup is a mean of the members it chooses: give how='greedy' or a rule.")
    site = Site(on="source", steps=steps, batch=batch, optimizer=optimizer, head=head, lr=0.0)
    members = tuple((site.phase(everything(lr)),) for lr in lrs)
    uniform = Average(members=members, rule=rule) if rule else Average(members=members, weights=(1 / len(members),) * len(members))
    return site.method(uniform if how == "uniform" else Greedy(members=members))


FINETUNING = (
    standard,
    contrastive,
    linear_probe_then_finetune,
    surgical,
    auto_surgical,
    gradual_unfreezing,
    layerwise,
    bitfit,
    lora,
    l2_sp,
    wise_ft,
    soup,
)
