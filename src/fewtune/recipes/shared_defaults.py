"""`@defaults(...)`: a recipe says the defaults of the settings that it shares with others, and the order of its options."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from types import EllipsisType
from typing import Any, ParamSpec, get_args, get_type_hints

from fewtune.learning.method import Method
from fewtune.spec import checked

Options = ParamSpec("Options")


def defaults(**shared: object | EllipsisType) -> Callable[[Callable[Options, Method]], Callable[Options, Method]]:
    """A recipe that always gets all its shared settings: `shared` are their defaults, for `**settings: Unpack[...]` of the recipe.

    The signature shows every option by its own name, so `help`, keyword calls and the text of a method read as if the recipe had listed
    them. Options come in this order: the recipe's positional ones, those of `shared` as given, its keyword-only ones. `name=...` (three
    dots) puts an option of the recipe itself at another place.

    >>> from typing import TypedDict, Unpack
    >>> from fewtune.recipes import ridge
    >>> class Group(TypedDict, total=False):
    ...     penalty: float
    >>> @defaults(penalty=2.0)
    ... def mine(**settings: Unpack[Group]) -> Method:
    ...     return ridge(**settings)
    >>> mine().head.penalty, mine(penalty=5.0).head.penalty
    (2.0, 5.0)
    """

    def decorate(recipe: Callable[Options, Method]) -> Callable[Options, Method]:
        return _checking(recipe, _with_settings(recipe, shared))

    return decorate


def typed(recipe: Callable[Options, Method]) -> Callable[Options, Method]:
    """A recipe whose options are of the types that it declares. Raises InputError otherwise; `@defaults` does so too.

    >>> @typed
    ... def mine(steps: int = 5) -> Method:
    ...     return multitask(steps=steps)
    >>> mine(steps="many")
    Traceback (most recent call last):
    fewtune.errors.InputError: mine: steps is a whole number, found 'many'.
    """
    return _checking(recipe, inspect.signature(recipe))


def _checking(recipe: Callable[Options, Method], signature: inspect.Signature) -> Callable[Options, Method]:
    """The recipe under this signature: it gets every option, and each of its type."""

    @functools.wraps(recipe)
    def called(*given: Options.args, **named: Options.kwargs) -> Method:
        bound = signature.bind(*given, **named)
        bound.apply_defaults()
        options = checked(called, recipe.__name__, bound.arguments)
        return recipe(**options)  # type: ignore[call-arg]

    called.__signature__ = signature  # type: ignore[attr-defined]
    return called


def _with_settings(recipe: Callable[..., Method], shared: dict[str, Any]) -> inspect.Signature:
    """The signature of a recipe, with its group of settings spelled out."""
    whole = inspect.signature(recipe)
    group = next(p.name for p in whole.parameters.values() if p.kind is p.VAR_KEYWORD)
    types = get_type_hints(get_args(get_type_hints(recipe)[group])[0])
    own = {name: p for name, p in whole.parameters.items() if name != group}
    assert set(types) == {name for name, value in shared.items() if value is not ...}, "each setting of the group has one default"
    first = [name for name, p in own.items() if p.kind is not p.KEYWORD_ONLY and name not in shared]
    last = [name for name, p in own.items() if p.kind is p.KEYWORD_ONLY and name not in shared]
    place = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = [
        own[name].replace(kind=place) if name in own else inspect.Parameter(name, place, default=shared[name], annotation=types[name])
        for name in (*first, *shared, *last)
    ]
    return whole.replace(parameters=parameters)
