"""The laws that every head, method, sampler, aggregator and backbone obeys, as functions to run on a part of your own.

What goes in is one part; nothing comes out where it obeys, and an AssertionError says in a sentence which law it breaks.

>>> from fewtune.parts.heads import Ridge
>>> from fewtune.testing import check_head
>>> check_head(Ridge(penalty=10.0))
"""

from fewtune.testing.aggregators import check_aggregator
from fewtune.testing.backbones import check_backbone
from fewtune.testing.heads import check_head
from fewtune.testing.methods import check_method
from fewtune.testing.samplers import check_sampler

__all__ = ["check_aggregator", "check_backbone", "check_head", "check_method", "check_sampler"]
