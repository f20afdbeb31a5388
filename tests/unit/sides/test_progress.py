"""What was finished of a comparison: kept in a folder of ours, and nothing else is touched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from fewtune.errors import InputError
from fewtune.learning.checkpoints import Saved
from fewtune.sides.progress import Finished


def test_what_is_kept_is_found_under_the_same_words_alone(tmp_path: Path) -> None:
    finished = Finished(tmp_path / "run.unfinished")
    finished.check()
    finished.keep("a fold", torch.arange(3.0))
    found = Finished(tmp_path / "run.unfinished").find("a fold")
    assert found is not None and found.tolist() == [0, 1, 2]
    assert finished.find("another fold") is None and Finished().find("a fold") is None
    finished.check()
    finished.clear()
    assert not (tmp_path / "run.unfinished").exists()


def test_a_folder_of_somebody_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    theirs = tmp_path / "run.unfinished"
    theirs.mkdir()
    (theirs / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="fewtune did not make it"):
        Finished(theirs).check()
    Finished(theirs).clear()
    assert (theirs / "thesis.txt").read_text() == "mine"


def test_what_somebody_put_beside_the_answers_stays(tmp_path: Path) -> None:
    finished = Finished(tmp_path / "run.unfinished")
    finished.keep("a fold", torch.zeros(1))
    (tmp_path / "run.unfinished" / "notes.txt").write_text("mine")
    finished.clear()
    assert [path.name for path in (tmp_path / "run.unfinished").iterdir()] == ["notes.txt"]


def test_a_number_is_measured_once_if_it_is_worth_keeping(tmp_path: Path) -> None:
    finished, measured = Finished(tmp_path / "run.unfinished"), iter([(0.0,), (3.0, 0.25), (9.0, 9.0), (5.0,), (6.0,)])

    def once(what: str, **worth: Any) -> tuple[float, ...]:
        return finished.once(what, lambda: next(measured), **worth)

    assert once("plan") == (0.0,)  # too little time: there may be more the next time
    assert once("plan") == once("plan") == (3.0, 0.25)
    assert once("another plan", worth=lambda first: first > 9) == (9.0, 9.0)
    assert once("another plan") == (5.0,)
    assert Finished().once("plan", lambda: next(measured)) == (6.0,)


def test_a_training_run_is_kept_and_cleared(tmp_path: Path) -> None:
    finished = Finished(tmp_path / "run.unfinished")
    finished.run("a run").save_end("0", Saved({"w": torch.arange(2.0)}))
    finished.check()
    found = Finished(tmp_path / "run.unfinished").run("a run").end("0")
    assert found is not None and found.tensors["w"].tolist() == [0, 1]
    assert finished.run("another run").end("0") is None and Finished().run("a run").end("0") is None
    finished.clear()
    assert not (tmp_path / "run.unfinished").exists()
