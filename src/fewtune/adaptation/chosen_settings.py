"""Own labels in settings that are chosen: on classes of other data where there are some, else on inner folds, as the time allows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import final

from fewtune.adaptation.judging import Judging
from fewtune.adaptation.own_labels import OwnLabels
from fewtune.sides.guard import FOLDS
from fewtune.sides.inner_folds import INNER
from fewtune.sides.job import Job
from fewtune.sides.planning import settings_within
from fewtune.sources.finetune import MOST_SOURCES
from fewtune.sources.outcome import SourceOutcome
from fewtune.sources.own_settings import EPISODES, best_on_classes
from fewtune.words import counted


@final
@dataclass(frozen=True, eq=False)
class ChosenSettings:
    """`run`: the seconds of one run in the usual settings. `sources`: what came of other data, None where there is none."""

    own: OwnLabels
    judging: Judging
    job: Job
    run: float
    sources: SourceOutcome | None

    def judge(self) -> None:
        """One more side, judged beside the others; or a note on why there is none."""
        by_classes = bool(self._validating)
        each = EPISODES if by_classes else INNER * self._makings
        count = self._within(each)
        if count < 2:
            self.judging.notes.append("Too little time to choose the settings of finetuning on your own labels: the usual ones stand.")
            return
        where = "classes of the other data" if by_classes else "inner folds of your examples"
        runs = self._makings + count * each
        self.job.at.say(
            f"Choosing among {count} of {len(self.own.settings)} settings of finetuning on your labels, on {where}: "
            f"{counted(runs, 'run')}, about {runs * self.run:.0f} s."
        )
        if not by_classes:
            self.judging.judge(self.own.route_chosen(count, self.job.at.finished))
            return
        best = self._best(count)
        if best:
            self.judging.judge(self.own.route_in(best))
        else:
            self.judging.notes.append("Classes of the other data chose the usual settings of finetuning on your own labels.")

    @property
    def _known(self) -> str:
        """What the command asks for and what it starts from."""
        frozen = self.own.frozen
        return f"{self.own.how} {self._makings} {frozen.target.digest} {frozen.side.backbone.digest()}"

    @property
    def _makings(self) -> int:
        """How often a side is made: for each fold, and from all labelled examples."""
        return FOLDS * self.judging.repeats + 1

    def _within(self, each: int) -> int:
        """The settings that the time allows; all of them where the number of repeats is given, so that no clock has a say."""
        most, clock = len(self.own.settings), self.job.clock
        if self.own.how.own.repeats:
            return most
        (found,) = self.job.at.finished.once(
            f"settings {self._known} {each}", lambda: (settings_within(clock.left, self.run, self._makings, each, most),)
        )
        return int(found)

    def _best(self, count: int) -> int:
        """The settings that validation classes of the other data choose."""
        assert self.sources is not None
        methods, judge = [tuner.method for tuner in self.own.settings[:count]], self.sources.tuner.judge
        data = " ".join(source.digest() for source in judge.source_rows.space.sources)
        with self.job.clock.stage("choosing settings on other data"):
            (best,) = self.job.at.finished.once(
                f"best of {count} {self._known} {data}",
                lambda: (best_on_classes(methods, self.own.frozen.side.backbone, judge, self._validating),),
                worth=lambda _: True,
            )
        return int(best)

    @cached_property
    def _validating(self) -> tuple[str, ...]:
        """The sources with validation classes, of those that most of the chosen tasks are from."""
        if self.sources is None:
            return ()
        rows = self.sources.source_rows
        leading = rows.leading(self.sources.candidates.take(self.sources.trace.taken), MOST_SOURCES)
        return tuple(name for name in leading if rows.tasks("validation", [name]) is not None)
