"""`fewtune backbones [WORD]`."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter


def backbones(
    word: str = "",
    /,
    *,
    measure: Annotated[bool, Parameter(negative=())] = False,
    format: Literal["table", "json"] = "table",
) -> None:
    """List foundation models: for what, how large, under which licence, and whether they are on this machine.

    small, base and large stand for the model in whose line they are, for images or for texts.

    Parameters
    ----------
    word: str
        Only models with this word in their name, licence or description, and timm's models with it in their name.
    measure: bool
        Also measure how many photos or texts each one embeds in a second on this machine. It takes some seconds for each; no weights
        are needed.
    format: str
        table is for people, json is for programs.
    """
    from fewtune.backbones.offered import measured, offered
    from fewtune.cli.say import answer, note, terminal_width
    from fewtune.report.backbones import render_backbones

    found = offered(word)
    if measure:
        found = measured(found, note)
    answer(render_backbones(found, format, width=terminal_width()))
