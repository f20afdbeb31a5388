"""Heads: how answers are read off features.

Features of the support [E, S, D] and of the query [E, Q, D] come in (for some heads class vectors [E, K, D] too); logits [E, Q, K] go out.
`HEADS` lists every head that answers classes; `Head` says what one must have.
"""

from fewtune.parts.heads.black_box import BlackBox
from fewtune.parts.heads.blend import Blend
from fewtune.parts.heads.centroid import Centroid
from fewtune.parts.heads.class_texts import Text
from fewtune.parts.heads.ensemble import Ensemble
from fewtune.parts.heads.gaussian import Gaussian
from fewtune.parts.heads.head import Head
from fewtune.parts.heads.kernel_prior import KernelPrior
from fewtune.parts.heads.laplace import Laplace
from fewtune.parts.heads.linear import Linear
from fewtune.parts.heads.logistic import Logistic
from fewtune.parts.heads.lp_plus import LpPlus
from fewtune.parts.heads.matching import Matching
from fewtune.parts.heads.multi_logistic import MultiLogistic
from fewtune.parts.heads.named_gaussian import NamedGaussian
from fewtune.parts.heads.named_logistic import NamedLogistic
from fewtune.parts.heads.paired import Paired
from fewtune.parts.heads.projection import Projection
from fewtune.parts.heads.relation import Relation
from fewtune.parts.heads.ridge import Ridge
from fewtune.parts.heads.shrink import Shrink
from fewtune.parts.heads.svm import Svm
from fewtune.parts.heads.text_prior import TextPrior
from fewtune.parts.heads.text_probe import TextProbe
from fewtune.parts.heads.tip_adapter import TipAdapter

HEADS = (
    BlackBox,
    Blend,
    Centroid,
    Ensemble,
    Gaussian,
    KernelPrior,
    Laplace,
    Linear,
    Logistic,
    LpPlus,
    Matching,
    MultiLogistic,
    NamedGaussian,
    NamedLogistic,
    Paired,
    Relation,
    Ridge,
    Shrink,
    Svm,
    Text,
    TextPrior,
    TextProbe,
    TipAdapter,
)

__all__ = [
    "HEADS",
    "BlackBox",
    "Blend",
    "Centroid",
    "Ensemble",
    "Gaussian",
    "Head",
    "KernelPrior",
    "Laplace",
    "Linear",
    "Logistic",
    "LpPlus",
    "Matching",
    "MultiLogistic",
    "NamedGaussian",
    "NamedLogistic",
    "Paired",
    "Projection",
    "Relation",
    "Ridge",
    "Shrink",
    "Svm",
    "Text",
    "TextPrior",
    "TextProbe",
    "TipAdapter",
]
