"""What several recipes are built from."""

from __future__ import annotations

from fewtune.errors import InputError
from fewtune.learning.method import Method
from fewtune.learning.phase import Adapt, Learner, Phase
from fewtune.parts.heads.head import Head
from fewtune.parts.optimizers import SGD, Optimizer
from fewtune.parts.plan import everything
from fewtune.recipes.shared_settings import Answer, AtTest, Draw, Training
from fewtune.tasks.pooled import Pooled
from fewtune.tasks.sampler import Sampler
from fewtune.tasks.samplers import Sampled

MOMENTUM = SGD(momentum=0.9)


def as_head(given: Answer) -> Head | None:
    """The head that `given` names: a head, or the head of a frozen recipe such as `ridge(penalty=10)`."""
    if isinstance(given, Method):
        if not given.frozen:
            raise InputError("the head of a recipe is a head or a frozen recipe such as ridge(penalty=10), found one that trains.")
        return given.head
    return given


def sampled(draw: Draw) -> Sampled:
    """The sampler of episodes of that size."""
    return Sampled(ways=draw["ways"], shots=draw["shots"], queries=draw["queries"])


def train_all(sampler: Sampler, learner: Learner, training: Training) -> Phase:
    """A phase that moves all weights, and the parameters of the head, at one rate."""
    return Phase(
        sampler=sampler,
        learner=learner,
        plan=everything(training["lr"]),
        steps=training["steps"],
        batch=training["batch"],
        optimizer=training["optimizer"],
    )


def trained_on(support: Head, then: Head, at_test: AtTest, optimizer: Optimizer) -> Adapt | Head:
    """`then`, after `test_steps` updates of all weights on the support of each test episode, answered there by the head `support`."""
    if not at_test["test_steps"]:
        return then
    plan = everything(at_test["test_lr"])
    inner = Phase(sampler=Pooled(), learner=support, plan=plan, steps=at_test["test_steps"], optimizer=optimizer)
    return Adapt(phases=(inner,), then=then)
