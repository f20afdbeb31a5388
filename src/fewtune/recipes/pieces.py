"""What several recipes are built from."""

from __future__ import annotations

from fewtune.errors import InputError
from fewtune.learning.method import Method
from fewtune.learning.phase import Learner, Phase
from fewtune.parts.heads.head import Head
from fewtune.parts.optimizers import SGD
from fewtune.parts.plan import everything
from fewtune.recipes.shared_settings import Answer, Draw, Training
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
