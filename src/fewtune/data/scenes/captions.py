"""One sentence on each scene."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from fewtune.data.examples import Integers
from fewtune.data.scenes.attributes import ATTRIBUTES, BACKGROUND, COLOUR, MATERIAL, RELATION, SHAPE, SIZE
from fewtune.keys import key

CAPTIONS = ("plain", "no_count")
_OPTIONAL = (COLOUR, SHAPE, SIZE, MATERIAL, BACKGROUND, RELATION)


def captions_of(seed: int, rows: Integers, classes: Mapping[str, Integers], style: str) -> list[str]:
    """A caption for each row [N], for example "An image of 3 large red metal cubes on a striped background, left of a white cross".

    Each attribute but the count is left out with probability 1/4. `style` "plain" always says the count. "no_count" never does: nouns are
    in the plural whatever the count. `classes`: the class [N] of each attribute, by column (`attributes_of`).
    """
    draws = key(seed, "scenes", "captions")
    counters = rows[:, None] * len(_OPTIONAL) + np.arange(len(_OPTIONAL))
    said = draws.below(4, counters.astype(np.uint64)) > 0
    names = {a.column: [a.classes[c] for c in classes[a.column].tolist()] for a in ATTRIBUTES}
    return [
        _caption({a.column: names[a.column][i] for a, is_said in zip(_OPTIONAL, told, strict=True) if is_said}, names["count"][i], style)
        for i, told in enumerate(said.tolist())
    ]


def _caption(said: Mapping[str, str], count: str, style: str) -> str:
    one = style == "plain" and count == "1"
    noun = said.get(SHAPE.column, "object") + ("" if one else "s")
    words = [count] if style == "plain" else []
    words += [said[a.column] for a in (SIZE, COLOUR, MATERIAL) if a.column in said]
    where = f" on a {said[BACKGROUND.column]} background" if BACKGROUND.column in said else ""
    beside = f"{',' if where else ''} {said[RELATION.column]} a white cross" if RELATION.column in said else ""
    return f"An image of {' '.join([*words, noun])}{where}{beside}"
