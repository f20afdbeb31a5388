"""Methods as expressions, and the words in which they can be written."""

from fewtune.recipes.language import RECIPES, WORDS, read_frozen, read_method, variants

__all__ = ["RECIPES", "WORDS", "read_frozen", "read_method", "variants"]
