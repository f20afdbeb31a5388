"""Tables: columns found and asked for, missing labels, splits, and every fault with its line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from fewtune.data.examples import Examples
from fewtune.data.reading.asked import Asked
from fewtune.data.reading.read import read_asked, read_examples
from fewtune.data.unreadable import unreadable
from fewtune.errors import InputError


def table(tmp_path: Path, content: str | bytes, name: str = "data.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def texts(examples: Examples) -> list[str]:
    return [str(examples.items.fetch(row)) for row in range(len(examples))]


def test_quotes_line_breaks_and_a_mark_at_the_start(tmp_path: Path) -> None:
    content = '\ufeffText,Label,split,group\r\n"a, ""b""\nc",x,train,g\r\n\r\nd\u2028e,y,Dev,\r\nf,,test,h\r\n'
    made = read_examples(table(tmp_path, content))
    assert texts(made) == ['a, "b"\nc', "d\u2028e", "f"]
    assert made.name == "data" and made.target == "Label" and made.class_names == ("x", "y")
    assert made.labels.tolist() == [0, 1, -1] and made.row_split.tolist() == [0, 1, 2]
    assert made.group_names == ("g", "h") and made.group.tolist() == [0, -1, 1]
    assert made.row_names == ["data.csv:2", "data.csv:5", "data.csv:6"]  # the line that a person finds in an editor


@pytest.mark.parametrize(("name", "content"), [("a.tsv", "text\tlabel\na, b\tx\nc\ty\n"), ("a.csv", "text;label\na, b;x\nc;y\n")])
def test_other_separators(tmp_path: Path, name: str, content: str) -> None:
    assert texts(read_examples(table(tmp_path, content, name))) == ["a, b", "c"]


@pytest.mark.parametrize("missing", ["", " "])
def test_missing_labels(tmp_path: Path, missing: str) -> None:
    made = read_examples(table(tmp_path, f"text,label\na,x\nb,{missing}\nc,y\nd,none\n"))
    assert made.class_names == ("none", "x", "y") and made.labels.tolist() == [1, -1, 2, 0]


def test_numbers_as_classes_are_in_numeric_order(tmp_path: Path) -> None:
    made = read_examples(table(tmp_path, "text,y\na,10\nb,9\nc,-1\n"))
    assert made.class_names == ("-1", "9", "10")  # in a text file -1 is a name like any other


def test_images_beside_their_table(tmp_path: Path) -> None:
    (tmp_path / "pics").mkdir()
    for name in ("a", "b"):
        Image.new("RGB", (4, 3), (200, 0, 0)).save(tmp_path / "pics" / f"{name}.PNG")
    made = read_examples(table(tmp_path, "filename,category,caption\npics/a.PNG,x,first\npics/b.PNG,y,\n"))
    assert made.modality == "image" and made.row_names == ["pics/a.PNG", "pics/b.PNG"] and made.caption == ["first", ""]
    assert np.asarray(made.items.fetch(1))[0, 0].tolist() == [200, 0, 0]
    lost = table(tmp_path, "path,label\n,x\n" + "".join(f"pics/{i}.png,y\n" for i in range(5)))
    with pytest.raises(InputError, match=r"none of the files in column 'path' is in .*: pics/0.png \(data.csv:3\), .* and 2 more\.$"):
        read_examples(lost)
    some = read_examples(table(tmp_path, "path,label\npics/a.PNG,x\n,x\npics/lost.png,y\n"))
    assert some.row_names == ["pics/a.PNG", "data.csv:3", "pics/lost.png"]
    for deep in (False, True):
        assert unreadable(some, deep=deep) == {1: "no file is named", 2: "No such file or directory"}


def test_columns_asked_for_and_extra_labels(tmp_path: Path) -> None:
    path = table(tmp_path, "title,body,topic,mood,where\na,aa,p,u,h\nb,bb,q,v,k\n")
    made = read_examples(path, input="body", label="topic,mood", group="where")
    assert texts(made) == ["aa", "bb"] and made.target == "topic" and made.with_target("mood").class_names == ("u", "v")
    assert made.group_names == ("h", "k")
    with pytest.raises(InputError, match="unknown input column 'boddy': did you mean body"):
        read_examples(path, input="boddy", label="topic")
    with pytest.raises(InputError, match="unknown label column 'moood': did you mean mood"):
        read_examples(path, input="body", label="topic,moood")
    with pytest.raises(InputError, match="has the columns title, body, topic, mood, where: none has a usual name for a path, a text or"):
        read_examples(path, label="topic")
    with pytest.raises(InputError, match=r"none has a usual name for a label; name one with --label NAME"):
        read_examples(path, input="body")
    assert read_asked(path, Asked(input="body", labelled=False)).labels.tolist() == [-1, -1]


def test_an_unclear_choice_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"the input could be file or sentence; say which with --input NAME"):
        read_examples(table(tmp_path, "file,sentence,label\na.jpg,b,x\n"))
    with pytest.raises(InputError, match=r"the label could be category or intent; say which with --label NAME"):
        read_examples(table(tmp_path, "text,category,intent\na,b,x\n"))
    assert read_examples(table(tmp_path, "text,category,label\na,b,x\nc,d,y\n")).target == "label"  # plainly the one


def test_a_split_column_can_be_set_aside(tmp_path: Path) -> None:
    path = table(tmp_path, "text,label,split\na,x,fold1\nb,y,fold2\n")
    with pytest.raises(InputError, match="split 'fold1' of row 0 is unknown: expected train, validation or test"):
        read_examples(path)
    assert read_examples(path, split="").row_split.tolist() == [-1, -1]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("text,label\na,x\nb,c,y\n", r"data.csv, line 3: expected 2 fields as in the header, found 3 \(put quotes"),
        ('text,label\n"a\nb",x\nc\n', r"line 4: expected 2 fields as in the header, found 1"),
        ('text,label\na,x\n"b, c,y\nc,z\n', r"line 3: unexpected end of data"),
        ("text,text,label\na,b,x\n", r"has 2 columns named 'text': rename one"),
        ("", r"is empty: expected a header line"),
        ("text,label\n", r"holds a header but no rows"),
        ("text,label\na,\nb, \n", r"column 'label' holds no labels"),
        ("text,label\na,x\nb,x\n", r"expected at least two classes, found one, 'x'"),
        ("text,label\n,x\n ,y\n", r"column 'text' is empty in all 2 rows: name another with --input NAME"),
        (b"text,label\na,x\nb\xff,y\n", r"line 3: it holds a byte that is not UTF-8"),
        ("text,label\na,x".encode("utf-16"), r"is UTF-16 text: save it as UTF-8"),
    ],
)
def test_faults_in_csv(tmp_path: Path, content: str | bytes, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence) as caught:
        read_examples(table(tmp_path, content))
    assert "\n" not in str(caught.value)


def test_json_lines(tmp_path: Path) -> None:
    path = table(tmp_path, '{"text": "a", "label": "x"}\n\n{"text": "b", "label": null}\n{"label": 3, "text": "c"}\n', "d.jsonl")
    made = read_examples(path)
    assert made.class_names == ("3", "x") and made.labels.tolist() == [1, -1, 0] and made.row_names[2] == "d.jsonl:4"
    for content, sentence in (
        ('{"text": "a"}\n{"text"', r"d.jsonl, line 2: not a JSON object"),
        ('{"text": "a"}\n[1]', r"line 2: expected a JSON object such as .* found '\[1\]'"),
        ("", "is empty"),
        ("[" * 100_000, "line 1: not a JSON object"),
    ):
        with pytest.raises(InputError, match=sentence):
            read_examples(table(tmp_path, content, "d.jsonl"))
    listed = table(tmp_path, json.dumps([{"text": "a", "label": "x"}, {"text": "b", "label": "y"}]), "e.json")
    assert texts(read_examples(listed)) == ["a", "b"]
    with pytest.raises(InputError, match="expected a list of objects"):
        read_examples(table(tmp_path, "{}", "e.json"))


def test_class_splits_beside_json_lines(tmp_path: Path) -> None:
    path = table(tmp_path, '{"text": "a", "label": "x"}\n{"text": "b", "label": "y"}\n', "d.jsonl")
    classes = [{"name": "y", "split": "test"}, {"name": "x", "split": "train"}, {"name": "z", "split": "any"}]
    table(tmp_path, json.dumps({"classes": classes}), "d.json")
    made = read_examples(path)
    assert made.class_names == ("y", "x", "z") and made.class_split.tolist() == [2, 0, -1] and made.labels.tolist() == [1, 0]
    table(tmp_path, '{"something": "else"}', "d.json")
    assert read_examples(path).class_names == ("x", "y")


def test_parquet_with_embeddings(tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).random((3, 4)).astype(np.float32)
    for kind in (pa.list_(pa.float32()), pa.list_(pa.float32(), 4), pa.large_list(pa.float64())):
        column = pa.array(vectors.tolist(), type=kind)
        pq.write_table(pa.table({"embedding": column, "label": ["a", "b", None]}), tmp_path / "e.parquet")
        made = read_examples(tmp_path / "e.parquet")
        assert made.modality == "vector" and made.labels.tolist() == [0, 1, -1]
        assert np.array_equal(np.stack([np.asarray(made.items.fetch(i)) for i in range(3)]), vectors)
    ragged = pa.table({"embedding": [[1.0, 2.0], [3.0]], "label": ["a", "b"]})
    pq.write_table(ragged, tmp_path / "e.parquet")
    with pytest.raises(InputError, match=r"the embedding of e.parquet:1 has 1 numbers: expected 2"):
        read_examples(tmp_path / "e.parquet")
    pq.write_table(pa.table({"embedding": [[1.0, float("nan")], [3.0, 4.0]], "label": ["a", "b"]}), tmp_path / "e.parquet")
    with pytest.raises(InputError, match=r"column embedding: row 0 holds NaN or infinite values"):
        read_examples(tmp_path / "e.parquet")
    (tmp_path / "e.parquet").write_bytes(b"PAR1 nonsense")
    with pytest.raises(InputError, match="cannot be read as Parquet"):
        read_examples(tmp_path / "e.parquet")


def test_parquet_with_images_inside(tmp_path: Path) -> None:
    Image.new("RGB", (4, 3), (0, 9, 0)).save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    pq.write_table(pa.table({"image": [{"bytes": content, "path": None}] * 2, "label": [0, 1]}), tmp_path / "i.parquet")
    made = read_examples(tmp_path / "i.parquet")
    assert made.modality == "image" and np.asarray(made.items.fetch(1))[0, 0].tolist() == [0, 9, 0]
    assert made.items.digest(0) == made.items.digest(1)


def test_embeddings_in_csv(tmp_path: Path) -> None:
    made = read_examples(table(tmp_path, 'embedding,label\n"[1, 2.5]",a\n"[3, 4]",b\n'))
    assert made.modality == "vector" and np.asarray(made.items.fetch(0)).tolist() == [1, 2.5]
    with pytest.raises(InputError, match=r"the embedding of data\.csv:3 is not a list of numbers"):
        read_examples(table(tmp_path, 'embedding,label\n"[1, 2.5]",a\n"[3, x]",b\n'))


def test_float_and_multi_hot_targets(tmp_path: Path) -> None:
    path = table(tmp_path, "text,label\na,1.5\nb,\nc,-2\n")
    made = read_examples(path, kind="float")
    assert made.column.kind == "float" and made.column.values[[0, 2], 0].tolist() == [1.5, -2] and np.isnan(made.column.values[1, 0])
    assert made.class_names == () and len(made.class_split) == 0
    with pytest.raises(InputError, match="label 'x' of row 1 is not a number"):
        read_examples(table(tmp_path, "text,label\na,1\nb,x\n"), kind="float")
    multi = read_examples(table(tmp_path, "text,label\na,u|v\nb,\nc,v\n"), kind="multi")
    assert multi.class_names == ("u", "v") and multi.column.values.tolist() == [[1, 1], [-1, -1], [0, 1]]
    lists = read_examples(table(tmp_path, '{"text": "a", "label": ["u"]}\n{"text": "b", "label": []}\n', "m.jsonl"), kind="multi")
    assert lists.column.values.tolist() == [[1], [0]]
    with pytest.raises(InputError, match="unknown kind of labels 'ordinal': expected class, float or multi"):
        read_examples(path, kind="ordinal")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="row 0 has several labels"):
        read_examples(tmp_path / "m.jsonl")
