"""Backups of a node that runs, or of some of its tables: `backup(node)` gives the bytes of an archive
(engine/archive.py).

Every table is as it was at one moment at the start. A view holds that moment while the segments of the log are given
a second name (a hard link, or a copy where the file system has none) in a directory of the backup's own; then the
view is closed, and writers, compaction and even dropping the table go on undisturbed: of a segment only the end
grows. What of the last segment came later is left out when it is read. The indexes are not in a backup, they are made
again from the log.

Held segments lie in `backup/`; a lock tells those that somebody still reads from those that a killed process has
left, which the upkeep removes.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from engine.archive import CHUNK, HEAD, Contents, TableContents, Writer
from engine.catalog import SYSTEM, TableDefinition, locked
from engine.errors import Corrupt, NoSuchTable
from engine.files import failure
from engine.segmentfiles import extent, file_name, log_of
from engine.segments import Segment

if TYPE_CHECKING:
    from engine.api import Node
    from engine.table import Table

HOLDING = ".held-"
NODE_FILES = ("kennel-config.yaml", "keys", "custom_functions")


@dataclass(frozen=True, slots=True)
class HeldTable:
    """A table's log up to transaction `seq`, kept in `directory`."""

    definition: TableDefinition
    seq: int
    rows: int
    directory: Path
    segments: tuple[Segment, ...]


class Backup:
    """An iterator over the bytes of an archive. Close it, unless it was read to its end."""

    def __init__(self, node: Node, tables: Sequence[Table], schemas: Sequence[str], *, whole: bool) -> None:
        self._root = node.root
        self._holding = _Holding(node.root)
        try:
            held = [self._holding.hold(table) for table in tables]
            files = _node_files(node.root) if whole else []
            contents = Contents(
                created=time.time_ns() // 1000,
                node=node.id if whole else None,
                schemas=tuple(schemas),
                tables=tuple(
                    TableContents(
                        table.definition, table.seq, table.rows, tuple(file_name(item) for item in table.segments)
                    )
                    for table in held
                ),
            )
        except BaseException:
            self._holding.close()
            raise
        self._chunks = _archive(contents, held, node.root, files)

    def __iter__(self) -> Backup:
        return self

    def __next__(self) -> bytes:
        try:
            return next(self._chunks)
        except OSError as error:
            self._holding.close()
            raise failure(self._root, error) from error
        except BaseException:
            self._holding.close()
            raise

    def __enter__(self) -> Backup:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._chunks.close()
        self._holding.close()


def backup(node: Node, schema: str | None = None, tables: Sequence[str] = ()) -> Backup:
    """A backup of the whole node, of a schema, or of some tables of it.

    What cannot be had fails here, before the first byte: NoSuchSchema, NoSuchTable, Corrupt. Damage inside of a segment
    ends the iteration with Corrupt; the archive is then cut off.
    """
    if schema is not None:
        names = list(tables) or node.tables(schema)
        return Backup(node, [node.table(schema, name) for name in names], [schema], whole=False)
    wanted = [node.table(definition.schema, definition.name) for definition in node.definitions()]
    own = [SYSTEM] if any(table.schema == SYSTEM for table in wanted) else []
    return Backup(node, wanted, [*node.schemas(), *own], whole=True)


# --- holding segments ------------------------------------------------------------------------------------------------


class _Holding:
    """A directory with second names of the segments that a backup is going to read."""

    def __init__(self, root: Path) -> None:
        parent = root / "backup"
        self.path = parent / f"{HOLDING}{secrets.token_hex(8)}"
        with locked(root):
            parent.mkdir(mode=0o700, exist_ok=True)
            self.path.mkdir(mode=0o700)
            self._lock = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(self._lock, fcntl.LOCK_EX)

    def close(self) -> None:
        """May be called twice."""
        if self._lock >= 0:
            shutil.rmtree(self.path, ignore_errors=True)
            os.close(self._lock)
            self._lock = -1

    def hold(self, table: Table) -> HeldTable:
        """Keep the log of a table as it is now."""
        target = self.path / table.id
        with table.view() as view:
            while True:
                try:
                    target.mkdir(mode=0o700)
                    segments = log_of(table.directory, view.seq)
                    for segment in segments:
                        _keep(table.directory / file_name(segment), target / file_name(segment))
                    return HeldTable(table.definition, view.seq, view.snapshot.count(), target, tuple(segments))
                except FileNotFoundError as error:  # removed meanwhile, so this view does not need it
                    shutil.rmtree(target)
                    if not table.directory.exists():
                        raise NoSuchTable(table.schema, table.name) from error
                except OSError as error:
                    raise failure(target, error) from error


def sweep(root: Path) -> None:
    """Remove what killed processes held. Needs the node's lock, or one that is just made could be taken for such."""
    for left in (root / "backup").glob(f"{HOLDING}*"):
        try:
            descriptor = os.open(left, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:  # a backup has come to its end
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(left, ignore_errors=True)
        except BlockingIOError:  # somebody reads it
            continue
        finally:
            os.close(descriptor)


def _keep(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:  # no hard links here, or too many of this file
        shutil.copyfile(source, target)


# --- reading them ----------------------------------------------------------------------------------------------------


def _archive(
    contents: Contents, tables: list[HeldTable], root: Path, files: list[Path]
) -> Generator[bytes, None, None]:
    writer = Writer()
    head = contents.head()
    yield from writer.member(HEAD, len(head), [head])
    for table in tables:
        yield from _log(writer, table)
    for path in files:
        yield from _file(writer, f"files/{path.relative_to(root)}", path)
    yield from writer.end()


def _file(writer: Writer, name: str, path: Path) -> Iterator[bytes]:
    """A file as it is now; one that was removed since the start is left out."""
    with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        yield from writer.member(name, size, _bytes_of(file, size))


def _log(writer: Writer, table: HeldTable) -> Iterator[bytes]:
    """The table's segments; one that holds nothing that is needed comes as an empty member."""
    reached = 0
    for segment in table.segments:
        path = table.directory / file_name(segment)
        size = 0
        if reached < segment.first_seq:
            if segment.first_seq != reached + 1:
                raise Corrupt(
                    f"{_named(table)}: the transactions {reached + 1} to {segment.first_seq - 1} are missing "
                    f"before segment {path.name}"
                )
            found = extent(path, segment.size, seq=table.seq)
            size, reached = found.end, found.last_seq
        with path.open("rb") as file:
            yield from writer.member(f"tables/{table.definition.id}/{path.name}", size, _bytes_of(file, size))
    if reached != table.seq:
        raise Corrupt(f"{_named(table)}: the log ends with transaction {reached} and not {table.seq}")


def _named(table: HeldTable) -> str:
    return f"Table '{table.definition.schema}.{table.definition.name}' is damaged"


def _bytes_of(file: BinaryIO, size: int) -> Iterator[bytes]:
    """The first `size` bytes; fewer only of a file that was cut meanwhile."""
    while size > 0 and (chunk := file.read(min(size, CHUNK))):
        size -= len(chunk)
        yield chunk


def _node_files(root: Path) -> list[Path]:
    """What a node is besides its tables. Secrets in it are keys and hashes."""
    found = []
    for name in NODE_FILES:
        path = root / name
        found += sorted(item for item in path.rglob("*") if item.is_file()) if path.is_dir() else [path]
    return [path for path in found if path.is_file() and not path.is_symlink()]
