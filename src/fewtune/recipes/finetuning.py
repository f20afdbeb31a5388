"""Finetuning one network with a linear head, on the source (then nearest centroid answers) or on each test support (then the head does).

`on` says which. On the source, batches of `batch` rows of all base classes; on the support, all its rows in every step, from a head that
starts at the class means (`zeros`: at zero). `lr` is a number or a rate over time. Settings that work are in docs/reproductions.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, final

from fewtune.backbones.edits import LoRA
from fewtune.learning.method import Method
from fewtune.learning.phase import Adapt, Average, Greedy, Phase, Step
from fewtune.parts.heads import Centroid
from fewtune.parts.heads.head import Head
from fewtune.parts.heads.linear import Linear
from fewtune.parts.losses import Anchor, CrossEntropy, Loss
from fewtune.parts.optimizers import Optimizer
from fewtune.parts.plan import Plan, bias_and_norm, everything, gradual, only
from fewtune.parts.plan import layerwise as by_depth
from fewtune.parts.rates import Cosine, Rate
from fewtune.recipes.parts import MOMENTUM, as_head
from fewtune.tasks.pooled import Pooled

On: TypeAlias = Literal["source", "support"]
_CROSS_ENTROPY = (CrossEntropy(),)


@final
@dataclass(frozen=True, kw_only=True)
class _Site:
    """Where finetuning takes place: the phases there, and the method they make."""

    on: On
    batch: int
    optimizer: Optimizer
    head: Head | Method | None

    def phase(self, plan: Plan, steps: int, losses: tuple[Loss, ...] = _CROSS_ENTROPY) -> Phase:
        sampler = Pooled(batch=self.batch if self.on == "source" else 0)
        return Phase(sampler=sampler, learner=self.linear, plan=plan, steps=steps, losses=losses, optimizer=self.optimizer)

    @property
    def linear(self) -> Linear:
        return Linear(rows="class", name="source") if self.on == "source" else Linear(start="centroid")

    @property
    def patterns(self) -> str:
        """The names of the linear head."""
        return f"{self.linear.name}.*"

    def method(self, *phases: Step, edits: tuple[LoRA, ...] = ()) -> Method:
        if self.on == "source":
            return Method(edits=edits, phases=phases, learner=as_head(self.head) or Centroid())
        return Method(edits=edits, learner=Adapt(phases=phases, then=as_head(self.head) or self.linear))


def _site(on: On, batch: int, optimizer: Optimizer, head: Head | Method | None) -> _Site:
    return _Site(on=on, batch=batch, optimizer=optimizer, head=head)


def standard(
    on: On = "source",
    steps: int = 200,
    batch: int = 64,
    lr: Rate | float = 1e-3,
    optimizer: Optimizer = MOMENTUM,
    head: Head | Method | None = None,
) -> Method:
    """Standard finetuning: cross-entropy through a linear head over all classes, all weights at one rate.

    Reference: Xu et al., ICLR 2024, as their baseline. Departs: there the head is fitted first and the encoder's rate is 10 to 100 times
    below that of multitask finetuning; here it is swept alike.
    """
    site = _site(on, batch, optimizer, head)
    return site.method(site.phase(everything(lr), steps))


def linear_probe_then_finetune(
    on: On = "source",
    probe_steps: int = 100,
    probe_lr: float = 0.01,
    steps: int = 100,
    batch: int = 64,
    lr: float = 1e-3,
    optimizer: Optimizer = MOMENTUM,
    head: Head | Method | None = None,
) -> Method:
    """LP-FT: the head alone first, then all weights at a lower rate, which falls to 0 by half a cosine.

    Reference: Kumar et al., "Fine-tuning can distort pretrained features", ICLR 2022. Departs: the probe is trained, not fitted by logistic
    regression.
    """
    site = _site(on, batch, optimizer, head)
    probe = site.phase(only(site.patterns, probe_lr), probe_steps)
    return site.method(probe, site.phase(everything(Cosine(lr=lr)), steps))


def surgical(
    group: str,
    on: On = "source",
    steps: int = 200,
    batch: int = 64,
    lr: Rate | float = 1e-3,
    optimizer: Optimizer = MOMENTUM,
    head: Head | Method | None = None,
) -> Method:
    """Surgical finetuning: the groups whose names match `group` ("blocks.0", "*") and the head move.

    Reference: Lee et al., "Surgical fine-tuning improves adaptation to distribution shifts", ICLR 2023.
    """
    site = _site(on, batch, optimizer, head)
    return site.method(site.phase(only((f"group:{group}", site.patterns), lr), steps))


def gradual_unfreezing(
    on: On = "source",
    every: int = 20,
    steps: int = 200,
    batch: int = 64,
    lr: Rate | float = 1e-3,
    optimizer: Optimizer = MOMENTUM,
    head: Head | Method | None = None,
) -> Method:
    """Gradual unfreezing: head and last group first, one group more every `every` steps of `steps`; a budget scales both.

    Reference: Howard, Ruder, "ULMFiT", ACL 2018.
    """
    site = _site(on, batch, optimizer, head)
    return site.method(site.phase(gradual(None, lr, every), steps))


def layerwise(
    on: On = "source",
    decay: float = 0.75,
    steps: int = 200,
    batch: int = 64,
    lr: Rate | float = 1e-3,
    optimizer: Optimizer = MOMENTUM,
    head: Head | Method | None = None,
) -> Method:
    """Layer-wise rates: lr x decay^depth, depth counted from the head down. Reference: Clark et al., "ELECTRA", ICLR 2020."""
    site = _site(on, batch, optimizer, head)
    return site.method(site.phase(by_depth(None, lr, decay), steps))


def bitfit(
    on: On = "source",
    steps: int = 200,
    batch: int = 64,
    lr: Rate | float = 1e-2,
    optimizer: Optimizer = MOMENTUM,
    head: Head | Method | None = None,
) -> Method:
    """Biases, normalisation scales and the head move. Reference: Ben Zaken et al., "BitFit", ACL 2022 (biases only)."""
    site = _site(on, batch, optimizer, head)
    plan = Plan(rules=((site.patterns, lr), *bias_and_norm(lr).rules))
    return site.method(site.phase(plan, steps))


def lora(
    on: On = "source",
    rank: int = 8,
    alpha: float = 8.0,
    steps: int = 200,
    batch: int = 64,
    lr: Rate | float = 1e-2,
    optimizer: Optimizer = MOMENTUM,
    head: Head | Method | None = None,
) -> Method:
    """LoRA: every linear weight W gets W + alpha / rank x up down of rank `rank`; these and the head move.

    Reference: Hu et al., "LoRA", ICLR 2022 (attention weights of language models).
    """
    site = _site(on, batch, optimizer, head)
    edit = LoRA(rank=rank, alpha=alpha)
    return site.method(site.phase(only((f"{edit.name}.*", site.patterns), lr), steps), edits=(edit,))


def l2_sp(
    strength: float = 0.01,
    on: On = "source",
    steps: int = 200,
    batch: int = 64,
    lr: Rate | float = 1e-3,
    optimizer: Optimizer = MOMENTUM,
    head: Head | Method | None = None,
) -> Method:
    """L2-SP: standard finetuning with strength / 2 ||theta - theta_0||^2. Reference: Li, Grandvalet, Davoine, ICML 2018.

    Departs: a head that starts anew is held near its start too, where theirs has a plain L2 penalty.
    """
    site = _site(on, batch, optimizer, head)
    return site.method(site.phase(everything(lr), steps, (CrossEntropy(), Anchor(strength=strength))))


def wise_ft(
    share: float = 0.5,
    on: On = "source",
    steps: int = 200,
    batch: int = 64,
    lr: Rate | float = 1e-3,
    optimizer: Optimizer = MOMENTUM,
    head: Head | Method | None = None,
) -> Method:
    """WiSE-FT: (1 - share) theta_0 + share theta_finetuned, weight by weight. Reference: Wortsman et al., CVPR 2022."""
    site = _site(on, batch, optimizer, head)
    return site.method(Average(members=((), (site.phase(everything(lr), steps),)), weights=(1 - share, share)))


def soup(
    lrs: tuple[float, ...] = (3e-4, 1e-3, 3e-3),
    how: Literal["uniform", "greedy"] = "uniform",
    steps: int = 200,
    batch: int = 64,
    optimizer: Optimizer = MOMENTUM,
    head: Head | Method | None = None,
) -> Method:
    """Model soup: source finetuning once for each rate of `lrs`, each in an order of its own, and the average of the ends.

    "greedy" takes them in order of validation accuracy and keeps those with which the average's does not fall.
    Reference: Wortsman et al., "Model soups", ICML 2022.
    """
    site = _site("source", batch, optimizer, head)
    members = tuple((site.phase(everything(lr), steps),) for lr in lrs)
    uniform = Average(members=members, weights=(1 / len(members),) * len(members))
    return site.method(uniform if how == "uniform" else Greedy(members=members))


FINETUNING = (
    standard,
    linear_probe_then_finetune,
    surgical,
    gradual_unfreezing,
    layerwise,
    bitfit,
    lora,
    l2_sp,
    wise_ft,
    soup,
)
