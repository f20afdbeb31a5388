"""Methods as expressions, and the words in which they can be written."""

from fewtune.recipes.language import WORDS, read_method

__all__ = ["WORDS", "read_method"]
