"""Where finetuning takes place: on the source, or on each test support."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from fewtune.backbones.edits import LoRA
from fewtune.learning.method import Method
from fewtune.learning.phase import Adapt, Phase, Step
from fewtune.parts.heads import Centroid, Text
from fewtune.parts.heads.head import Head
from fewtune.parts.heads.linear import Linear
from fewtune.parts.losses import CrossEntropy, Loss
from fewtune.parts.optimizers import Optimizer
from fewtune.parts.plan import Plan, upper_or_all
from fewtune.parts.rates import Rate
from fewtune.recipes.pieces import as_head, trained_on
from fewtune.recipes.shared_settings import Answer, AtTest, On
from fewtune.tasks.pooled import Pooled

CROSS_ENTROPY = (CrossEntropy(),)


@final
@dataclass(frozen=True, kw_only=True)
class Site:
    """Where finetuning takes place: the phases there, and the method they make."""

    on: On
    steps: int
    batch: int
    optimizer: Optimizer
    head: Answer
    lr: Rate | float
    last: int = 0
    prompts: tuple[str, ...] = ()
    test_steps: int = 0
    test_lr: Rate | float = 1e-5

    def deep(self, *losses: Loss) -> Phase:
        """A phase in which all weights move, or the `last` groups of them, by cross-entropy unless losses are given."""
        return self.phase(upper_or_all(self.lr, self.last), losses=losses or CROSS_ENTROPY)

    def phase(self, plan: Plan, *, steps: int | None = None, losses: tuple[Loss, ...] = CROSS_ENTROPY) -> Phase:
        """A phase under `plan`, of as many steps as the recipe was given unless `steps` says otherwise."""
        return Phase(
            sampler=Pooled(batch=self.batch if self.on == "source" else 0),
            learner=self.inside,
            plan=plan,
            steps=self.steps if steps is None else steps,
            losses=losses,
            optimizer=self.optimizer,
        )

    @property
    def linear(self) -> Linear:
        return Linear(rows="class", name="source") if self.on == "source" else Linear(start="centroid")

    @property
    def inside(self) -> Head:
        """What answers in training: the linear head, or class texts where there are prompts."""
        return Text(prompts=self.prompts) if self.prompts else self.linear

    @property
    def patterns(self) -> str:
        """The names of the linear head."""
        return f"{self.linear.name}.*"

    @property
    def at_test(self) -> Head:
        """What answers in updates on a test support."""
        return self.inside if self.prompts else Linear(start="centroid")

    def method(self, *phases: Step, edits: tuple[LoRA, ...] = ()) -> Method:
        if self.on == "source":
            then = as_head(self.head) or (self.inside if self.prompts else Centroid())
            at_test: AtTest = {"test_steps": self.test_steps, "test_lr": self.test_lr}
            return Method(edits=edits, phases=phases, learner=trained_on(self.at_test, then, at_test, self.optimizer))
        return Method(edits=edits, learner=Adapt(phases=phases, then=as_head(self.head) or self.inside))
