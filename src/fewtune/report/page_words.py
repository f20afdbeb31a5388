"""Numbers and names as the page says them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from fewtune.report.drawing import MINUS
from fewtune.statistics import Interval
from fewtune.words import counted, one_line

UNKNOWN = "\N{EN DASH}"


def clean(value: object) -> object:
    """A text that is safe to put in the page: one line, without control characters and without signs that change the writing direction."""
    if isinstance(value, str) and not hasattr(value, "__html__"):
        return one_line(value)
    return value


def known(value: float | None) -> bool:
    """Whether there is a number and it is finite."""
    return value is not None and math.isfinite(value)


def percent(value: float | None, digits: int = 1) -> str:
    """0.8312 -> 83.1%"""
    return f"{100 * value:.{digits}f}%" if value is not None and known(value) else UNKNOWN


def points(value: float | None, digits: int = 1) -> str:
    """0.031 -> +3.1, with a sign that is as wide as a plus."""
    if value is None or not known(value):
        return UNKNOWN
    said = f"{100 * value:+.{digits}f}"
    return "0.0" if float(said) == 0 else said.replace("-", MINUS)


def bounds(interval: Interval | None, digits: int = 1) -> str:
    """ "80.1 to 86.0", nothing where the bounds are not known."""
    if interval is None or not (known(interval.low) and known(interval.high)):
        return ""
    return f"{100 * interval.low:.{digits}f} to {100 * interval.high:.{digits}f}"


def signed_bounds(interval: Interval | float | None) -> str:
    """ "+0.9 to +5.2", nothing where the bounds are not known."""
    if not isinstance(interval, Interval) or not (known(interval.low) and known(interval.high)):
        return ""
    return f"{points(interval.low)} to {points(interval.high)}"


def level(interval: Interval) -> str:
    """ "95%"."""
    return f"{100 * interval.level:g}%"


def chance(p: float | None) -> str:
    """A p value as the other tables write it: .004, < .001, 1."""
    if p is None or not known(p):
        return ""
    return "< .001" if p < 0.001 else f"{p:.3f}".lstrip("0") if p < 0.9995 else "1"


def number(value: float | None, digits: int = 2) -> str:
    """A plain number, a dash where it is not known."""
    return f"{value:.{digits}f}".replace("-", MINUS) if value is not None and known(value) else UNKNOWN


def whole(value: float | None) -> str:
    """12345 -> 12,345; 7.6 stays."""
    if value is None or not known(value):
        return UNKNOWN
    return f"{value:,.0f}" if float(value).is_integer() or value >= 100 else f"{value:.1f}"


def duration(seconds: float | None) -> str:
    """8.3 s, 2 min 5 s, 1 h 12 min."""
    if seconds is None or not known(seconds):
        return UNKNOWN
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    rounded = round(seconds)
    if rounded < 60:
        return f"{rounded} s"
    if rounded < 3600:
        return f"{rounded // 60} min {rounded % 60} s"
    return f"{rounded // 3600} h {rounded % 3600 // 60} min"


def change(value: Interval | float | None) -> str:
    """A measured change of accuracy, with or without bounds."""
    return points(value.mean if isinstance(value, Interval) else value)


def classes(count: int, before: str = "") -> str:
    """1 class, 3 source classes."""
    return f"{count:,} {before}{'class' if count == 1 else 'classes'}"


def breakable(text: str) -> Any:
    """A path or a constructor text in which lines may break after / ( , = and _, but not within words."""
    from markupsafe import Markup, escape

    return Markup(re.sub(r"([/(,=_]+)(?=.)", r"\1<wbr>", str(escape(one_line(text)))))


WORDS: Mapping[str, Callable[..., Any]] = {
    "percent": percent,
    "points": points,
    "bounds": bounds,
    "signed_bounds": signed_bounds,
    "level": level,
    "chance": chance,
    "number": number,
    "whole": whole,
    "duration": duration,
    "change": change,
    "breakable": breakable,
    "classes": classes,
    "counted": counted,
    "known": known,
}
