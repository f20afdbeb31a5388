"""Shifts by the words of `--shift`: gaussian_noise:5, blocks:16, shares:cat=3,dog=1, subgroups:0.5."""

from __future__ import annotations

from collections.abc import Sequence

from fewtune.data.examples import Examples
from fewtune.data.shifts.classes import held_out_subgroups, reweighted
from fewtune.data.shifts.corruptions import CORRUPTIONS, block_shuffled, corrupted
from fewtune.errors import InputError, unknown

OTHERS = ("blocks", "shares", "subgroups")


def shifted(examples: Examples, shift: str, *, side: int = 224, seed: int = 0) -> Examples:
    """The collection under a shift that is named.

    A corruption with its severity from 1 to 5, as in `blur:3` (alone: 3); `blocks:SIZE`, the blocks of photos of `side` pixels in another
    order; `shares:CLASS=NUMBER,...`, other shares of the classes (those that are not named have 1); `subgroups:SHARE`, only the rows of
    some groups (alone: half of them), which the other half can be learned without. Raises InputError for other words and numbers.

    >>> shifted(examples, "shares:cat=3").name
    'photos@reweighted'
    """
    kind, how = _read(shift)
    if kind == "shares":
        return reweighted(examples, _shares(examples.class_names, shift, str(how)), seed)
    if kind == "subgroups":
        return held_out_subgroups(examples, share=float(how), seed=seed)[1]
    return block_shuffled(examples, int(how), side, seed) if kind == "blocks" else corrupted(examples, kind, int(how), seed)


def each_shifted(examples: Examples, shifts: Sequence[str], *, side: int = 224, seed: int = 0) -> list[Examples]:
    """The collection under each shift. Raises InputError for one that is given twice."""
    check_shifts(shifts)
    return [shifted(examples, one, side=side, seed=seed) for one in shifts]


def check_shifts(shifts: Sequence[str]) -> None:
    """Raise InputError for a shift that is given twice, or that no collection could have."""
    if twice := next((one for one in shifts if list(shifts).count(one) > 1), None):
        raise InputError(f"the shift {twice} is given twice: give each once.")
    for one in shifts:
        _read(one)


def _read(shift: str) -> tuple[str, float | str]:
    """The kind of a shift, and its number; of `shares` the words after the colon."""
    kind, _, how = shift.partition(":")
    if kind == "shares":
        return kind, how
    if kind == "subgroups":
        return kind, _number(shift, how or "0.5")
    if kind in CORRUPTIONS:
        return kind, _number(shift, how or "3", whole=True)
    if kind == "blocks":
        return kind, _number(shift, how, whole=True)
    raise unknown("shift", kind, (*CORRUPTIONS, *OTHERS))


def _number(shift: str, text: str, *, whole: bool = False) -> float:
    try:
        return int(text) if whole else float(text)
    except ValueError:
        raise InputError(f"--shift {shift}: expected a {'whole ' if whole else ''}number after the colon, found {text!r}.") from None


def _shares(names: Sequence[str], shift: str, how: str) -> dict[str, float]:
    found = dict.fromkeys(names, 1.0)
    for part in how.split(","):
        name, equals, value = part.rpartition("=")
        if not equals:
            raise InputError(f"--shift {shift}: expected shares:CLASS=NUMBER,..., found {part!r}.")
        if name not in found:
            raise unknown("class", name, names)
        found[name] = _number(shift, value)
    return found
