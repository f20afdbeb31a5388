"""A figure that goes on a page, or into a file of its own with its legend."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from fewtune.errors import InputError
from fewtune.files import write_bytes
from fewtune.report.drawing import INK, TEXT, WIDTH, Drawn, drawn, picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LINE = 18.0  # units that a line of the legend takes


@final
@dataclass(frozen=True, kw_only=True)
class Sketch:
    """`build` fills an empty figure of the page's width and `height` units; `name`, `label`, `caption` and `legend` as in `drawn`."""

    build: Callable[[Figure], None]
    name: str
    label: str
    caption: str
    height: float
    legend: tuple[tuple[str, str], ...] = ()

    def drawn(self) -> Drawn:
        """The figure for a page."""
        legend = self.legend if self._several else ()
        return drawn(self.build, name=self.name, label=self.label, caption=self.caption, height=self.height, legend=legend)

    def save(self, path: Path | str, *, overwrite: bool = False) -> Path:
        """Write the figure, its legend above it; `path` ends in .png or .svg. Raises InputError for another end, and FileExistsError where
        something is there, unless `overwrite`."""
        path = Path(path)
        kind = path.suffix.lower().removeprefix(".")
        if kind not in ("png", "svg"):
            raise InputError(f"{path}: expected a name that ends in .png or .svg.")
        room = _LINE * -(-len(self.legend) // 2) if self._several else 0.0
        write_bytes(
            path, picture(lambda figure: self._with_legend(figure, room), height=self.height + room, format=kind), new=not overwrite
        )
        return path

    @property
    def _several(self) -> bool:
        return len(self.legend) > 1

    def _with_legend(self, figure: Figure, room: float) -> None:
        from matplotlib.lines import Line2D

        figure.set_size_inches(WIDTH / 72, self.height / 72)
        self.build(figure)
        figure.set_size_inches(WIDTH / 72, (self.height + room) / 72)
        share = self.height / (self.height + room)
        for ax in figure.axes:
            place = ax.get_position()
            ax.set_position((place.x0, share * place.y0, place.width, share * place.height))
        if room:
            handles: list[Any] = [Line2D([], [], color=colour, label=text) for colour, text in self.legend]
            how: dict[str, Any] = {"frameon": False, "ncols": 2, "fontsize": TEXT, "labelcolor": INK, "borderpad": 0.2, "labelspacing": 0.2}
            figure.legend(handles=handles, loc="upper center", **how)
