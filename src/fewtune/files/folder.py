"""Folders that fewtune writes: they are complete or absent, and files of other programs are never lost."""

from __future__ import annotations

import contextlib
import glob
import itertools
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import final

from fewtune.errors import InputError
from fewtune.files.exchange import exchange, recover, take
from fewtune.files.manifest import GROWN, entries, is_ours, write_manifest, written
from fewtune.files.plain import RECORD, sha256, sync_folder
from fewtune.words import option

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]+", re.IGNORECASE)  # two letters or more: C:/ is a drive
_STALE = 3600.0  # seconds
_MARK = ".unfinished"  # in a folder that is being written
_TRIES = 20
ANOTHER = f"choose another {option('--out', 'another path')}"


@final
class NewFolder(AbstractContextManager[Path]):
    """A folder that is being made. `where`: its path, which can differ from the one asked for (see `new_folder`)."""

    def __init__(self, path: Path, *, overwrite: bool, elsewhere: bool) -> None:
        refuse_existing(path, overwrite=overwrite)
        self.where = path
        self._overwrite, self._elsewhere = overwrite, elsewhere and not overwrite

    def __enter__(self) -> Path:
        path = self.where.resolve()
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path)
        self._temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent))
        (self._temporary / _MARK).touch()
        return self._temporary

    def __exit__(self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if problem is None:
                _complete(self._temporary)
        except BaseException:
            shutil.rmtree(self._temporary, ignore_errors=True)
            raise
        if problem is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)
            return
        path = self.where.resolve()
        try:
            with _alone(path.parent):
                if self._elsewhere and _stands(path):
                    self.where = self.where.with_name(_free(path))
                _put(self._temporary, self.where.resolve(), overwrite=self._overwrite)
        finally:
            remove(self._temporary, kept_in=self.where.resolve())
            sync_folder(path.parent)


def new_folder(path: Path, *, overwrite: bool = False, elsewhere: bool = True) -> NewFolder:
    """A folder, with a manifest, that appears at `path` only when the block ends without an error. On any error, nothing is left behind.

    The block may write a `fewtune.json`, a JSON object; the manifest is added to it. If `path` exists already, it is refused before the
    block. If another program makes `path` while the block runs, its folder is not changed and this one appears beside it, as `path-2`, so
    that finished work is not lost; `.where` of the returned value is the path. With `elsewhere=False`, this is refused too. With
    `overwrite`, a folder that fewtune wrote is replaced when the new one is complete. Other files in it (files that fewtune did not write,
    files that were edited) are kept. Raises InputError if one of them would have to be replaced.
    """
    return NewFolder(path, overwrite=overwrite, elsewhere=elsewhere)


def _complete(folder: Path) -> None:
    """Add the manifest, and make sure that everything is on the disk."""
    (folder / _MARK).unlink()
    write_manifest(folder)
    for name in entries(folder):
        with open(folder / name, "rb") as file:
            os.fsync(file.fileno())
    sync_folder(folder)
    folder.chmod(0o755)


def _free(path: Path) -> str:
    """The first of NAME-2, NAME-3, ... that does not exist."""
    return next(name for number in itertools.count(2) if not _stands(path.with_name(name := f"{path.name}-{number}")))


@contextlib.contextmanager
def _alone(parent: Path) -> Iterator[None]:
    """Wait until no other process replaces a folder in `parent`, if folders can be locked. A killed process holds no lock."""
    try:
        import fcntl

        descriptor = os.open(parent, os.O_RDONLY)
    except (ImportError, OSError):
        yield
        return
    try:
        with contextlib.suppress(OSError):  # some network folders have no locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _put(temporary: Path, path: Path, *, overwrite: bool) -> None:
    """Give a complete folder its name. The folder that it replaces is removed, or is then at `temporary`."""
    for _ in range(_TRIES):
        recover(path)
        with contextlib.suppress(FileExistsError):  # another process was faster: look again at what is there
            if not _stands(path):
                take(temporary, path)
                return
            refuse_existing(path, overwrite=overwrite)
            _carry(path, temporary)
            remove(exchange(temporary, path), kept_in=path)
            return
    raise InputError(f"other processes keep replacing {path}: {ANOTHER}.")


def refuse_existing(path: Path, *, overwrite: bool, writes: Sequence[str] = ()) -> None:
    """Raise InputError when `path` exists and must not be replaced. An empty folder counts as absent.

    With `overwrite`, only a folder that fewtune wrote may be replaced, and none of the files that will be replaced (`writes`) may be edited
    or written by another program.
    """
    recover(path.resolve())
    if not _stands(path):
        refuse_closed(path)
        return
    if not overwrite:
        raise InputError(f"{path} exists already: {ANOTHER}, or pass {option('--overwrite')} to replace it.")
    if written(path) is None:
        raise InputError(f"{path} was not written by fewtune, or its {RECORD} was changed since, so it is not replaced: {ANOTHER}.")
    refuse_foreign(path, [path / name for name in writes])


def refuse_foreign(folder: Path, writes: Iterable[Path]) -> None:
    """Raise InputError if one of the files to be written into a folder of fewtune exists already and is foreign (see `foreign`)."""
    files = written(folder)
    for file in writes:
        if files is not None and os.path.lexists(file) and not is_ours(folder, file.relative_to(folder).as_posix(), files):
            raise _in_the_way(file)


def foreign(folder: Path) -> list[str]:
    """The files in a folder that are not fewtune's, as paths with slashes: files that it did not write, and files that were edited."""
    files = written(folder) or {}
    return [name for name in sorted(entries(folder)) if not is_ours(folder, name, files)]


def remove(folder: Path, *, kept_in: Path | None = None) -> None:
    """Remove a folder that fewtune wrote, except foreign files in it. Foreign files that are also in `kept_in`, unchanged, are removed
    too.
    """
    files = written(folder)
    if files is None or folder == kept_in:
        return
    last = [name for name in (GROWN, RECORD) if name == RECORD or is_ours(folder, name, files)]
    for name in sorted(entries(folder)):
        file = folder / name
        kept = kept_in is not None and _same(file, kept_in / name)
        if name not in last and (kept or is_ours(folder, name, files)):
            with contextlib.suppress(OSError):
                file.unlink()
    for name in last:  # if the process is killed here, the folder can still be recognised as fewtune's
        (folder / name).unlink(missing_ok=True)
    for here, _, _ in os.walk(folder, topdown=False):
        with contextlib.suppress(OSError):  # a folder that is not empty stays
            Path(here).rmdir()


def _stands(path: Path) -> bool:
    return os.path.lexists(path) and not (path.is_dir() and not any(path.iterdir()))


def refuse_closed(path: Path, todo: str = ANOTHER) -> None:
    """Raise InputError if nothing can be made at `path`: better now than after an hour of work. `todo`: what to do, in the sentence."""
    refuse_address(path)
    above = next(folder for folder in path.absolute().parents if folder.exists())
    if not above.is_dir():
        raise InputError(f"{above} is a file, so no folder can be made in it: {todo}.")
    if not os.access(above, os.W_OK | os.X_OK):
        raise InputError(f"{above} is not writable: {todo}, or change its permissions.")


def refuse_address(path: Path) -> None:
    """Raise InputError for s3://bucket/run and the like, where a file or folder is to be made: it would be a folder named s3: here."""
    scheme, colon, rest = str(path).partition(":/")
    if colon and _SCHEME.fullmatch(scheme) and not os.path.lexists(path):
        raise InputError(f"{scheme}://{rest.lstrip('/')} is an address, and nothing is written to addresses: give a local path.")


def _in_the_way(file: Path) -> InputError:
    return InputError(f"{file} was edited or not written by fewtune, and would be replaced: move it away, or {ANOTHER}.")


def _sweep(path: Path) -> None:
    """Remove temporary folders of earlier attempts at `path` by killed processes, if nobody has changed them for an hour."""
    for stale in path.parent.glob(f".{glob.escape(path.name)}.*"):
        if stale.suffix not in (".tmp", ".old") or stale.is_symlink() or not stale.is_dir() or time.time() - _touched(stale) < _STALE:
            continue
        if (stale / _MARK).is_file():
            shutil.rmtree(stale, ignore_errors=True)
        else:
            remove(stale, kept_in=path)


def _touched(folder: Path) -> float:
    return max(folder.stat().st_mtime, folder.stat().st_ctime)


def _carry(old: Path, new: Path) -> None:
    """Put the foreign files of the old folder into the new one, by hard links (or copies if the disk has none), so that both have them."""
    made: list[Path] = []
    for name in foreign(old):
        if not os.path.lexists(new / name):
            made += _make_folders(old, new, Path(name).parent)
            link(old / name, new / name)
        elif not _same(old / name, new / name):
            raise _in_the_way(old / name)
    for here, folders, files in os.walk(old):
        if not folders and not files:
            made += _make_folders(old, new, Path(here).relative_to(old))
    for folder in made:  # modes last: a folder may be read-only
        shutil.copystat(old / folder, new / folder)


def _make_folders(old: Path, new: Path, folder: Path) -> list[Path]:
    """Make a folder of the old one, and its parents, in the new one; returns the folders that were missing, the innermost first."""
    missing = [one for one in (folder, *folder.parents) if not (new / one).is_dir()]
    for one in reversed(missing):
        if os.path.lexists(new / one):
            raise _in_the_way(old / one)
        (new / one).mkdir()
    return missing


def link(source: Path, target: Path) -> None:
    """Give a file a second name, or copy it if the disk has no links."""
    if source.is_symlink():
        target.symlink_to(source.readlink())
        return
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _same(one: Path, other: Path) -> bool:
    """Whether two paths are the same file, or files or links with the same content."""
    try:
        if one.is_symlink() or other.is_symlink():
            return one.readlink() == other.readlink()
        return one.samefile(other) or sha256(one) == sha256(other)
    except (OSError, InputError):
        return False
