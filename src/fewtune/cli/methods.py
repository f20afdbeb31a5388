"""`fewtune methods [WORD]`."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter


def methods(
    word: str = "",
    /,
    *,
    parts: Annotated[bool, Parameter(negative=())] = False,
    format: Literal["table", "json"] = "table",
) -> None:
    """List the methods that `fewtune compare --method` takes, with their options, defaults and references.

    Parameters
    ----------
    word: str
        Only methods with this word in their name or description. The name of one method or part shows all that is known of it.
    parts: bool
        Also list the parts that methods are written with: heads, losses, aggregators, rates, samplers, ...
    format: str
        table is for people, json is for programs.
    """
    from fewtune.cli.say import answer, terminal_width
    from fewtune.recipes.described import described
    from fewtune.report.methods import render_methods

    answer(render_methods(described(word, parts=parts), format, width=terminal_width()))
