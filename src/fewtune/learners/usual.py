"""The learner that is best on average over other data: what is taken unless the labels at hand speak clearly for another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from fewtune.learning.method import Method
from fewtune.parts.heads import Blend, Gaussian, Head, NamedLogistic, Shrink
from fewtune.parts.heads.blend import PARTS
from fewtune.statistics import UsualTemperature


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
    """The name of the learner for one example a class, where nothing can be held out.

    Class means moved towards the names, else logistic regression that reads names, else the first. Of those that read names the first was
    best on average over the training classes of five sets of texts, one example a class (docs/reproductions.md).
    """
    for kind in (Shrink, NamedLogistic):
        for name, method in methods.items():
            if isinstance(method.learner, kind):
                return name
    return next(iter(methods))


def without_spread(method: Method) -> Method:
    """For features that were finetuned on the labels: a blend without its Gaussian. Other learners stay as they are.

    There the labelled rows of a class lie far closer together than new rows do, and the more so the more of them were trained on. The scale
    of a Gaussian is the inverse of that spread, so its temperature on held-out folds is not that of the model of all rows: it was .55 of
    the best one on DTD, where that of logistic regression was .90 (docs/reproductions.md).
    """
    blend = method.learner
    if not isinstance(blend, Blend):
        return method
    kept = [(head, t) for head, t in zip(blend.heads, blend.temperatures, strict=True) if not isinstance(head, Gaussian)]
    if not kept:
        return method
    heads, temperatures = zip(*kept, strict=True)
    return Method(learner=replace(blend, heads=heads, temperatures=temperatures))


def usual_temperature(head: Head) -> UsualTemperature | None:
    """The temperature to expect of a usual learner before any answer is seen, None for others.

    `NamedLogistic`: the median over the training classes of five sets of texts (MiniLM, 3 to 16 labels a class) of the temperature that is
    best on other rows. Its log varies by .7 there, and is given more room (1.0) because other backbones have other features. A blend is a
    mean of heads that are calibrated already, so its temperature is near 1.
    """
    if isinstance(head, NamedLogistic) and replace(head, prompts=NamedLogistic().prompts) == NamedLogistic():
        return UsualTemperature(centre=0.14, spread=1.0)
    if isinstance(head, Blend) and head.heads == PARTS:
        return UsualTemperature(centre=1.0, spread=0.25)
    return None
