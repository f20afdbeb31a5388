"""Frozen methods: the backbone stays as it is, and a head reads the answer off its features.

The options are those of the head that a recipe names, and are described there.
"""

from __future__ import annotations

from typing import Literal

from fewtune.data.templates import PHOTO_TEMPLATES
from fewtune.learning.method import Method
from fewtune.parts.heads import Blend, Centroid, Gaussian, Laplace, Logistic, Matching, NamedLogistic, Ridge, Shrink, Svm, Text, TextPrior
from fewtune.parts.heads.blend import PARTS
from fewtune.parts.heads.head import Head
from fewtune.recipes.shared_defaults import typed


@typed
def centroid(
    metric: Literal["cosine", "euclidean"] = "cosine", temperature: float | None = None, normalize_first: bool | None = None
) -> Method:
    """Nearest class centroid. Snell et al. 2017 (euclidean); cosine as in Xu et al. 2024, who average before normalising.

    >>> centroid(metric="euclidean").learner.metric
    'euclidean'
    """
    return Method(learner=Centroid(metric=metric, temperature=temperature, normalize_first=normalize_first))


@typed
def matching(neighbours: int = 0, temperature: float = 10.0) -> Method:
    """Attention over the support (Vinyals et al. 2016); with `neighbours`, the vote of the k nearest.

    >>> matching(neighbours=3).frozen
    True
    """
    return Method(learner=Matching(neighbours=neighbours, temperature=temperature))


@typed
def ridge(penalty: float | Literal["loo"] = "loo", normalize: bool = True) -> Method:
    """Ridge regression on one-hot labels (R2D2, Bertinetto et al. 2019); "loo": the penalty is chosen on the support, in closed form.

    `normalize=False` takes features as they are; a given penalty then counts in their units.

    >>> ridge(penalty=10.0).learner.penalty
    10.0
    """
    return Method(learner=Ridge(penalty=penalty, normalize=normalize))


@typed
def logistic(C: float | Literal["loo"] = 3.0, normalize: bool = True) -> Method:
    """Multinomial logistic regression on unit features, C = 3 as in Wang et al. 2021; "loo": C is chosen on the support.

    `normalize=False` takes features as they are, as scikit-learn does.

    >>> logistic(C=1.0).learner.C
    1.0
    """
    return Method(learner=Logistic(C=C, normalize=normalize))


@typed
def svm(C: float = 10.0, form: Literal["crammer_singer", "one_vs_rest"] = "crammer_singer", normalize: bool = True) -> Method:
    """Linear support vector machine (MetaOptNet, Lee et al. 2019).

    Departs: C = 10, for unit features. On the training classes of Omniglot and DTD it is as good as .1 and 1, or better
    (docs/reproductions.md). The authors' .1 is for unnormalised features of a network trained with this head.

    >>> svm(form="one_vs_rest").learner.form
    'one_vs_rest'
    """
    return Method(learner=Svm(C=C, form=form, normalize=normalize))


@typed
def gaussian(scale: float = 0.02) -> Method:
    """Linear discriminant analysis with a shrunk shared covariance (GDA, Wang et al. 2024).

    >>> gaussian().learner.scale
    0.02
    """
    return Method(learner=Gaussian(scale=scale))


@typed
def blend(heads: tuple[Head, ...] = PARTS, temperatures: tuple[float, ...] = ()) -> Method:
    """The mean of the log-probabilities of several heads, by default of logistic regression, ridge regression and a Gaussian.

    >>> [type(head).__name__ for head in blend().learner.heads]
    ['Logistic', 'Ridge', 'Gaussian']
    """
    return Method(learner=Blend(heads=heads, temperatures=temperatures))


@typed
def laplace(C: float = 30.0, normalize: bool = True) -> Method:
    """Bayesian logistic regression (Laplace's approximation): less sure where the support says little; the label is nearly always that of
    `logistic`.

    >>> laplace(C=10.0).learner.C
    10.0
    """
    return Method(learner=Laplace(C=C, normalize=normalize))


@typed
def zero_shot(prompts: tuple[str, ...] = PHOTO_TEMPLATES, temperature: float | None = None) -> Method:
    """Class names alone: cosine to the texts of the prompts (CLIP, Radford et al. 2021). Ignores the support.

    >>> zero_shot(prompts="a photo of a {}").learner.prompts
    ('a photo of a {}',)
    """
    return Method(learner=Text(prompts=_prompts(prompts), temperature=temperature))


@typed
def text_prior(prompts: tuple[str, ...] = PHOTO_TEMPLATES, penalty: float | Literal["loo"] = 1.0) -> Method:
    """Ridge regression towards the class texts: they decide where labels are few, the support where labels are many.

    "loo": the penalty is chosen on the support, in closed form.

    >>> text_prior(penalty=0.1).learner.penalty
    0.1
    """
    return Method(learner=TextPrior(prompts=_prompts(prompts), penalty=penalty))


@typed
def named_logistic(prompts: tuple[str, ...] = PHOTO_TEMPLATES, C: float = 1.0, names: int = 2) -> Method:
    """Logistic regression to which the name of each class is two more examples (or `names`).

    >>> named_logistic(names=4).learner.names
    4
    """
    return Method(learner=NamedLogistic(prompts=_prompts(prompts), C=C, names=names))


@typed
def shrink(prompts: tuple[str, ...] = PHOTO_TEMPLATES, strength: float | Literal["loo"] = "loo") -> Method:
    """Nearest class mean, each moved towards the name of its class, which counts as `strength` examples; "loo": chosen on the support.

    >>> shrink(strength=4.0).learner.strength
    4.0
    """
    return Method(learner=Shrink(prompts=_prompts(prompts), strength=strength))


def _prompts(prompts: tuple[str, ...] | str) -> tuple[str, ...]:
    return (prompts,) if isinstance(prompts, str) else tuple(prompts)


FROZEN = (centroid, matching, ridge, logistic, svm, gaussian, laplace, blend, zero_shot, text_prior, named_logistic, shrink)
