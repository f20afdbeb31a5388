"""Aggregators: how several tasks' gradients become one update. `AGGREGATORS` lists every one of them."""

from fewtune.parts.aggregators.aggregator import Aggregator
from fewtune.parts.aggregators.fixed import Fixed
from fewtune.parts.aggregators.gram import gram
from fewtune.parts.aggregators.mean import Mean
from fewtune.parts.aggregators.pc_grad import PcGrad, projection_order
from fewtune.parts.aggregators.worst_case import WorstCase

AGGREGATORS = (Fixed, Mean, PcGrad, WorstCase)

__all__ = ["AGGREGATORS", "Aggregator", "Fixed", "Mean", "PcGrad", "WorstCase", "gram", "projection_order"]
