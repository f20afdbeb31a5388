"""Where the best value of a sweep lies among those tried: at an edge, a value beyond may do better."""

from __future__ import annotations

from collections.abc import Sequence

FEWEST = 3  # values of an option from which an edge says something: of two, each is one


def edges(best: str, tried: Sequence[str]) -> list[str]:
    """A sentence for each swept option whose chosen value is the lowest or highest of those tried, by its size and whatever the order.

    `best` is one of the labels `tried`, such as "lr=0.001, steps=20". Options of fewer than three values are passed over.
    """
    chosen, grid = _values(best), [_values(label) for label in tried]
    said = []
    for option, value in chosen.items():
        values = {point[option] for point in grid}
        if len(values) >= FEWEST and value in (min(values), max(values)):
            beyond = "lower" if value == min(values) else "higher"
            said.append(f"{option}={value:g} lies at the edge of the sweep, so a {beyond} value may do better")
    return said


def _values(label: str) -> dict[str, float]:
    """ "lr=0.001, steps=20" as numbers by option."""
    parts = (part.partition("=") for part in label.split(", "))
    return {option: float(value) for option, _, value in parts}
