"""The laws of methods."""

from __future__ import annotations

from collections.abc import Callable

from fewtune.learning.method import Method
from fewtune.recipes import read_method
from fewtune.spec import text
from fewtune.testing.heads import check_head
from fewtune.testing.law import law


def check_method(method: Method | Callable[[], Method]) -> None:
    """Run the laws on a method, or on a recipe with its defaults.

    It is a `Method`, the same at each call; its full text reads back as itself, so that results and models can be filed under it (heads
    of your own must be registered, see `fewtune.plugins`); its heads obey the laws of heads, where they look at the support or at class
    names. Raises AssertionError with a sentence that names the law.
    """
    made = method if isinstance(method, Method) else method()
    law(isinstance(made, Method), method, f"a recipe must return a fewtune.Method, found a {type(made).__name__}")
    law(isinstance(method, Method) or method() == made, method, "a recipe must return the same method each time")
    try:
        again = read_method(text(made))
    except (TypeError, ValueError) as problem:
        raise AssertionError(f"the full text of the method cannot be read back: {problem}") from problem
    law(again == made, made, f"its full text must read back as itself: {text(made)}")
    for head in dict.fromkeys(made.heads):
        if head.reads_support or head.reads_classes:
            check_head(head)
