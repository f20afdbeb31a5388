"""Flags of `fewtune compare`: which episodes, and where the run is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

if TYPE_CHECKING:
    from fewtune.api.settings import CompareSettings
    from fewtune.cli.learning import LearningFlags
    from fewtune.cli.options import BackboneFlags, DataFlags
    from fewtune.evaluation.workers import Shard


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class EpisodeFlags:
    """Which few-shot episodes every method answers.

    Parameters
    ----------
    ways: int
        Classes in an episode.
    shots: int
        Labelled examples of each class. Several numbers make several settings, all with the classes that have enough examples for the
        largest.
    queries: int
        Examples of each class that a method must label.
    episodes: int
        Episodes for each setting and seed. Or a path, the folder of a run or a file of its episodes: those episodes, on the same data in
        any order.
    seeds: int
        Seeds of the episodes. With several, an interval over the seeds is shown too.
    classes: str
        The classes that episodes are drawn from. By default the test classes if the data has class splits, otherwise all.
    within: str
        group: all classes of an episode come from one group (an alphabet, a domain).
    protocol: str
        lm_bff: the splits of LM-BFF, of all classes: 16 labels of each, and 32 (16 and as many to choose settings by), five times. Instead
        of --ways, --shots, --episodes and --seeds.
    episode: str
        Another kind of episode instead of --ways, --shots and --queries: 'Varied()', 'Imbalanced(ways=5)', 'Hard(ways=5, shots=1)'.
    """

    ways: int = 5
    shots: Annotated[list[int], Parameter(consume_multiple=True, negative=())] = field(default_factory=lambda: [1, 5])
    queries: int = 15
    episodes: int | Path = 600
    seeds: Annotated[list[int], Parameter(consume_multiple=True, negative=())] = field(default_factory=lambda: [0])
    classes: Literal["train", "validation", "test", "all"] | None = None
    within: Literal["all", "group"] = "all"
    protocol: str | None = None
    episode: str | None = None

    def check(self) -> None:
        """Raise InputError where a protocol is named and something that it decides is given too."""
        from fewtune.errors import InputError

        usual = EpisodeFlags()
        for name in ("ways", "shots", "episodes", "seeds", "classes", "within", "episode"):
            if self.protocol is not None and getattr(self, name) != getattr(usual, name):
                raise InputError(f"--protocol {self.protocol} says which episodes are drawn: leave --{name} out.")


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class KeepingFlags:
    """Where the run is kept.

    Parameters
    ----------
    out: Path
        Keep the run in this folder: its description, the episodes and every result.
    overwrite: bool
        Replace the run in --out, finished or not.
    resume: bool
        Continue the unfinished run of the same command in --out.
    trained: Path
        Keep trained models in this folder. Another comparison that needs the same training (for example on other data) reuses them.
    reset_trained: bool
        Train anew what is kept in --trained, and replace it there.
    """

    out: Path | None = None
    overwrite: bool = False
    resume: Annotated[bool, Parameter(negative=())] = False
    trained: Path | None = None
    reset_trained: Annotated[bool, Parameter(negative=())] = False


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class SharingFlags:
    """Several processes or machines for one study.

    Parameters
    ----------
    shard: str
        i/n: be worker i of n on the study in --out. The workers share a folder beside --out; each begins with its own share of the cells
        and then helps the others, and takes over those of workers that died. `fewtune merge OUT` puts the study together.
    cells: int
        End after so many cells; 0: when all are done.
    lease: float
        Seconds without a sign of life after which a worker counts as dead.
    on: str
        ray, ray:ADDRESS or slurm: start the workers there, wait for them, and merge.
    jobs: int
        How many workers --on starts; 0: one for each core of the Ray cluster.
    dry_run: bool
        Run nothing: print the cells, what they cost, and the time that is expected from a few measured steps and episodes.
    """

    shard: str | None = None
    cells: int = 0
    lease: float = 60.0
    on: str | None = None
    jobs: int = 0
    dry_run: Annotated[bool, Parameter(negative=())] = False

    def value(self) -> Shard:
        """The shard. Raises InputError for one that cannot be."""
        from fewtune.cli.shares import share_of
        from fewtune.evaluation.workers import Shard

        return Shard(*share_of(self.shard or "1/1"), self.cells, self.lease)

    def check(self, keeping: KeepingFlags) -> None:
        """Raise InputError for flags that do not fit."""
        from fewtune.errors import InputError

        given = next((flag for flag, value in (("--shard", self.shard), ("--on", self.on)) if value is not None), None)
        if given is None:
            if self.cells or self.jobs:
                raise InputError("--cells is for --shard, and --jobs for --on: give one of these too.")
            if self.lease != SharingFlags.lease:
                raise InputError("--lease is for the workers of --shard or --on: give one of these too, or leave --lease out.")
            return
        if self.shard is not None and self.on is not None:
            raise InputError("--on starts workers and --shard is one: give one of them.")
        if keeping.out is None:
            raise InputError(f"{given} needs a folder that all workers see: give --out FOLDER.")
        if keeping.overwrite or keeping.reset_trained:
            raise InputError(f"with {given} nothing is replaced: leave --overwrite and --reset-trained out, and give a new --out.")
        if self.on is not None and self.on.partition(":")[0] not in ("ray", "slurm"):
            raise InputError(f"--on is ray, ray:ADDRESS or slurm, found {self.on}.")


NO_SHARING_FLAGS = SharingFlags()
NO_EPISODE_FLAGS = EpisodeFlags()
NO_KEEPING_FLAGS = KeepingFlags()


def check_episodes(asked: EpisodeFlags) -> None:
    """Raise InputError for flags that say how episodes are drawn where saved ones are given, and for a path that does not exist."""
    from fewtune.cli.first import check_data
    from fewtune.errors import InputError

    if isinstance(asked.episodes, int):
        return
    check_data(asked.episodes)
    given = [name for name in changed(asked, NO_EPISODE_FLAGS) if name != "--episodes"]
    if given:
        raise InputError(f"--episodes {asked.episodes} are saved episodes, which {given[0]} cannot change: leave {given[0]} out.")


def changed(flags: Any, plain: Any) -> list[str]:
    """The names of flags of one group that differ from what they are by default, `plain`."""
    differ = [one.name for one in fields(flags) if getattr(flags, one.name) != getattr(plain, one.name)]
    return [f"--{'no-' if getattr(plain, name) is True else ''}{name.replace('_', '-')}" for name in differ]


def unused(groups: Sequence[tuple[Any, Any]], more: Mapping[str, object], used: Sequence[str]) -> list[str]:
    """The flags that are given though none but `used` count: those of `groups` (flags, what they are by default), and `more` by name."""
    given = [name for name, value in more.items() if value]
    return given + [name for flags, plain in groups for name in changed(flags, plain) if name not in used]


def settings_of(
    asked: EpisodeFlags, learning: LearningFlags, keeping: KeepingFlags, reading: DataFlags, model: BackboneFlags
) -> CompareSettings:
    """The flags as the settings of `fewtune.compare`."""
    from fewtune.api.settings import CompareSettings
    from fewtune.evaluation.run_folder import Keeping

    asked.check()
    return CompareSettings(
        queries=asked.queries,
        episodes=asked.episodes,
        seeds=tuple(asked.seeds),
        classes=asked.classes,
        within=asked.within,
        episode=asked.episode,
        protocol=asked.protocol,
        training=learning.training(),
        reserved=learning.reserved,
        controls=learning.controls,
        memory=learning.memory,
        skip_bad=reading.skip_bad,
        cache=model.cache,
        keeping=Keeping(
            out=keeping.out, overwrite=keeping.overwrite, resume=keeping.resume, trained=keeping.trained, reset=keeping.reset_trained
        ),
        quiet=model.quiet,
        metric=_metric(reading.metric),
    )


def _metric(given: Sequence[str]) -> str:
    """What episodes are judged by."""
    from fewtune.errors import InputError
    from fewtune.evaluation.study import ACCURACY, episode_metric

    if len(given) > 1:
        raise InputError(f"episodes are judged by one --metric, found {len(given)}.")
    return episode_metric(given[0]) if given else ACCURACY
