"""Restoring a backup (engine/archive.py) into a new root directory, in full or as it was at an earlier point in time.

A point in time is a cut: of each table's log, everything from the first transaction that is later is left out. The
log must still have every transaction until then, so the point may not lie before the end of a part that was
compacted.

Everything is done in a directory beside the new root, which gets its name when it is complete and verified: the
checksums of the archive, the indexes made from the log, the number of records. The node counts its transactions in a
new epoch from then on, because its peers may have seen later ones than the backup has.
"""

from __future__ import annotations

import dataclasses
import json
import os
import secrets
import shutil
import uuid
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from engine.api import ID_FILE, open_node
from engine.archive import Contents, TableContents, unpack
from engine.catalog import Catalog, locked
from engine.doorbell import Doorbell
from engine.errors import Corrupt, InvalidRequest, RootError
from engine.files import failure, replace_file, sync_directory
from engine.logfile import HEADER_SIZE
from engine.segmentfiles import extent, segment_header
from engine.store import Store


def restore(file: BinaryIO, root: str | os.PathLike[str], until: int | None = None) -> Contents:
    """Make the node of a backup at `root`, which must not be there, or be empty. Gives what was restored.

    `until`: µs since 1970; nothing later is restored. Corrupt for a damaged archive, RootError for an unusable root,
    InvalidRequest for a point in time that the log no longer reaches back to. Nothing is left behind then.
    """
    target = Path(root).expanduser().absolute()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise RootError(f"{target} is there already; a backup is restored into a new directory")
    draft = target.with_name(f".{target.name}.{secrets.token_hex(4)}.restoring")
    try:
        draft.mkdir(mode=0o700, parents=True)
        contents = _build(file, draft, until)
        _sync(draft)
        draft.rename(target)
        sync_directory(target.parent)
        return contents
    except OSError as error:
        raise failure(target, error) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _build(file: BinaryIO, draft: Path, until: int | None) -> Contents:
    (draft / "schema").mkdir(mode=0o700)
    contents = unpack(file, lambda known, name: _place(draft, known, name))
    if until is not None:
        contents = _as_of(contents, draft, until)
    for table in contents.tables:
        _settle(draft / "schema" / table.definition.id, table)
    _lay_catalog(draft, contents)
    identity = {
        "id": contents.node or str(uuid.uuid4()),
        "epoch": secrets.randbits(48),
        "created": contents.created // 1000,
    }
    replace_file(draft / ID_FILE, json.dumps(identity).encode())
    _open_and_verify(draft, contents, exact=until is None)
    return contents


def _sync(draft: Path) -> None:
    """Make all that is there durable, before it gets the name under which it counts."""
    for path in [draft, *draft.rglob("*")]:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _place(draft: Path, contents: Contents, name: str) -> BinaryIO:
    """The new file for a member of the archive, which must be one that such an archive has."""
    path = PurePosixPath(name)
    if path.parts[0] == "tables":
        known = {table.definition.id: table.segments for table in contents.tables}
        if len(path.parts) != 3 or path.name not in known.get(path.parts[1], ()):
            raise Corrupt(f"the backup holds {name}, which its head does not name")
        target = draft / "schema" / path.parts[1] / path.name
    elif path.parts[0] == "files" and len(path.parts) > 1 and ".." not in path.parts and contents.node is not None:
        target = draft.joinpath(*path.parts[1:])
    else:
        raise Corrupt(f"the backup holds {name}, which does not belong there")
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb")


# --- a point in time -------------------------------------------------------------------------------------------------


def _as_of(contents: Contents, draft: Path, until: int) -> Contents:
    """The contents without the tables made later, the logs cut."""
    kept = []
    for table in contents.tables:
        directory = draft / "schema" / table.definition.id
        if table.definition.created * 1000 > until:
            shutil.rmtree(directory, ignore_errors=True)
        else:
            _cut(directory, table, until)
            kept.append(table)
    return dataclasses.replace(contents, tables=tuple(kept))


def _cut(directory: Path, table: TableContents, until: int) -> None:
    """Leave out everything from the first transaction that is later than `until`."""
    paths = [directory / name for name in table.segments if (directory / name).stat().st_size]
    for index, path in enumerate(paths):
        size = path.stat().st_size
        header = segment_header(path)
        if header is None:
            raise Corrupt(f"{path.name} of the backup has lost its header")
        if header.last_seq is not None:
            _refuse_compacted(paths[index:], table, until)
            continue
        found = extent(path, size, version=until)
        if found.end < size:
            os.truncate(path, found.end)
            for later in paths[index + 1 :]:
                os.truncate(later, 0)
            return


def _refuse_compacted(paths: list[Path], table: TableContents, until: int) -> None:
    """What a compacted segment has lost was older than the segment that follows it, whatever that was exactly."""
    headers = [segment_header(path) for path in paths[1:2]]
    reaches = extent(paths[0], paths[0].stat().st_size).version
    reaches = max([reaches, *(header.created for header in headers if header is not None)])
    if until < reaches:
        where = f"'{table.definition.schema}.{table.definition.name}'"
        raise InvalidRequest(f"the log of {where} was compacted; the earliest point in time is {reaches / 1e6:.6f}")


# --- the new root ----------------------------------------------------------------------------------------------------


def _settle(directory: Path, table: TableContents) -> None:
    """Remove segments in which nothing was left. A table never written has no segment."""
    for name in table.segments:
        path = directory / name
        if path.stat().st_size <= HEADER_SIZE:
            path.unlink()
    if not directory.exists() or not any(directory.iterdir()):
        Store.create(os.fspath(directory), uuid.UUID(table.definition.id).bytes)


def _lay_catalog(draft: Path, contents: Contents) -> None:
    with locked(draft):
        Catalog.lay(draft)
        catalog = Catalog(draft, Doorbell(os.fspath(draft / "node.shm")))
        catalog.adopt(contents.schemas, [table.definition for table in contents.tables])
        catalog.close("it is laid")


def _open_and_verify(draft: Path, contents: Contents, *, exact: bool) -> None:
    """Make the indexes, compare what must agree, and begin new epochs."""
    with open_node(draft, create=False) as node:
        for contained in contents.tables:
            definition = contained.definition
            table = node.table(definition.schema, definition.name)
            with table.view() as view:
                found = (view.seq, view.snapshot.count())
            if exact and found != (contained.seq, contained.rows):
                raise Corrupt(
                    f"'{definition.schema}.{definition.name}' has {found[1]} records at transaction {found[0]} "
                    f"and not {contained.rows} at {contained.seq}"
                )
            table.feed.renew_epoch()
        node.maintain(0)
