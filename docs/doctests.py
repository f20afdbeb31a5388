"""Examples in docstrings (`>>>`) as code blocks of the site."""

from __future__ import annotations

from typing import Any

import griffe


class Doctests(griffe.Extension):
    """Put fences around the examples of each docstring."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:  # noqa: ARG002
        if obj.docstring is not None and ">>>" in obj.docstring.value:
            obj.docstring.value = "\n\n".join(map(_fenced, obj.docstring.value.split("\n\n")))


def _fenced(paragraph: str) -> str:
    before, mark, after = paragraph.partition(">>>")
    return f"{before}\n```pycon\n{mark}{after}\n```" if mark else paragraph
