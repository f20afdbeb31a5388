"""Aggregators: how the gradients of several tasks become one update.

The tasks' losses [T], or the Gram matrix [T, T] of their gradients, come in; a weight for each task, [T], goes out. `AGGREGATORS` lists
every aggregator. Of losses: `Mean`, `Fixed`, `Rlw`, `Uncertainty`, `ImtlL`, `Dwa`, `WorstCase`, `GroupDro`, `Stch`, `Famo`. Of gradients:
`GradNorm`, `PcGrad`, `GradVac`, `MinNorm`, `CaGrad`, `Nash`, `FairGrad`, `UpGrad`, `ImtlG`, `AlignedMtl`, `TorchJd`. All have one scale
(`weights_of`), so a learning rate that suits one suits all.
"""

from fewtune.parts.aggregators.aggregator import (
    Aggregator,
    LooksBack,
    Seen,
    State,
    check_reading,
    every_of,
    form_of,
    nothing_kept,
    remembers,
)
from fewtune.parts.aggregators.aligned_mtl import AlignedMtl
from fewtune.parts.aggregators.ca_grad import CaGrad
from fewtune.parts.aggregators.dwa import Dwa
from fewtune.parts.aggregators.fair_grad import FairGrad
from fewtune.parts.aggregators.famo import Famo
from fewtune.parts.aggregators.fixed import Fixed
from fewtune.parts.aggregators.grad_norm import GradNorm
from fewtune.parts.aggregators.grad_vac import GradVac
from fewtune.parts.aggregators.gram import gram
from fewtune.parts.aggregators.group_dro import GroupDro
from fewtune.parts.aggregators.imtl_g import ImtlG
from fewtune.parts.aggregators.imtl_l import ImtlL
from fewtune.parts.aggregators.layers import layer_gram, owned_gram
from fewtune.parts.aggregators.mean import Mean
from fewtune.parts.aggregators.min_norm import MinNorm
from fewtune.parts.aggregators.nash import Nash
from fewtune.parts.aggregators.pc_grad import PcGrad, projection_order
from fewtune.parts.aggregators.rlw import Rlw
from fewtune.parts.aggregators.scale import weights_of
from fewtune.parts.aggregators.stch import Stch
from fewtune.parts.aggregators.torch_jd import TorchJd
from fewtune.parts.aggregators.uncertainty import Uncertainty
from fewtune.parts.aggregators.up_grad import UpGrad
from fewtune.parts.aggregators.worst_case import WorstCase

AGGREGATORS = (
    AlignedMtl,
    CaGrad,
    Dwa,
    FairGrad,
    Famo,
    Fixed,
    GradNorm,
    GradVac,
    GroupDro,
    ImtlG,
    ImtlL,
    Mean,
    MinNorm,
    Nash,
    PcGrad,
    Rlw,
    Stch,
    TorchJd,
    Uncertainty,
    UpGrad,
    WorstCase,
)

__all__ = [
    "AGGREGATORS",
    "Aggregator",
    "AlignedMtl",
    "CaGrad",
    "Dwa",
    "FairGrad",
    "Famo",
    "Fixed",
    "GradNorm",
    "GradVac",
    "GroupDro",
    "ImtlG",
    "ImtlL",
    "LooksBack",
    "Mean",
    "MinNorm",
    "Nash",
    "PcGrad",
    "Rlw",
    "Seen",
    "State",
    "Stch",
    "TorchJd",
    "Uncertainty",
    "UpGrad",
    "WorstCase",
    "check_reading",
    "every_of",
    "form_of",
    "gram",
    "layer_gram",
    "nothing_kept",
    "owned_gram",
    "projection_order",
    "remembers",
    "weights_of",
]
