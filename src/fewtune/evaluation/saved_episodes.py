"""Saved episodes: read back on the same data in any order. Rows are found by their content, classes by their names."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias, final

import numpy as np
import torch
from torch import Tensor

from fewtune.data.row_space import RowSpace
from fewtune.errors import InputError
from fewtune.evaluation.protocol import Protocol
from fewtune.evaluation.study import Bench, Drawn
from fewtune.files import read_regular
from fewtune.spec import parse, text
from fewtune.tasks.episodes import Episodes, load_episodes
from fewtune.tasks.samplers import EPISODIC
from fewtune.words import counted, one_line

Entry: TypeAlias = tuple[Protocol, int, Episodes, dict[str, np.ndarray[Any, Any]]]  # protocol, seed, episodes, what is known of their rows
FOLDER = "episodes"
_NAME = re.compile(r"setting(\d+)-seed(-?\d+)\.npz")
_PARTS = ("rows", "row_names", "row_digests", "labels", "label_names", "groups", "group_names", "task_names", "protocol", "target")


def save_drawn(folder: Path, bench: Bench) -> None:
    """Write the episodes of every setting and seed, with the names and content digests of their rows."""
    for number, study in enumerate(bench.studies):
        space = study.target
        digests = [digest for source in space.sources for digest in source.row_digests]
        for (protocol, seed), episodes in study.draw().items():
            used = np.unique(np.concatenate([t.numpy().reshape(-1) for t in (episodes.support, episodes.query)]))
            used = used[used >= 0]
            more = {
                "rows": used,
                "row_names": np.array([space.row_name(row) for row in used.tolist()], dtype=np.str_),
                "row_digests": np.frombuffer(b"".join(digests[row] for row in used.tolist()), dtype=np.uint8).reshape(len(used), -1),
                "labels": space.labels[used],
                "label_names": np.array(space.class_names, dtype=np.str_),
                "groups": space.groups[used],
                "group_names": np.array(space.group_names, dtype=np.str_),
                "task_names": study.task_names(protocol).astype(np.str_),
                "protocol": np.array(text(study.protocols[protocol])),
                "target": np.array(bench.targets[number]),
            }
            episodes.save(folder / FOLDER / f"setting{bench.setting(number, protocol)}-seed{seed}.npz", more)


@final
@dataclass(frozen=True, eq=False)
class SavedEpisodes:
    """Episodes as they were saved: those of each protocol and seed, and what is known of their rows."""

    entries: tuple[Entry, ...]

    numbers: tuple[int, ...]  # of the setting of each

    @property
    def protocols(self) -> tuple[Protocol, ...]:
        return tuple(dict.fromkeys(replace(protocol, seeds=(0,)) for protocol, _, _, _ in self.entries))

    def of_target(self, name: str) -> SavedEpisodes:
        """The episodes of one target, where there were several when they were saved; else all."""
        names = {str(known["target"]) for _, _, _, known in self.entries}
        if len(names) == 1:
            return self
        mine = [place for place, entry in enumerate(self.entries) if str(entry[3]["target"]) == name]
        if not mine:
            raise InputError(
                f"the saved episodes are of {', '.join(map(one_line, sorted(names)))}, and none of them are of {one_line(name)}."
            )
        return SavedEpisodes(tuple(self.entries[i] for i in mine), tuple(self.numbers[i] for i in mine))

    def on(self, space: RowSpace) -> Drawn:
        """The episodes on these data, by (protocol number, seed).

        Raises InputError where a row, a class or a group is missing, or where a row has another label.
        """
        places = _places(space)
        found: Drawn = {}
        for protocol, seed, episodes, known in self.entries:
            place = (self.protocols.index(replace(protocol, seeds=(0,))), seed)
            moved = _moved(episodes, known, space, protocol, places)
            if found.setdefault(place, moved).digest() != moved.digest():
                raise InputError(
                    f"the saved episodes hold two sets for {protocol.ways}-way {protocol.shots}-shot, seed {seed} (each backbone had its "
                    "own): give one file of them."
                )
        return found


def read_saved(path: Path) -> SavedEpisodes:
    """The episodes of a file, or of all files in the folder of a run. Raises InputError where there are none."""
    files = [path]
    if path.is_dir():
        inside = path / FOLDER if (path / FOLDER).is_dir() else path
        files = sorted((file for file in inside.iterdir() if _NAME.fullmatch(file.name)), key=_order)
    if not files:
        raise InputError(f"{path} holds no saved episodes: give the folder that compare --out wrote, or one file of its episodes.")
    return SavedEpisodes(tuple(map(_entry, files)), tuple(_order(file)[0] for file in files))


def _order(file: Path) -> tuple[int, ...]:
    found = _NAME.fullmatch(file.name)
    return tuple(map(int, found.groups())) if found else (0, 0)


def _entry(path: Path) -> Entry:
    episodes = load_episodes(path)
    with np.load(io.BytesIO(read_regular(path)), allow_pickle=False) as stored:
        if missing := [name for name in _PARTS if name not in stored]:
            raise InputError(f"{path} says nothing of its rows' content ({missing[0]} is missing): save the episodes again.")
        known = {name: stored[name] for name in _PARTS}
    protocol = parse(str(known["protocol"]), {"Protocol": Protocol, **{sampler.__name__: sampler for sampler in EPISODIC}})
    found = _NAME.fullmatch(path.name)
    return protocol, int(found[2]) if found else 0, episodes, known


def _places(space: RowSpace) -> dict[bytes, list[int]]:
    """The rows of each content digest, in order."""
    found: dict[bytes, list[int]] = {}
    for row, digest in enumerate(digest for source in space.sources for digest in source.row_digests):
        found.setdefault(digest, []).append(row)
    return found


def _moved(
    episodes: Episodes, known: dict[str, np.ndarray[Any, Any]], space: RowSpace, protocol: Protocol, places: dict[bytes, list[int]]
) -> Episodes:
    """Episodes whose rows, classes and tasks are those of the space."""
    names = {name: number for number, name in enumerate(space.class_names)}
    tasks = {name: number for number, name in enumerate(protocol.tasks(space).names)}
    class_to = _numbers(known["label_names"], names)
    rows = _rows(known, class_to[known["labels"]], space, places)
    task_to = _numbers(known["task_names"], tasks)
    if len(task_to) == len(tasks) == 1:
        task_to = np.zeros(1, dtype=np.int64)  # the only collection, whatever it is called
    wrong = np.flatnonzero(class_to[known["labels"]] != space.labels[rows])
    if len(wrong):
        row, name = int(rows[wrong[0]]), one_line(str(known["label_names"][known["labels"][wrong[0]]]))
        raise InputError(f"row {one_line(space.row_name(row))} is of class {name} in the saved episodes and of another class in the data.")
    moved = replace(
        episodes,
        support=_take(known["rows"], rows, episodes.support),
        query=_take(known["rows"], rows, episodes.query),
        classes=torch.where(episodes.classes < 0, -1, torch.from_numpy(class_to)[episodes.classes.clamp_min(0)]),
        task=torch.from_numpy(task_to)[episodes.task],
    )
    if bool((moved.classes[episodes.classes >= 0] < 0).any()) or bool((moved.task < 0).any()):
        raise InputError("a class or a group of the saved episodes has another name in the data: give the data they were drawn from.")
    return moved


def _rows(
    known: dict[str, np.ndarray[Any, Any]], labels: np.ndarray[Any, Any], space: RowSpace, places: dict[bytes, list[int]]
) -> np.ndarray[Any, Any]:
    """The row of the space for each saved row: of the same content; where several are, of the same label, and then of the same name.

    `labels`: of the saved rows, as the space numbers them.
    """
    taken: set[int] = set()
    found, absent = [], []
    for digest, name, label in zip(known["row_digests"], known["row_names"].tolist(), labels.tolist(), strict=True):
        free = [row for row in places.get(digest.tobytes(), ()) if row not in taken]
        if not free:
            absent.append(name)
            continue
        alike = [row for row in free if space.labels[row] == label] or free
        found.append(next((row for row in alike if len(alike) > 1 and space.row_name(row) == name), alike[0]))
        taken.add(found[-1])
    if absent:
        raise InputError(
            f"{counted(len(absent), 'row')} of {len(known['rows']):,} in the saved episodes are missing here, first {one_line(absent[0])}: "
            "give the data that the episodes were drawn from, in any order."
        )
    return np.array(found, dtype=np.int64)


def _numbers(names: Sequence[Any] | np.ndarray[Any, Any], known: dict[str, int]) -> np.ndarray[Any, Any]:
    return np.array([known.get(str(name), -1) for name in names], dtype=np.int64)


def _take(old: np.ndarray[Any, Any], new: np.ndarray[Any, Any], wanted: Tensor) -> Tensor:
    place = np.searchsorted(old, wanted.numpy().clip(min=0))
    return torch.where(wanted < 0, wanted, torch.from_numpy(new[np.minimum(place, len(new) - 1)]))
