"""Several finished runs become one study: of other methods, targets, backbones, numbers of shots, or seeds.

What has one name in two runs must be one thing in both: data, backbones, methods, and the episodes of a setting.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias, final

import numpy as np
import pyarrow as pa

from fewtune.errors import InputError
from fewtune.evaluation.assembling import Outcomes, named_by_study
from fewtune.evaluation.outline import Outline, Spelled
from fewtune.evaluation.partial import slug
from fewtune.evaluation.result import UNTRAINED, Result
from fewtune.evaluation.run_folder import load_run, write_result
from fewtune.evaluation.saved_episodes import FOLDER, Entry, SavedEpisodes, read_saved
from fewtune.evaluation.training_settings import Cost
from fewtune.files import new_folder, numbered, read_regular, write_bytes
from fewtune.spec import digest
from fewtune.words import one_line

Setting: TypeAlias = tuple[str, str, str, str]  # target, backbone, ways, shots
_SAME = "merge runs in which it is the same, or give it another name and run again"


def merged_runs(runs: Sequence[Path]) -> tuple[Outline, Outcomes, SavedEpisodes]:
    """Several finished runs as one study: more methods on the same episodes, or more targets, backbones, shots or seeds.

    Raises InputError where two runs call different data, backbones or methods by one name, or answer different episodes of the same
    setting; where a method is in two of them twice; and where a method lacks episodes that it needs to be compared.
    """
    joined = _Joined()
    for run in runs:
        joined.add(run)
    return joined.whole()


@final
class _Joined:
    """Runs, one after the other. `settings`: their numbers in the whole. `places`: target and backbone of each of its studies."""

    def __init__(self) -> None:
        self.settings: dict[Setting, int] = {}
        self.places: list[tuple[str, str]] = []
        self._outlines: list[Outline] = []
        self._facts: dict[tuple[str, str], str] = {}  # digests, by what and its name
        self._methods: dict[str, Mapping[str, Spelled]] = {}
        self._learned: dict[tuple[str, int], str] = {}  # from what a method learned, by method and setting
        self._entries: dict[tuple[int, int], Entry] = {}
        self._tables: list[pa.Table] = []
        self._costs: list[Cost] = []
        self._notes: list[tuple[Outline, tuple[str, ...]]] = []
        self._right: dict[tuple[int, int, str, int], np.ndarray[Any, np.dtype[np.bool_]]] = {}

    def add(self, run: Path) -> None:
        """One more run. Raises InputError where it does not fit to those before it."""
        outline, outcomes = load_run(run)
        self._check_metric(outline)
        moved = {}
        for number, (study, _, ways, shots) in enumerate(outline.settings):
            place = outline.targets[study], outline.backbones[study]
            moved[number] = self.settings.setdefault((*place, ways, shots), len(self.settings))
            self.places += [place] if place not in self.places else []
        self._add_names(run, outline, moved)
        self._add_episodes(run, moved)
        self._add_rows(outcomes, moved)
        self._outlines.append(outline)
        self._costs += outcomes.costs
        self._notes.append((outline, (*outline.remarks, *outcomes.notes)))

    def _check_metric(self, outline: Outline) -> None:
        metrics = sorted({outline.metric, *(one.metric for one in self._outlines)})
        if len(metrics) > 1:
            raise InputError(f"the runs are judged by {' and '.join(metrics)}: merge runs of one metric.")

    def _add_names(self, run: Path, outline: Outline, moved: Mapping[int, int]) -> None:
        """What has a name here and in a run before must be the same."""
        for study, (rows, weights, _) in enumerate(outline.facts):
            named = (("the data", outline.targets[study], rows), ("the backbone", outline.backbones[study], weights))
            for what, name, found in named:
                if self._facts.setdefault((what, name), found) != found:
                    raise InputError(f"{what} {one_line(name)} of {run} differ from those of the runs before it under that name: {_SAME}.")
        for name, variants in outline.methods.items():
            if self._methods.setdefault(name, variants) != variants:
                raise InputError(f"method {one_line(name)} of {run} is another than in the runs before it: {_SAME}.")
            for number, (study, _, _, _) in enumerate(outline.settings):
                learned = outline.facts[study][2] if any(learns for _, learns in variants.values()) else ""
                if self._learned.setdefault((name, moved[number]), learned) != learned:
                    raise InputError(
                        f"method {one_line(name)} of {run} learned from other sources, or in another way, than in the runs before it: "
                        f"{_SAME}."
                    )

    def _add_episodes(self, run: Path, moved: Mapping[int, int]) -> None:
        saved = read_saved(run)
        for entry, number in zip(saved.entries, saved.numbers, strict=True):
            place = (moved[number], entry[1])
            if self._entries.setdefault(place, entry)[2].digest() != entry[2].digest():
                raise InputError(f"{run} answers other episodes than the runs before it: compare the methods on the same episodes first.")

    def _add_rows(self, outcomes: Outcomes, moved: Mapping[int, int]) -> None:
        table = outcomes.result.table
        column = pa.array([moved[number] for number in table["setting"].to_pylist()], type=pa.int32())
        self._tables.append(table.set_column(table.schema.get_field_index("setting"), "setting", column))
        taken = {(moved[s], seed, m, t): values for (s, seed, m, t), values in outcomes.right.items()}
        if again := sorted({place[2] for place in taken.keys() & self._right.keys()}):
            raise InputError(f"method {again[0]!r} is in two of the runs on the same episodes: leave one out, or give it another name.")
        self._right |= taken

    def whole(self) -> tuple[Outline, Outcomes, SavedEpisodes]:
        """The study that they are together."""
        outline, rows = self._outline(), pa.concat_tables(self._tables)
        _check_whole(rows, outline)
        notes: dict[str, None] = {}
        for one, said in self._notes:
            alone = len(one.targets) == 1 < len(self.places)
            place = self.places.index((one.targets[0], one.backbones[0]))
            notes |= dict.fromkeys(named_by_study(outline, place, said) if alone else said)
        drawn = {place: entry[2] for place, entry in self._entries.items()}
        saved = SavedEpisodes(tuple(self._entries.values()), tuple(number for number, _ in self._entries))
        return outline, Outcomes(Result(rows), drawn, tuple(self._costs), tuple(notes), right=self._right), saved

    def _outline(self) -> Outline:
        first = self._outlines[0]
        studies = [(self.places.index(name[:2]), index, name[2], name[3]) for index, name in enumerate(self.settings)]
        learned: dict[tuple[str, str], set[str]] = {place: set() for place in self.places}
        for name, number in self.settings.items():
            learned[name[:2]] |= {found for (_, setting), found in self._learned.items() if setting == number and found}
        facts = [
            (self._facts["the data", t], self._facts["the backbone", b], found.pop() if len(found := learned[t, b]) == 1 else "")
            for t, b in self.places
        ]
        return Outline(
            identity=digest("\n".join(outline.identity for outline in self._outlines)),
            targets=tuple(target for target, _ in self.places),
            backbones=tuple(backbone for _, backbone in self.places),
            left_out=((),) * len(self.places),
            settings=tuple(studies),
            methods=self._methods,
            cells=(),
            caption=", ".join(dict.fromkeys(outline.caption for outline in self._outlines)),
            items=first.items,
            metric=first.metric,
            beside=tuple({pair: None for outline in self._outlines for pair in outline.beside}),
            facts=tuple(facts),
        )


def _check_whole(rows: pa.Table, outline: Outline) -> None:
    """Raise InputError where a method lacks a setting, or episodes of a seed, that others have; or where its training runs answered
    different episodes.
    """
    answered: dict[tuple[str, int], dict[int, set[tuple[int, int]]]] = {}
    for method, number, training, seed, episode in zip(
        *(rows[name].to_pylist() for name in ("method", "setting", "training", "seed", "episode")), strict=True
    ):
        answered.setdefault((method, number), {}).setdefault(training, set()).add((seed, episode))
    seeds = {place: {seed for places in found.values() for seed, _ in places} for place, found in answered.items()}
    for number, (study, _, ways, shots) in enumerate(outline.settings):
        where = f"{outline.targets[study]}, {outline.backbones[study]}, {ways}-way {shots}-shot"
        for seed in sorted({seed for (_, setting), found in seeds.items() if setting == number for seed in found}):
            for method in outline.methods:
                if seed not in seeds.get((method, number), ()):
                    raise InputError(
                        f"no run has {method!r} on {where}, seed {seed}: merge runs that together have every method in every setting."
                    )
        for method in outline.methods:
            if len(set(map(frozenset, answered[method, number].values()))) > 1:
                runs = ", ".join("none" if t == UNTRAINED else str(t) for t in sorted(answered[method, number]))
                raise InputError(
                    f"the training seeds of {method!r} on {where} ({runs}) did not answer the same episodes: merge runs in which each "
                    "answers all of them."
                )


def write_runs(runs: Sequence[Path], out: Path, outline: Outline, outcomes: Outcomes, saved: SavedEpisodes, *, overwrite: bool) -> Path:
    """Write several runs as one, and return where it is. The runs stay as they are."""
    with (made := new_folder(out, overwrite=overwrite)) as new:
        texts = [read_regular(run / "study.txt").decode(errors="replace") for run in runs]
        write_bytes(new / "study.txt", "\n".join(texts).encode(errors="backslashreplace"))
        write_bytes(new / "machine.json", read_regular(runs[0] / "machine.json"))
        for number, (_, seed, episodes, known) in zip(saved.numbers, saved.entries, strict=True):
            episodes.save(new / FOLDER / f"setting{number}-seed{seed}.npz", known)
        for run in runs:
            _copy_models(run, new, several=len(outline.targets) > 1)
        write_result(new, outline, outcomes)
    return made.where


def _copy_models(run: Path, new: Path, *, several: bool) -> None:
    """What a run trained. Of `several` targets or backbones, each file says which it is of; no file replaces another."""
    one, _ = load_run(run)
    prefix = f"{slug(one.targets[0])}-{slug(one.backbones[0])}-" if several and len(one.targets) == 1 else ""
    for part in ("weights", "curves"):
        if not (run / part).is_dir():
            continue
        (new / part).mkdir(exist_ok=True)
        for file in sorted((run / part).iterdir()):
            name = f"{prefix}{file.name}"
            tries = (new / part / numbered(name, number) for number in range(1, len(list((new / part).iterdir())) + 2))
            place = next(path for path in tries if not path.exists() or path.read_bytes() == file.read_bytes())
            shutil.copyfile(file, place)
