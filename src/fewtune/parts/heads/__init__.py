"""Heads: how the answer is read off features. `HEADS` lists every one of them."""

from fewtune.parts.heads.centroid import Centroid
from fewtune.parts.heads.logistic import Logistic
from fewtune.parts.heads.matching import Matching
from fewtune.parts.heads.ridge import Ridge
from fewtune.parts.heads.text import Text

HEADS = (Centroid, Logistic, Matching, Ridge, Text)

__all__ = ["HEADS", "Centroid", "Logistic", "Matching", "Ridge", "Text"]
