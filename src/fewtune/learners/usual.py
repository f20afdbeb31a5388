"""The learner that is best on average over other data: what is taken unless the labels at hand speak clearly for another."""

from __future__ import annotations

from collections.abc import Mapping

from fewtune.learning.method import Method
from fewtune.parts.heads import Blend, NamedLogistic


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
