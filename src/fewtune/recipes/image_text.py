"""Methods for models that read class names, between zero-shot and the labels of the support; none needs a validation set.

A strength is chosen on the support, by leave-one-out in closed form, or has no unit. Options are those of the heads, and described there.
"""

from __future__ import annotations

from typing import Literal

from fewtune.backbones.context import Context
from fewtune.backbones.edits import LoRA
from fewtune.data.templates import PHOTO_TEMPLATES
from fewtune.errors import InputError
from fewtune.learning.method import Method
from fewtune.learning.phase import Adapt, Phase
from fewtune.parts.heads import KernelPrior, LpPlus, NamedGaussian, Text, TextProbe, TipAdapter
from fewtune.parts.losses import Anchor, CrossEntropy
from fewtune.parts.optimizers import Adam, AdamW
from fewtune.parts.plan import bias_and_norm, only
from fewtune.parts.rates import Cosine
from fewtune.recipes.shared_defaults import typed
from fewtune.tasks.pooled import Pooled

# the last projection of the image side as pair:, transformers, open_clip and `embedded` spell it
IMAGE_PROJECTIONS = (
    "image_projection.*",
    "*visual_projection.weight",
    "model.visual.proj",
    "*visual.head.proj.weight",
    "image.projection.*",
)
ATTENTION = (
    "*attn.qkv.weight",
    "*in_proj_weight",
    "*.query.weight",
    "*.key.weight",
    "*.value.weight",
    "*.q_proj.weight",
    "*.k_proj.weight",
    "*.v_proj.weight",
    "*.q_lin.weight",
    "*.k_lin.weight",
    "*.v_lin.weight",
)


@typed
def tip_adapter(
    prompts: tuple[str, ...] = PHOTO_TEMPLATES, alpha: float | Literal["loo"] = "loo", beta: float | Literal["loo"] = "loo"
) -> Method:
    """Tip-Adapter: zero-shot, and votes of the support rows by their nearness; strength and width of the votes by leave-one-out.

    Reference: Zhang et al., ECCV 2022. Departs: theirs are searched on the test set.

    >>> tip_adapter(alpha=1.0).learner.alpha
    1.0
    """
    return Method(learner=TipAdapter(prompts=prompts, alpha=alpha, beta=beta))


@typed
def proker(
    prompts: tuple[str, ...] = PHOTO_TEMPLATES, penalty: float | Literal["loo"] = "loo", beta: float | Literal["loo"] = "loo"
) -> Method:
    """ProKeR: zero-shot, corrected by kernel ridge regression on the support; penalty and kernel by leave-one-out.

    Reference: Bendou et al., CVPR 2025. Departs: their correction is multiplied by the penalty.

    >>> proker(beta=1.0).learner.beta
    1.0
    """
    return Method(learner=KernelPrior(prompts=prompts, penalty=penalty, beta=beta))


@typed
def gda(prompts: tuple[str, ...] = PHOTO_TEMPLATES, weight: float | Literal["loo"] = "loo", scale: float = 0.02) -> Method:
    """GDA: linear discriminant analysis and zero-shot added up; the weight of the names by leave-one-out.

    With one label a class, the nearest class mean and the names together. Reference: Wang et al., ICLR 2024. Departs: theirs is chosen on a
    validation set, and is zero-shot with one label a class.

    >>> gda(weight=10.0).learner.weight
    10.0
    """
    return Method(learner=NamedGaussian(prompts=prompts, weight=weight, scale=scale))


@typed
def lp_pp(prompts: tuple[str, ...] = PHOTO_TEMPLATES, steps: int = 300) -> Method:
    """LP++: a linear probe whose weights are learned rows plus the class names, each name by a learned factor of its own.

    Reference: Huang et al., CVPR 2024. Departs: the factors start at the scale that suits the names on the support, and the last step is
    taken.

    >>> lp_pp(steps=100).learner.steps
    100
    """
    return Method(learner=LpPlus(prompts=prompts, steps=steps))


@typed
def clap(prompts: tuple[str, ...] = PHOTO_TEMPLATES, steps: int = 300) -> Method:
    """CLAP: a linear probe that starts at the class names; each is held near its name as firmly as zero-shot is right on its rows.

    Reference: Silva-Rodriguez et al., CVPR 2024. Departs: the scale of the cosines is chosen on the support (there 100).

    >>> clap().learner.anchor
    'zero_shot'
    """
    return Method(learner=TextProbe(prompts=prompts, anchor="zero_shot", steps=steps))


@typed
def task_res(prompts: tuple[str, ...] = PHOTO_TEMPLATES, anchor: float = 0.01, steps: int = 300) -> Method:
    """TaskRes: a residual is learned for each class name, on the support; `anchor` keeps it short, 0 (ZS-LP) does not.

    Reference: Yu et al., "Task residual for tuning vision-language models", CVPR 2023. Departs: their residual counts half and its length
    is held by the weight decay of Adam; here `anchor` times the mean squared residual is in the loss.

    >>> task_res(anchor=0.0).learner.anchor
    0.0
    """
    return Method(learner=TextProbe(prompts=prompts, anchor=anchor, steps=steps))


@typed
def prolip(
    prompts: tuple[str, ...] = PHOTO_TEMPLATES, strength: float = 1.0, steps: int = 100, lr: float = 1e-3, temperature: float | None = None
) -> Method:
    """ProLIP: the last projection of the image side is finetuned on the support, and held near its start.

    The loss is cross-entropy by class names + `strength` / shots x ||W - W_0||^2. All rows are seen in each step; what lies below the
    projection is computed once. `temperature` multiplies cosines; None: the backbone's own (CLIP: 100). For pair:, open_clip and
    CLIP-like hf models; others have no such projection, which is said.
    Reference: Fahes et al., "CLIP's visual embedding projector is a few-shot cornucopia", 2024. Departs: rows are not augmented.

    >>> prolip(strength=0.5).learner.phases[0].losses[1].strength
    1.0
    """
    text = Text(prompts=prompts, temperature=temperature)
    losses = (CrossEntropy(), Anchor(strength=2 * strength, by_shots=True))
    plan = only(IMAGE_PROJECTIONS, Cosine(lr=lr))
    phase = Phase(sampler=Pooled(), learner=text, plan=plan, steps=steps, losses=losses, optimizer=Adam(eps=1e-4))
    return Method(learner=Adapt(phases=(phase,), then=text))


@typed
def clip_lora(
    prompts: tuple[str, ...] = PHOTO_TEMPLATES,
    rank: int = 2,
    alpha: float = 1.0,
    steps: int = 100,
    batch: int = 32,
    lr: float = 2e-4,
    dropout: float = 0.25,
    temperature: float | None = None,
) -> Method:
    """CLIP-LoRA: low-rank changes of queries, keys and values in all layers of both towers, by cross-entropy with the class names.

    `dropout`: the share of the inputs of a change that a step leaves out (see `LoRA`). `temperature` as in `prolip`.
    Reference: Zanella, Ben Ayed, "Low-rank few-shot adaptation of vision-language models", CVPR 2024 workshops (500 steps a shot; dropout
    .25). Departs: all rows and tokens of a step leave out the same inputs; rows are not augmented.

    >>> clip_lora(rank=4).edits[0].rank
    4
    """
    text = Text(prompts=prompts, temperature=temperature)
    optimizer, edit = AdamW(weight_decay=0.01), LoRA(patterns=ATTENTION, rank=rank, alpha=alpha, split=True, dropout=dropout)
    plan = only(f"{edit.name}.*", Cosine(lr=lr, floor=min(lr, 1e-6)))
    phase = Phase(sampler=Pooled(batch=batch), learner=text, plan=plan, steps=steps, optimizer=optimizer)
    return Method(edits=(edit,), learner=Adapt(phases=(phase,), then=text))


@typed
def two_stage(
    prompts: tuple[str, ...] = PHOTO_TEMPLATES,
    steps: int = 60,
    probe_steps: int = 40,
    batch: int = 32,
    lr: float = 2e-4,
    temperature: float | None = None,
) -> Method:
    """2SFS: first biases and the scales of normalisation layers of both towers, then a probe that starts at the new class vectors.

    `temperature` as in `prolip`.
    Reference: Farina et al., "Rethinking few-shot adaptation of vision-language models in two stages", CVPR 2025 (60% and 40% of 300 steps
    a shot). Departs: biases of all layers move too; the probe is `TextProbe` with no anchor, whose scale is chosen on the support.

    >>> two_stage(probe_steps=10).learner.then.steps
    10
    """
    text = Text(prompts=prompts, temperature=temperature)
    plan = bias_and_norm(Cosine(lr=lr, floor=min(lr, 1e-6)))
    phase = Phase(sampler=Pooled(batch=batch), learner=text, plan=plan, steps=steps, optimizer=AdamW(weight_decay=0.01))
    return Method(learner=Adapt(phases=(phase,), then=TextProbe(prompts=prompts, anchor=0.0, steps=probe_steps)))


@typed
def coop(
    prompts: tuple[str, ...] = ("a photo of a {}.",),
    start: Literal["words", "random"] = "words",
    steps: int = 100,
    batch: int = 32,
    lr: float = 0.01,
    temperature: float | None = None,
) -> Method:
    """CoOp: the words before the class name become vectors that are learned on the support, by cross-entropy with the class names.

    `prompts`: one template that begins with those words. `start`: at the model's vectors of the words, or at "random" (as many as words, as
    in "X X X X {}."). What is learned is the same for all classes; both encoders stay. For backbones whose class names are read by a text
    tower: pair:, open_clip, CLIP-like hf models, `embedded`, sentence encoders. `lr` is relative to the size of the words' vectors.
    `temperature` as in `prolip`.
    Reference: Zhou et al., "Learning to prompt for vision-language models", IJCV 2022 (16 random vectors or "a photo of a", SGD .002, 50 to
    200 epochs). Departs: Adam, in units of the words' vectors, so that one rate suits all models; rows are not augmented.

    >>> coop("a drawing of one {}.").edits[0].words
    'a drawing of one'
    """
    if len(prompts) != 1:
        raise InputError(f"coop learns the words of one template, found {len(prompts)}: give one, such as 'a photo of a {{}}.'.")
    text = Text(prompts=prompts, temperature=temperature)
    edit = Context(words=text.prompts[0].partition("{}")[0].strip(), start=start)
    plan = only(f"{edit.name}.vectors", Cosine(lr=lr))
    phase = Phase(sampler=Pooled(batch=batch), learner=text, plan=plan, steps=steps, optimizer=Adam())
    return Method(edits=(edit,), learner=Adapt(phases=(phase,), then=text))


IMAGE_TEXT = (tip_adapter, proker, gda, lp_pp, clap, task_res, prolip, clip_lora, two_stage, coop)
