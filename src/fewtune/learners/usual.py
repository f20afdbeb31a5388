"""The learner that is best on average over other data: what is taken unless the labels at hand speak clearly for another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from fewtune.learning.method import Method
from fewtune.parts.heads import Blend, Head, NamedLogistic
from fewtune.parts.heads.blend import PARTS, TEMPERATURES
from fewtune.statistics import UsualTemperature

SPREAD, SPREAD_OF_BLEND = 0.6, 0.25


def prior_of(methods: Mapping[str, Method]) -> str | None:
    """The name of the learner to prefer, None where the usual ones are not among the methods.

    Where class names can be read, logistic regression with the names as examples; else the blend of logistic regression, ridge regression
    and a Gaussian. Over the training classes of eleven data sets, 5 and 8 examples a class, these were best on average
    (`python benchmarks/heads.py`, docs/reproductions.md).
    """
    for kind in (NamedLogistic, Blend):
        for name, method in methods.items():
            if isinstance(method.learner, kind):
                return name
    return None


def alone_of(methods: Mapping[str, Method]) -> str:
    """The name of the learner for one example a class: logistic regression that reads names, else the first."""
    return next((name for name, method in methods.items() if isinstance(method.learner, NamedLogistic)), next(iter(methods)))


def usual_temperature(head: Head) -> UsualTemperature | None:
    """The temperature to expect of a head before any answer is seen, None where it is not known.

    The logits of these heads have a scale of their own, because they take features as unit vectors. The medians of log T, and its spread of
    about .6, are those of the models that learned from all labels, on other rows of the training classes of eleven data sets, 3 to 16
    labels a class. A blend is a mean of heads that are calibrated already, so its temperature is near 1.
    """
    if isinstance(head, NamedLogistic):
        return UsualTemperature(0.14, SPREAD) if replace(head, prompts=NamedLogistic().prompts) == NamedLogistic() else None
    if isinstance(head, Blend):
        return UsualTemperature(1.0, SPREAD_OF_BLEND) if head.heads == PARTS else None
    return next((UsualTemperature(t, SPREAD) for part, t in zip(PARTS, TEMPERATURES, strict=True) if part == head), None)
