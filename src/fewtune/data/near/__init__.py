"""Near-duplicates: the same photo saved again, the same sentence typed again.

Two collections (or one) come in, pairs of similar rows come out. `near_pairs` compares the look of images or the words of texts;
`find_leaks` uses all evidence to find rows of other data that are also rows of the target. Labels are ignored.
"""

from fewtune.data.near.leaks import Leak, embedding_threshold, find_leaks, without_leaks
from fewtune.data.near.pairs import Pairs, near_in_each, near_pairs

__all__ = ["Leak", "Pairs", "embedding_threshold", "find_leaks", "near_in_each", "near_pairs", "without_leaks"]
