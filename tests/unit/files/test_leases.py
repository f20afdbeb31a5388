"""A job is given to one worker; those of dead workers are taken over, those of living ones are not."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path

import pytest

from fewtune.files.leases import LEASES, TODO, Leases


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / TODO).mkdir()
    (tmp_path / LEASES).mkdir()
    for name in ("a", "b"):
        (tmp_path / TODO / name).touch()
    return tmp_path


def test_one_worker_holds_a_job(folder: Path) -> None:
    one, two = Leases(folder), Leases(folder)
    with one.held("a") as mine, two.held("a") as other, two.held("b") as free:
        assert (mine, other, free) == (True, False, True)
    assert not list((folder / TODO).iterdir()) and not list((folder / LEASES).iterdir())
    with one.held("a") as again:
        assert not again  # it is done


def test_a_job_that_fails_waits_again(folder: Path) -> None:
    with pytest.raises(RuntimeError), Leases(folder).held("a"):
        raise RuntimeError
    with Leases(folder).held("a") as mine:
        assert mine


def test_a_job_that_cannot_be_given_back_is_taken_over(folder: Path) -> None:
    """Without its lease no other worker would ever find it, and all would wait for it."""
    with pytest.raises(RuntimeError), Leases(folder).held("a"):
        shutil.rmtree(folder / TODO)
        raise RuntimeError
    (lease,) = (folder / LEASES).iterdir()
    os.utime(lease, (0, 0))
    with Leases(folder).held("a") as mine:
        assert mine


def test_the_dead_are_replaced_and_the_living_are_not(folder: Path) -> None:
    (folder / TODO / "a").rename(folder / LEASES / "a~gone")
    os.utime(folder / LEASES / "a~gone", (0, 0))
    with Leases(folder, 30).held("a") as mine, Leases(folder, 30).held("a") as other:
        assert mine and not other
    (folder / TODO / "b").rename(folder / LEASES / "b~alive")
    with Leases(folder, 30).held("b") as mine:
        assert not mine


def test_a_heart_beats(folder: Path) -> None:
    """A job that takes longer than a lease stays with its worker."""
    one = Leases(folder, 0.4)
    with one.held("a") as mine:
        assert mine
        for _ in range(4):
            threading.Event().wait(0.25)
            with Leases(folder, 0.4).held("a") as other:
                assert not other


def test_many_threads_do_every_job_once(folder: Path) -> None:
    for number in range(60):
        (folder / TODO / f"job{number}").touch()
    done: list[str] = []

    def work() -> None:
        leases = Leases(folder)
        for number in range(60):
            with leases.held(f"job{number}") as mine:
                if mine:
                    done.append(f"job{number}")

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done) == sorted(f"job{number}" for number in range(60))
