"""Other labelled data with two texts in each row."""

from __future__ import annotations

from pathlib import Path

import pytest

from fewtune.cli.source_flags import SourceFlags
from fewtune.data.reading.two_texts import fields_named
from fewtune.errors import InputError


def test_sources_have_the_two_columns_of_the_target(tmp_path: Path) -> None:
    rows = "".join(f"it rains {i},it is {'wet' if i % 2 else 'dry'},{i % 2}\n" for i in range(8))
    (tmp_path / "pairs.csv").write_text("premise,hypothesis,label\n" + rows)
    (tmp_path / "single.csv").write_text("text,label\n" + "".join(f"it rains {i},{i % 2}\n" for i in range(8)))
    flags = SourceFlags(source=[tmp_path / "pairs.csv"])
    (pairs,) = flags.read(("premise", "hypothesis"))
    assert fields_named(pairs) == ("premise", "hypothesis") and len(pairs) == 8
    (single,) = SourceFlags(source=[tmp_path / "single.csv"]).read()
    assert fields_named(single) != ("premise", "hypothesis")
    with pytest.raises(InputError, match="unknown input column 'premise'"):
        SourceFlags(source=[tmp_path / "single.csv"]).read(("premise", "hypothesis"))
