"""How the page's figures are drawn: small enough for a phone, in the page's colours; the same data give the same bytes.

A figure is 360 units wide, the width of a phone's column, so that its text is as large as the page's there, and somewhat larger on a desk.
matplotlib draws with stand-in colours, which `inline_svg` replaces by the variables of the page's style sheet.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

from fewtune.backbones.providers.quiet import quietly
from fewtune.report.inline_svg import inline
from fewtune.words import one_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 360.0
MINUS = "\u2212"  # as wide as a plus
_EVERY_FONT = "\u04ff"  # Latin, Greek and Cyrillic letters are in every font that pages are read in
_DRAWN = f"{MINUS}\u2026\u2013\u2014\u2018\u2019\u201c\u201d\u00d7"
TEXT = 11.5  # units; at 360 units on 358 pixels, just about pixels

INK, MUTED, RULE, CELL, ACCENT, WRONG, OTHER = (f"#0a0b{i:02x}" for i in range(1, 8))
SERIES = tuple(f"#0a0c{i:02x}" for i in range(10))
"""Ten colours that are easy to tell apart; `series(i)` starts again after the tenth."""

_COLOURS = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    RULE: "var(--rule)",
    CELL: "var(--cell)",
    ACCENT: "var(--accent)",
    WRONG: "var(--wrong)",
    OTHER: "var(--other)",
    **{colour: f"var(--s{i})" for i, colour in enumerate(SERIES)},
}

_LIGHT = ("#1f66ad", "#d1601b", "#23875a", "#b3347b", "#7857c6", "#9c7a00", "#0b8a9c", "#8d5532", "#c6303b", "#5c8708")
PLAIN = {
    INK: "#1d2327",
    MUTED: "#5a6670",
    RULE: "#d5dbe0",
    CELL: "#eef1f3",
    ACCENT: "#1f6fb2",
    WRONG: "#c8551b",
    OTHER: "#8a949c",
    **dict(zip(SERIES, _LIGHT, strict=True)),
}
"""The colours of pictures that are files of their own; series as in page.css."""

_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "fewtune",
    "text.parse_math": False,  # "$" in a class name is a dollar
    "path.simplify": False,
    "font.family": "DejaVu Sans",
    "font.size": TEXT,
    "text.color": INK,
    "axes.edgecolor": RULE,
    "axes.labelcolor": MUTED,
    "axes.linewidth": 1.0,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.unicode_minus": True,
    "grid.color": RULE,
    "grid.linewidth": 0.8,
    "xtick.color": RULE,
    "ytick.color": RULE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.major.size": 3.0,
    "xtick.minor.size": 0.0,
    "ytick.major.size": 0.0,
    "ytick.minor.size": 0.0,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
}


@final
@dataclass(frozen=True)
class Drawn:
    """A figure for the page: an inline `svg`, one sentence `caption` on how to read it, and `legend`: (CSS colour, name), in order."""

    svg: str
    caption: str
    legend: tuple[tuple[str, str], ...] = ()


def drawn(
    build: Callable[[Figure], None],
    *,
    name: str,
    label: str,
    caption: str,
    height: float,
    width: float = WIDTH,
    legend: Sequence[tuple[str, str]] = (),
) -> Drawn:
    """Let `build` fill an empty figure of `width` x `height` units. `name`: the prefix of its ids; `label`: what a screen reader says."""
    with quietly():  # without a home folder matplotlib prints long messages about its font cache
        import matplotlib as mpl
        from matplotlib.figure import Figure

    out = io.BytesIO()
    with mpl.rc_context(), warnings.catch_warnings():
        # a person's own matplotlibrc must not change the page; the browser has the glyphs that matplotlib's font lacks
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        warnings.filterwarnings("ignore", message="Glyph .* missing", category=UserWarning)
        warnings.filterwarnings("ignore", message=".*Matplotlib currently does not support .* natively", category=UserWarning)
        figure = Figure(figsize=(width / 72, height / 72), facecolor="none")
        build(figure)
        nothing: dict[str, Any] = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(out, format="svg", transparent=True, metadata=nothing)
    svg = inline(out.getvalue(), prefix=name, label=one_line(label), colours=_COLOURS)
    return Drawn(svg, caption, tuple((_COLOURS[colour], one_line(text)) for colour, text in legend))


def picture(build: Callable[[Figure], None], *, height: float, format: str, width: float = WIDTH) -> bytes:
    """The same figure as a file of its own, svg or png (300 dots an inch), in fixed colours on white."""
    with quietly():
        import matplotlib as mpl
        from matplotlib.figure import Figure

    out = io.BytesIO()
    with mpl.rc_context(), warnings.catch_warnings():
        mpl.rcdefaults()
        mpl.rcParams.update({name: PLAIN.get(value, value) if isinstance(value, str) else value for name, value in _STYLE.items()})
        warnings.filterwarnings("ignore", message="Glyph .* missing", category=UserWarning)
        figure = Figure(figsize=(width / 72, height / 72), facecolor="#ffffff")
        build(figure)
        for artist in figure.findobj():
            _recolour(artist)
        nothing: dict[str, Any] = dict.fromkeys(("Date", "Creator", "Format", "Type")) if format == "svg" else {"Software": None}
        figure.savefig(out, format=format, dpi=300, metadata=nothing)
    return out.getvalue()


def _recolour(artist: Any) -> None:
    """A stand-in colour becomes the one of the page's light style."""
    from matplotlib.colors import to_hex

    for part in ("color", "facecolor", "edgecolor"):
        asked, put = getattr(artist, f"get_{part}", None), getattr(artist, f"set_{part}", None)
        if asked is None or put is None:
            continue
        try:
            colour = PLAIN.get(to_hex(asked()))
        except (TypeError, ValueError):  # several colours at once
            continue
        if colour is not None:
            put(colour)


def axes(figure: Figure, *, left: float = 40, right: float = 8, top: float = 8, bottom: float = 38) -> Axes:
    """Axes with margins in units."""
    width, height = (72 * float(inches) for inches in figure.get_size_inches())
    return figure.add_axes((left / width, bottom / height, (width - left - right) / width, (height - top - bottom) / height))


def series(i: int) -> str:
    """The colour of the i-th series."""
    return SERIES[i % len(SERIES)]


def cells(text: str) -> int:
    """The largest width of a text, in letters. Wide letters (Chinese, Japanese, Korean) count twice. So does every sign that a browser may
    draw in another font than the page's, because it can be as wide: symbols, other scripts, the sign for an unknown letter."""
    from rich.cells import cell_len

    return cell_len(text) + sum(c > _EVERY_FONT and c not in _DRAWN and cell_len(c) == 1 for c in text)


def short(text: str, most: int) -> str:
    """A name as a label: one line of at most `most` letters (see `cells`), its middle left out where it is longer."""
    line = " ".join(one_line(text).split())
    if cells(line) <= most:
        return line
    head, tail = line, line
    while cells(head) > (most - 1) - (most - 1) // 3:
        head = head[:-1]
    while cells(tail) > (most - 1) // 3:
        tail = tail[1:]
    return f"{head.rstrip()}…{tail.lstrip()}"


def room(texts: Sequence[str], size: float = TEXT) -> float:
    """The units that the longest of these labels takes (0.6 of the font size a letter, 0.9 a wide one: more than most fonts need)."""
    return 0.6 * size * max((cells(text) + 0.5 * sum(map(text.count, "mwMW@%")) for text in texts), default=0)


def accuracies_upwards(ax: Axes, *, along: str, least: float = 0.0) -> None:
    """Accuracies on the upright axis, in percent; what lies `along` the other one is written below it. `least`: see `up_to_all`."""
    percent_ticks(ax.yaxis)
    ax.margins(y=0.1)
    up_to_all(ax, least)
    ax.set_xlabel(along)


def up_to_all(ax: Axes, least: float = 0.0) -> None:
    """An axis of accuracies ends at 100%, whatever its margin, and does not begin below the `least` value that there is."""
    low, high = ax.get_ylim()
    ax.set_ylim(max(low, least), min(high, 1.0))
    for line in ax.lines:
        line.set_clip_on(False)  # dots at 100% are drawn whole


def percent_ticks(axis: Any, most: int = 5) -> None:
    """Few round ticks; fractions are shown as percent."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axis.set_major_locator(MaxNLocator(most, steps=[1, 2, 2.5, 5, 10]))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.4g}".replace("-", MINUS)))
