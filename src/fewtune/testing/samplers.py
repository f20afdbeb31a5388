"""The laws of samplers."""

from __future__ import annotations

import numpy as np
import torch

from fewtune.data.examples import make_examples
from fewtune.data.items import Vectors
from fewtune.data.row_space import RowSpace
from fewtune.keys import key
from fewtune.tasks.episodes import Episodes, join
from fewtune.tasks.sampler import Sampler
from fewtune.tasks.task import Tasks, class_rows
from fewtune.testing.law import is_its_text, law

NAMES = ("support", "support_label", "query", "query_label", "classes", "task")


def check_sampler(sampler: Sampler, tasks: Tasks | None = None, *, overlaps: bool = False, random: bool = True) -> None:
    """Run the laws of the axis on a sampler of classes.

    It is a value that its text spells; an episode is a function of the key and its number alone, so batches do not matter; another key
    gives other episodes (unless `random` is False); no row is drawn twice in an episode (unless `overlaps`); labels are places among the
    episode's distinct classes. `tasks`: what it draws from, by default one task of 12 classes with 21 to 90 rows each. Raises
    AssertionError with a sentence that names the law.
    """
    law(isinstance(sampler, Sampler), sampler, "it must have `draw`, as fewtune.tasks.sampler.Sampler names it")
    is_its_text(sampler)
    drawn_from = class_rows(space()) if tasks is None else tasks
    whole = sampler.draw(drawn_from, key(3), 0, 12)
    law(len(whole) == 12, sampler, f"`draw` must give as many episodes as are asked for, 12, found {len(whole)}")
    singles = join([sampler.draw(drawn_from, key(3), i, 1) for i in range(12)])
    law(same(whole, singles), sampler, "an episode must be a function of the key and its number alone, whatever batch it is drawn in")
    if random:
        law(not same(whole, sampler.draw(drawn_from, key(4), 0, 12)), sampler, "another key must give other episodes")
    for e in range(len(whole)):
        _one(sampler, whole, e, overlaps)


def _one(sampler: Sampler, episodes: Episodes, e: int, overlaps: bool) -> None:
    classes = episodes.classes[e][episodes.classes[e] >= 0]
    law(len(set(classes.tolist())) == len(classes), sampler, f"the classes of an episode must be distinct, found {classes.tolist()}")
    rows = torch.cat([episodes.support[e], episodes.query[e]])
    rows = rows[rows >= 0]
    law(overlaps or len(set(rows.tolist())) == len(rows), sampler, "support and query must share no row, and hold none twice")
    for side, labels in (("support", episodes.support_label[e]), ("query", episodes.query_label[e])):
        inside = getattr(episodes, side)[e] >= 0
        law(torch.equal(inside, labels >= 0), sampler, f"a {side} row must have a label, and padding -1 in both")
        law(bool((labels < len(classes)).all()), sampler, f"labels of the {side} must be places among the episode's classes, 0..K-1")


def space() -> RowSpace:
    """Rows of 12 classes of several sizes."""
    sizes = [40, 23, 31, 60, 25, 90, 44, 38, 29, 55, 21, 33]
    labels = np.repeat(np.arange(len(sizes)), sizes)
    return RowSpace([make_examples(Vectors(np.zeros((len(labels), 2), np.float32)), labels)])


def same(a: Episodes, b: Episodes) -> bool:
    """Whether the episodes are the same; one may be padded further than the other."""
    for name in NAMES:
        one, other = getattr(a, name), getattr(b, name)
        width = min(one.shape[-1], other.shape[-1])
        if not torch.equal(one[..., :width], other[..., :width]) or (one[..., width:] != -1).any() or (other[..., width:] != -1).any():
            return False
    return True
