"""Near-duplicates: the same photo saved again, the same sentence typed again.

Two collections (or one) flow in, pairs of rows that are alike flow out: `near_pairs` by their look or their words, `find_leaks` by every
evidence there is, for rows of other data that are rows of the target too. Labels are not looked at.
"""

from fewtune.data.near.leaks import Leak, embedding_threshold, find_leaks, without_leaks
from fewtune.data.near.pairs import Pairs, near_in_each, near_pairs

__all__ = ["Leak", "Pairs", "embedding_threshold", "find_leaks", "near_in_each", "near_pairs", "without_leaks"]
