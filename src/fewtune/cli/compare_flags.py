"""Flags of `fewtune compare`: which episodes, and where the run is kept."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

if TYPE_CHECKING:
    from fewtune.api.settings import CompareSettings
    from fewtune.cli.learning import LearningFlags
    from fewtune.cli.options import BackboneFlags, DataFlags


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class EpisodeFlags:
    """Which few-shot episodes every method answers.

    Parameters
    ----------
    ways: int
        Classes in an episode.
    shots: int
        Support examples of each class; several make several settings, all drawn from the classes that have rows enough for the largest.
    queries: int
        Query examples of each class.
    episodes: int
        Episodes for each setting and seed.
    seeds: int
        Seeds of the episodes; with several, an interval over seeds is given too.
    classes: str
        Which classes episodes come from: by default the test classes where the data has class splits, else all.
    within: str
        group: every episode stays within one group (an alphabet, a domain).
    episode: str
        Another kind of episode instead of --ways, --shots and --queries: 'Varied()', 'Imbalanced(ways=5)', 'Hard(ways=5, shots=1)'.
    """

    ways: int = 5
    shots: Annotated[list[int], Parameter(consume_multiple=True, negative=())] = field(default_factory=lambda: [1, 5])
    queries: int = 15
    episodes: int = 600
    seeds: Annotated[list[int], Parameter(consume_multiple=True, negative=())] = field(default_factory=lambda: [0])
    classes: Literal["train", "validation", "test", "all"] | None = None
    within: Literal["all", "group"] = "all"
    episode: str | None = None


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class KeepingFlags:
    """Where the run is kept.

    Parameters
    ----------
    out: Path
        A folder that keeps the run: its description, episodes and every result row.
    overwrite: bool
        Replace an existing run in --out, finished or not.
    resume: bool
        Go on with the unfinished run of the same command in --out.
    trained: Path
        A folder that keeps trained models: another comparison that needs the very same training (on another target, say) takes it from
        there.
    """

    out: Path | None = None
    overwrite: bool = False
    resume: Annotated[bool, Parameter(negative=())] = False
    trained: Path | None = None


NO_EPISODE_FLAGS = EpisodeFlags()
NO_KEEPING_FLAGS = KeepingFlags()


def settings_of(
    asked: EpisodeFlags, learning: LearningFlags, keeping: KeepingFlags, reading: DataFlags, model: BackboneFlags
) -> CompareSettings:
    """The flags as the settings of `fewtune.compare`."""
    from fewtune.api.settings import CompareSettings
    from fewtune.evaluation.run_folder import Keeping

    return CompareSettings(
        queries=asked.queries,
        episodes=asked.episodes,
        classes=asked.classes,
        within=asked.within,
        episode=asked.episode,
        training=learning.training(),
        reserved=learning.reserved,
        memory=learning.memory,
        skip_bad=reading.skip_bad,
        cache=model.cache,
        keeping=Keeping(out=keeping.out, overwrite=keeping.overwrite, resume=keeping.resume, trained=keeping.trained),
        quiet=model.quiet,
    )
