"""Real text that every machine has: the first paragraphs of the docstrings of the standard library, scikit-learn and scipy.

They are parsed from the installed sources at run time; nothing is imported, and none of the text is part of this project. The task is to
say which module (sources) or which scipy sub-package (target) a function or class belongs to. The text must not contain the answer, so
dotted names keep only their last part ("scipy.sparse.linalg.eigs" becomes "eigs"), and a paragraph that still contains the name of its
class as a word is left out. Signatures, very short paragraphs and repeated texts are left out too.
"""

from __future__ import annotations

import ast
import importlib.util
import inspect
import re
import sys
import sysconfig
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeAlias

from fewtune.data.examples import Examples, make_examples
from fewtune.data.items import Texts
from fewtune.errors import InputError

SUBPACKAGES = ("integrate", "interpolate", "linalg", "ndimage", "optimize", "signal", "spatial", "stats")
"""The classes of the target: sub-packages of scipy, each on one subject, that document many functions in Python source files."""

LEAST_WORDS = 5
LEAST_ROWS = 20  # a source class with fewer paragraphs is left out
MOST_ROWS = 100  # of one class, spread evenly over its files in the order of names
_LEFT_OUT = frozenset({"antigravity", "encodings", "ensurepip", "idlelib", "lib2to3", "pydoc_data", "test", "this", "turtledemo"})
_NO_SUBJECT = frozenset({"base", "callback", "exceptions", "utils"})  # modules of scikit-learn that mix many subjects
_NOT_PUBLIC = frozenset({"tests", "test", "externals", "_external", "_lib", "_precompute", "conftest.py", "setup.py"})

_Row: TypeAlias = tuple[str, str]  # (dotted name, first paragraph)


def docstring_examples() -> tuple[Examples, Examples]:
    """(sources, target): texts with their module, grouped by library; and texts of scipy with their sub-package.

    The same sources give the same examples in the same order. Raises InputError if the sources are not on this machine.
    """
    return docstring_space(), docstring_target()


def docstring_space() -> Examples:
    """Standard library and scikit-learn: one class for each module with enough paragraphs, group = library."""
    library = {module: _rows(root, module, module) for module, root in _standard_modules().items()}
    folder = _package("sklearn")
    learn = {entry.stem: _rows(entry, f"sklearn.{entry.stem}", entry.stem) for entry in _members(folder)}
    rows = {("standard library", name): found for name, found in library.items()}
    rows |= {("scikit-learn", name): found for name, found in learn.items()}
    return _examples({of: found for of, found in rows.items() if len(found) >= LEAST_ROWS}, "docstrings-pool")


def docstring_target() -> Examples:
    """scipy: one class for each of SUBPACKAGES."""
    folder = _package("scipy")
    found = {("scipy", name): _rows(folder / name, f"scipy.{name}", name) for name in SUBPACKAGES}
    return _examples({of: rows for of, rows in found.items() if rows}, "scipy-docstrings")


def _examples(found: Mapping[tuple[str, str], list[_Row]], name: str) -> Examples:
    times = Counter(text.casefold() for rows in found.values() for _, text in rows)
    kept = [(library, of, where, text) for (library, of), rows in found.items() for where, text in _spread(_once(rows, times))]
    if not kept:
        raise InputError(f"no docstrings were found for {name}: the Python source files of the installed libraries are needed.")
    return make_examples(
        Texts([text for *_, text in kept]),
        [of for _, of, _, _ in kept],
        name=name,
        row_names=[where for _, _, where, _ in kept],
        groups=[library for library, *_ in kept],
    )


def _once(rows: list[_Row], times: Counter[str]) -> list[_Row]:
    return [(where, text) for where, text in rows if times[text.casefold()] == 1]


def _spread(rows: list[_Row]) -> list[_Row]:
    """At most MOST_ROWS of them, spread evenly over the list."""
    count = min(len(rows), MOST_ROWS)
    return [rows[i * len(rows) // count] for i in range(count)]


def _standard_modules() -> dict[str, Path]:
    root = Path(sysconfig.get_path("stdlib"))
    names = sorted(n for n in sys.stdlib_module_names if not n.startswith("_") and n not in _LEFT_OUT)
    found = {n: next((p for p in (root / n, root / f"{n}.py") if p.exists()), None) for n in names}
    return {name: path for name, path in found.items() if path is not None}


def _package(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise InputError(f"the package {name} is not installed; its docstrings are needed as data.")
    return Path(spec.submodule_search_locations[0])


def _members(folder: Path) -> list[Path]:
    """Public modules and sub-packages, by name."""
    found = [e for e in folder.iterdir() if not e.name.startswith("_") and e.name not in _NOT_PUBLIC and e.stem not in _NO_SUBJECT]
    return sorted((e for e in found if e.suffix == ".py" or (e / "__init__.py").is_file()), key=lambda e: e.name)


def _rows(source: Path, dotted: str, own: str) -> list[_Row]:
    """(dotted name, paragraph) of the public functions and classes in a module or package, by file and line; of equal texts, only the
    first.
    """
    files = [source] if source.is_file() else sorted(p for p in source.rglob("*.py") if not _NOT_PUBLIC & set(p.relative_to(source).parts))
    said = re.compile(rf"\b{re.escape(own)}\b", re.IGNORECASE)
    rows: dict[str, str] = {}
    for file in files:
        for name, text in _documented(file):
            if not said.search(text):
                rows.setdefault(text, f"{dotted}.{name}")
    return [(where, text) for text, where in rows.items()]


def _documented(file: Path) -> Iterator[tuple[str, str]]:
    try:
        content = file.read_bytes()
        if b'"""' not in content:
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes in the source of another project do not matter here
            tree = ast.parse(content)
    except (OSError, SyntaxError, ValueError, RecursionError):
        return
    for node in tree.body:
        yield from _of(node, "")
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            for inner in node.body:
                if not isinstance(inner, ast.ClassDef):
                    yield from _of(inner, f"{node.name}.")


def _of(node: ast.stmt, before: str) -> Iterator[tuple[str, str]]:
    """The name and the paragraph of one public function or class, if it has both."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not node.name.startswith("_"):
        text = paragraph(ast.get_docstring(node, clean=False))
        if text is not None:
            yield before + node.name, text


def paragraph(docstring: str | None) -> str | None:
    """The first paragraph as plain text, without markup and without the first parts of dotted names; None if nothing is left."""
    if not docstring:
        return None
    first = re.split(r"\n\s*\n", inspect.cleandoc(docstring), maxsplit=1)[0]
    text = " ".join(first.split())
    if text.startswith((".. ", ">>>")) or re.match(r"[\w.]+\(.*\)", text):  # a directive, an example, a signature
        return None
    text = re.sub(r":[\w:]+:`~?([^`<]*)(?:<[^`]*>)?`", r"\1", text)
    text = re.sub(r"[`*]+", "", text)
    text = re.sub(r"\b(?:[A-Za-z_]\w*\.)+([A-Za-z_]\w+)", r"\1", text)  # but not "e.g."
    words = [word for word in text.split() if re.search(r"[A-Za-z]{2}", word)]
    return text if len(words) >= LEAST_WORDS else None
