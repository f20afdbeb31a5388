"""Aggregators: how the gradients of several tasks become one update.

The tasks' losses [T], or the Gram matrix [T, T] of their gradients, come in; a weight for each task, [T], goes out. `AGGREGATORS` lists
every aggregator.
"""

from fewtune.parts.aggregators.aggregator import Aggregator
from fewtune.parts.aggregators.fixed import Fixed
from fewtune.parts.aggregators.gram import gram
from fewtune.parts.aggregators.mean import Mean
from fewtune.parts.aggregators.pc_grad import PcGrad, projection_order
from fewtune.parts.aggregators.worst_case import WorstCase

AGGREGATORS = (Fixed, Mean, PcGrad, WorstCase)

__all__ = ["AGGREGATORS", "Aggregator", "Fixed", "Mean", "PcGrad", "WorstCase", "gram", "projection_order"]
