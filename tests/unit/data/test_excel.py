"""Excel sheets: the same columns as the same data in a CSV file, and nothing that harms."""

from __future__ import annotations

import csv
import datetime
import io
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import openpyxl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fewtune.data.excel import excel_bytes, read_excel
from fewtune.data.reading.inputs import read_inputs
from fewtune.data.reading.read import read_examples
from fewtune.errors import InputError

PLACE = st.integers(0, 10**6)  # taken modulo the length, which changes with the time of day in a workbook
NAMES = {"s": "http://schemas.openxmlformats.org/spreadsheetml/2006/main"}


def workbook(path: Path, *rows: list[Any], title: str = "Sheet1") -> Path:
    book = openpyxl.Workbook()
    book.active.title = title
    for row in rows:
        book.active.append(row)
    book.save(path)
    return path


def changed(path: Path, part: str, content: bytes) -> Path:
    """The workbook with another content of one of its parts."""
    with zipfile.ZipFile(path) as archive:
        kept = {name: archive.read(name) for name in archive.namelist()}
    kept[part] = content
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, each in kept.items():
            archive.writestr(name, each)
    return path


def sheet_of(cells: str) -> bytes:
    return f'<worksheet xmlns="{NAMES["s"]}"><dimension ref="A1"/><sheetData>{cells}</sheetData></worksheet>'.encode()


def columns(path: Path) -> dict[str, list[str]]:
    table = read_excel(path)
    return {name: list(table.columns[name]) for name in table.columns}


def test_values_are_the_texts_that_a_csv_file_would_hold(tmp_path: Path) -> None:
    day, moment = datetime.date(2026, 11, 29), datetime.datetime(2026, 11, 29, 14, 30, 5)
    path = workbook(
        tmp_path / "a.xlsx",
        ["text", "label", "n", "when"],
        ["one", "007", 3, day],
        [],
        ["two", True, 0.1 + 0.2, moment],
        ["three", False, 2.0, datetime.time(9, 5)],
        ["x", "y", -1e20, None],
    )
    found = columns(path)
    assert found["n"] == ["3", "0.3", "2", "-1e+20"] and found["label"] == ["007", "TRUE", "FALSE", "y"]
    assert found["when"] == ["2026-11-29", "2026-11-29 14:30:05", "09:05:00", ""]


def test_a_sheet_reads_as_its_csv_file(tmp_path: Path) -> None:
    rows = [["text", "label", "split"], ["a, b", "x", "train"], ["c\nd", "y", "test"], ["é", "", "test"]]
    with (tmp_path / "a.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    one, two = read_examples(tmp_path / "a.csv"), read_examples(workbook(tmp_path / "a.xlsx", *[[c or None for c in r] for r in rows]))
    assert [one.items.fetch(i) for i in range(3)] == [two.items.fetch(i) for i in range(3)] == ["a, b", "c\nd", "é"]
    assert one.labels.tolist() == two.labels.tolist() == [0, 1, -1] and one.row_split.tolist() == two.row_split.tolist()
    assert two.row_names == ["a.xlsx:2", "a.xlsx:3", "a.xlsx:4"]
    assert read_inputs([tmp_path / "a.xlsx"], [], "text").row_names[2].endswith("a.xlsx:4")


def test_the_header_is_the_first_row_with_something_in_it_and_wrong_dimensions_cut_nothing(tmp_path: Path) -> None:
    path = workbook(tmp_path / "a.xlsx", [], [None, "label"], ["a", "x", "note"], [None, "y"])
    inline = '<c r="{}" t="inlineStr"><is><t>{}</t></is></c>'
    assert columns(path) == {"column 1": ["a", ""], "label": ["x", "y"], "column 3": ["note", ""]}
    cells = f'<row r="7">{inline.format("A7", "text")}{inline.format("C7", "label")}</row><row r="9">{inline.format("C9", "x")}</row>'
    assert columns(changed(path, "xl/worksheets/sheet1.xml", sheet_of(cells))) == {"text": [""], "column 2": [""], "label": ["x"]}
    assert read_excel(path).where(0) == "a.xlsx:9"


def test_the_first_sheet_that_is_shown_is_read_and_the_others_are_named(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    book.active.title, book.active.sheet_state = "hidden", "hidden"
    for title in ("first", "second"):
        book.create_sheet(title).append(["text", title])
        book[title].append(["a", "b"])
    book.save(tmp_path / "a.xlsx")
    table = read_excel(tmp_path / "a.xlsx")
    assert list(table.columns) == ["text", "first"]
    assert table.remarks == ("a.xlsx: the first sheet, first, was read; not read: second.",)


def test_errors_of_cells_are_empty_and_said(tmp_path: Path) -> None:
    path = workbook(tmp_path / "a.xlsx", ["text", "label"], ["a", "x"], ["b", "#N/A"], ["#DIV/0!", "y"])
    assert columns(path) == {"text": ["a", "b", ""], "label": ["x", "", "y"]}
    assert read_excel(path).remarks == ("a.xlsx: 2 cells with an error such as #N/A (row 3) counted as empty.",)
    assert read_excel(workbook(tmp_path / "b.xlsx", ["text", "label"], ["a", "x"])).remarks == ()


def test_the_value_of_a_formula_is_read_and_one_never_calculated_is_refused(tmp_path: Path) -> None:
    path = workbook(tmp_path / "a.xlsx", ["text", "label"], ["a", "x"], ["b", "=A2"])
    with pytest.raises(InputError, match=r"a\.xlsx, cell B3: the formula '=A2' was never calculated: open the file in a spreadsheet"):
        read_excel(path)
    cells = '<row r="1"><c r="A1" t="str"><v>text</v></c><c r="B1" t="str"><v>n</v></c></row>'
    cells += '<row r="2"><c r="A2" t="str"><f>1&amp;2</f><v>12</v></c><c r="B2"><f>1+1</f><v>2</v></c></row>'
    assert columns(changed(path, "xl/worksheets/sheet1.xml", sheet_of(cells))) == {"text": ["12"], "n": ["2"]}
    cells += '<row r="3"><c r="A3" t="str"><f>IF(1,"","x")</f><v></v></c><c r="B3"><v>3</v></c></row>'  # an empty text is a value
    assert columns(changed(path, "xl/worksheets/sheet1.xml", sheet_of(cells))) == {"text": ["12", ""], "n": ["2", "3"]}
    cells += '<row r="4"><c r="A4" t="str"><v>b</v></c><c r="C4"><f>1+1</f></c></row>'  # beyond the last column with a value
    with pytest.raises(InputError, match="cell C4"):
        read_excel(changed(path, "xl/worksheets/sheet1.xml", sheet_of(cells)))


def test_a_column_named_twice_and_an_empty_sheet_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has 2 columns named 'label': rename one"):
        read_excel(workbook(tmp_path / "a.xlsx", ["label", "label"], ["a", "x"]))
    with pytest.raises(InputError, match="is empty: expected a first row with column names"):
        read_excel(workbook(tmp_path / "b.xlsx"))


def test_what_is_no_workbook_is_refused_in_one_sentence(tmp_path: Path) -> None:
    cases = {
        b"text,label\na,x\n": "is not an Excel workbook: save it as .xlsx, or rename it if it is text",
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600): "has a password or is an old Excel file: save it as .xlsx without a password",
        b"PK\x03\x04" + bytes(30): "cannot be read as an Excel workbook",
    }
    for content, said in cases.items():
        (tmp_path / "a.xlsx").write_bytes(content)
        with pytest.raises(InputError, match=said) as caught:
            read_excel(tmp_path / "a.xlsx")
        assert "\n" not in str(caught.value)
    (tmp_path / "a.xls").write_bytes(b"")
    for reading in (read_examples, lambda path: read_inputs([path], [], "text")):
        with pytest.raises(InputError, match=r"sheets of the kind \.xls are not read: save it as \.xlsx or as CSV"):
            reading(tmp_path / "a.xls")


def test_a_small_file_does_not_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = workbook(tmp_path / "a.xlsx", ["text", "label"], ["a", "x"])
    monkeypatch.setenv("FEWTUNE_MAX_BYTES", "30e6")
    with pytest.raises(InputError, match="more than the limit"):  # a part of 40 MB of spaces in 40 kB
        read_excel(changed(path, "xl/worksheets/sheet1.xml", sheet_of(" " * 40_000_000)))
    wide = "".join(f'<row r="{n}"><c r="XFD{n}"><v>1</v></c></row>' for n in range(1, 1001))  # 16,384 cells a row, of which one is there
    with pytest.raises(InputError, match="more than the limit"):
        read_excel(changed(path, "xl/worksheets/sheet1.xml", sheet_of(wide)))
    far = '<row r="1"><c r="A1" t="str"><v>text</v></c></row><row r="1048576"><c r="A1048576" t="str"><v>last</v></c></row>'
    assert columns(changed(path, "xl/worksheets/sheet1.xml", sheet_of(far))) == {"text": ["last"]}


def test_entities_are_not_unfolded_and_no_file_is_read_through_them(tmp_path: Path) -> None:
    path = workbook(tmp_path / "a.xlsx", ["text", "label"], ["a", "x"])
    lol = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    bomb = f'<!DOCTYPE x [<!ENTITY l0 "lollollol">{lol}]>'.encode() + sheet_of('<row r="1"><c r="A1" t="str"><v>&l9;</v></c></row>')
    with pytest.raises(InputError, match="cannot be read as an Excel workbook"):
        read_excel(changed(path, "xl/worksheets/sheet1.xml", bomb))
    (tmp_path / "secret").write_text("secret words")
    outside = f'<!DOCTYPE x [<!ENTITY e SYSTEM "file://{tmp_path}/secret">]>'.encode()
    with pytest.raises(InputError, match="cannot be read as an Excel workbook"):
        read_excel(changed(path, "xl/worksheets/sheet1.xml", outside + sheet_of('<row r="1"><c r="A1" t="str"><v>&e;</v></c></row>')))


def test_thousands_of_parts_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.xlsx", "w") as archive:
        for number in range(10_001):
            archive.writestr(f"{number}", "")
    with pytest.raises(InputError, match="10,001 parts"):
        read_excel(tmp_path / "a.xlsx")


@settings(derandomize=True, deadline=None, max_examples=150)
@given(st.data())
def test_damaged_workbooks_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = workbook(tmp_path_factory.mktemp("fuzz") / "a.xlsx", ["text", "label"], ["a", "x"], ["b", 3.5])
    with zipfile.ZipFile(path) as archive:
        part = data.draw(st.sampled_from(sorted(archive.namelist())))
        content = bytearray(archive.read(part))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(PLACE) % len(content)] = data.draw(st.integers(0, 255))
    changed(path, part, bytes(content))
    whole = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        whole[data.draw(PLACE) % len(whole)] = data.draw(st.integers(0, 255))
    path.write_bytes(whole)
    try:
        table = read_excel(path)
        assert all(len(table.columns[name]) == table.count for name in table.columns)
    except InputError as problem:
        assert str(problem).count("\n") == 0


def test_what_is_written_is_read_back_and_no_text_becomes_a_formula(tmp_path: Path) -> None:
    rows = [["=1+1", 3, 0.5, True, None], ["@x\x07\ud800", np.int64(4), float("nan"), np.bool_(False), "l\nm"], ["#N/A?", 1, 2, 3, "007"]]
    (tmp_path / "a.xlsx").write_bytes(excel_bytes(["text", "n", "p", "yes", "more"], rows))
    assert columns(tmp_path / "a.xlsx") == {
        "text": ["=1+1", "@x\ufffd\ufffd", "#N/A?"],
        "n": ["3", "4", "1"],
        "p": ["0.5", "", "2"],
        "yes": ["TRUE", "FALSE", "3"],
        "more": ["", "l\nm", "007"],
    }
    sheet = openpyxl.load_workbook(io.BytesIO(excel_bytes(["a"], [["=1+1"]]))).active
    assert sheet["A2"].data_type == "s" and sheet["A2"].value == "=1+1"


def test_more_than_a_sheet_holds_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="longer than a cell of Excel can be"):
        excel_bytes(["a"], [["x" * 32_768]])
    assert excel_bytes(["a"], [["x" * 32_767]])
    with pytest.raises(InputError, match="16,385 columns"):
        excel_bytes(["a"] * 16_385, [])
    monkeypatch.setattr("fewtune.data.excel.MOST_ROWS", 3)
    assert excel_bytes(["a"], [["x"], ["y"]])
    with pytest.raises(InputError, match="3 rows, and a sheet holds at most 2"):
        excel_bytes(["a"], [["x"], ["y"], ["z"]])


def test_without_openpyxl_the_line_to_type_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = workbook(tmp_path / "a.xlsx", ["text", "label"], ["a", "x"])
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(InputError, match=r"a\.xlsx: Excel files need openpyxl: pip install 'fewtune\[excel\]'"):
        read_examples(path)
    with pytest.raises(InputError, match=r"pip install 'fewtune\[excel\]'"):
        excel_bytes(["a"], [])
