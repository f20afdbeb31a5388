"""Losses: what an answer costs.

An `Outcome` (logits [E, Q, K], the episodes, the weights) comes in; one number for each episode, [E], goes out. `LOSSES` lists every loss.
"""

from fewtune.parts.losses.at_most import AtMost
from fewtune.parts.losses.binary_cross_entropy import BinaryCrossEntropy
from fewtune.parts.losses.by_kind import ByKind
from fewtune.parts.losses.class_anchor import ClassAnchor
from fewtune.parts.losses.contrast import Contrast
from fewtune.parts.losses.cross_entropy import CrossEntropy
from fewtune.parts.losses.distances import Anchor, Displacement
from fewtune.parts.losses.distil import Distil
from fewtune.parts.losses.entropy import Entropy
from fewtune.parts.losses.loss import Loss, Outcome
from fewtune.parts.losses.sigmoid_contrast import SigmoidContrast
from fewtune.parts.losses.soft_sharing import SoftSharing
from fewtune.parts.losses.squared_error import SquaredError
from fewtune.parts.losses.supervised_contrast import SupervisedContrast
from fewtune.parts.losses.task_relation import TaskRelation
from fewtune.parts.losses.views_of_rows import NtXent, OneNegative, Population

LOSSES = (
    Anchor,
    AtMost,
    BinaryCrossEntropy,
    ByKind,
    ClassAnchor,
    Contrast,
    CrossEntropy,
    Displacement,
    Distil,
    Entropy,
    NtXent,
    OneNegative,
    Population,
    SigmoidContrast,
    SoftSharing,
    SquaredError,
    SupervisedContrast,
    TaskRelation,
)

__all__ = [
    "LOSSES",
    "Anchor",
    "AtMost",
    "BinaryCrossEntropy",
    "ByKind",
    "ClassAnchor",
    "Contrast",
    "CrossEntropy",
    "Displacement",
    "Distil",
    "Entropy",
    "Loss",
    "NtXent",
    "OneNegative",
    "Outcome",
    "Population",
    "SigmoidContrast",
    "SoftSharing",
    "SquaredError",
    "SupervisedContrast",
    "TaskRelation",
]
