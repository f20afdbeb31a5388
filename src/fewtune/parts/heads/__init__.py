"""Heads: how the answer is read off features. `HEADS` lists every one of them."""

from fewtune.parts.heads.centroid import Centroid
from fewtune.parts.heads.linear import Linear
from fewtune.parts.heads.logistic import Logistic
from fewtune.parts.heads.matching import Matching
from fewtune.parts.heads.ridge import Ridge
from fewtune.parts.heads.svm import Svm
from fewtune.parts.heads.text import Text
from fewtune.parts.heads.text_prior import TextPrior

HEADS = (Centroid, Linear, Logistic, Matching, Ridge, Svm, Text, TextPrior)

__all__ = ["HEADS", "Centroid", "Linear", "Logistic", "Matching", "Ridge", "Svm", "Text", "TextPrior"]
