"""What a comparison may be asked for: the right sentence for each setting that makes no sense, and results that are read back."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fewtune.errors import InputError
from fewtune.evaluation.memory import peak_memory
from fewtune.evaluation.protocol import Protocol
from fewtune.evaluation.result import SCHEMA, UNTRAINED, load_result, make_result
from fewtune.evaluation.training_settings import Training
from fewtune.tasks.samplers import Sampled

SAMPLER = Sampled(ways=2, shots=1, queries=1)


def test_episodes_and_seeds_of_a_protocol() -> None:
    with pytest.raises(InputError, match="expected at least 1 episode, found 0"):
        Protocol(sampler=SAMPLER, episodes=0)
    for seeds in ((), (0, 1, 0)):
        with pytest.raises(InputError, match="expected distinct seeds, found"):
            Protocol(sampler=SAMPLER, seeds=seeds)
    assert Protocol(sampler=SAMPLER, episodes=1, seeds=(1, 0)).seeds == (1, 0)


@pytest.mark.parametrize("wrong", [{"visits": -1}, {"adapted": 0}, {"validation": 0}, {"watch": -1}, {"candidates": 0}])
def test_numbers_of_a_training(wrong: dict[str, int]) -> None:
    with pytest.raises(InputError, match=r"expected visits >= 0, adapted >= 1, validation >= 1, watch >= 0 and candidates >= 1"):
        Training(**wrong)  # type: ignore[arg-type]
    (name,) = wrong
    assert getattr(Training(**{name: wrong[name] + 1}), name) == wrong[name] + 1  # type: ignore[arg-type]


def test_seeds_of_a_training() -> None:
    for seeds in ((), (3, 3)):
        with pytest.raises(InputError, match="expected distinct training seeds, found"):
            Training(seeds=seeds)
    with pytest.raises(InputError, match="expected training seeds of 0 or more, found -1"):
        Training(seeds=(0, -1))  # -1 marks what was not trained, which would get a p


def columns(method: str) -> dict[str, list[object]]:
    """Two episodes of a method."""
    same = {
        "study": "s",
        "target": "t",
        "backbone": "b",
        "method": method,
        "spec": method,
        "setting": 0,
        "seed": 0,
        "training": UNTRAINED,
        "task": "t",
    }
    same |= {"ways": "2", "shots": "1", "metric": "accuracy", "seconds": 0.1}
    return {name: [same[name]] * 2 for name in same} | {"episode": [0, 1], "value": [0.25, 0.75], "loss": [1.0, 0.5]}


def test_a_result_is_read_back(tmp_path: Path) -> None:
    result = make_result([columns("ridge"), columns("centroid")])
    result.save(tmp_path / "result.parquet")
    again = load_result(tmp_path / "result.parquet")
    assert again.table.equals(result.table) and again.distinct("method") == ["ridge", "centroid"]
    assert again.where(method="centroid", episode=1).column("value").tolist() == [0.75]


def test_what_is_no_result_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bytes.parquet").write_bytes(b"not a table")
    for path in (tmp_path / "bytes.parquet", tmp_path / "missing.parquet"):
        with pytest.raises(InputError, match="does not hold a result"):
            load_result(path)
    pq.write_table(pa.table({"study": ["s"]}), tmp_path / "other.parquet")
    with pytest.raises(InputError, match=f"is not a fewtune result: expected columns {', '.join(SCHEMA.names)}, found study"):
        load_result(tmp_path / "other.parquet")


def test_the_peak_of_memory_holds_what_was_held() -> None:
    """100 MB that are written to are in the peak, and the peak is no less later; 0 where the system does not tell."""
    with peak_memory("cpu") as peak:
        before = peak()
        held = bytearray(b"\1") * 100_000_000
        during = peak()
    if before == 0:
        pytest.skip("this system does not tell the peak memory of a process")
    assert len(held) == 100_000_000 and during >= before and during >= 100_000_000
