"""The archive that a backup is: a tar file (POSIX.1-2001, any tar program lists it) with what proves it whole.

    kennel-backup.json   the head, JSON in UTF-8:
        format      1
        program     version of the program that wrote it
        created     µs since 1970: when the backup began
        node        {id} of a whole node, null when the archive holds only some of its tables
        schemas     names, also of those without tables
        tables      [{definition, seq, rows, segments}]: the catalog's row; the last transaction; how many records
                    the table then had; the names of its segments in the order of the log
    tables/<table id>/<number>.log   segments as in c/layout.h, the last one cut after the transaction `seq`
    files/<path>         of a whole node: its configuration, keys and custom functions, by their path in the root
    digest.json          the last member: {"members": [[name, bytes, crc32c], …]} of all before it, in order

After the last member two blocks of zeros. An archive without its digest is cut off, and no backup. Writing and
reading are streams: nothing is held but the block at hand and the list of members.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from engine.catalog import TableDefinition
from engine.errors import Corrupt, InvalidRequest
from engine.logfile import crc32c
from engine.version import __version__

FORMAT = 1
HEAD = "kennel-backup.json"
DIGEST = "digest.json"
BLOCK = 512
CHUNK = 1 << 20  # bytes


@dataclass(frozen=True, slots=True)
class TableContents:
    """One table of an archive."""

    definition: TableDefinition
    seq: int
    rows: int
    segments: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Contents:
    """What an archive holds; `node` is the id of a node backed up as a whole."""

    created: int
    node: str | None
    schemas: tuple[str, ...]
    tables: tuple[TableContents, ...]

    def head(self) -> bytes:
        tables = [
            {"definition": table.definition.row(), "seq": table.seq, "rows": table.rows, "segments": table.segments}
            for table in self.tables
        ]
        node = None if self.node is None else {"id": self.node}
        head = {"format": FORMAT, "program": __version__, "created": self.created, "node": node}
        return json.dumps({**head, "schemas": self.schemas, "tables": tables}, indent=1).encode()

    @classmethod
    def from_head(cls, head: bytes) -> Contents:
        try:
            found = json.loads(head)
            if found["format"] != FORMAT:
                raise InvalidRequest(f"the backup has format {found['format']}; this version reads format {FORMAT}")
            tables = tuple(
                TableContents(
                    TableDefinition.from_row(table["definition"]), table["seq"], table["rows"], tuple(table["segments"])
                )
                for table in found["tables"]
            )
            node = None if found["node"] is None else found["node"]["id"]
            return cls(found["created"], node, tuple(found["schemas"]), tables)
        except (ValueError, KeyError, TypeError) as error:
            raise Corrupt(f"the head of the backup is damaged: {error!r}") from error


class Writer:
    """Makes the bytes of an archive, member after member, and remembers what the digest has to say."""

    def __init__(self) -> None:
        self._members: list[tuple[str, int, int]] = []

    def member(self, name: str, size: int, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """One member of exactly `size` bytes."""
        yield self._header(name, size)
        written = checksum = 0
        for chunk in chunks:
            written += len(chunk)
            checksum = crc32c(chunk, checksum)
            yield chunk
        if written != size:
            raise Corrupt(f"{name} has {written} bytes and not {size}")
        self._members.append((name, size, checksum))
        yield bytes(-size % BLOCK)

    def end(self) -> Iterator[bytes]:
        """The digest and the end of the archive."""
        digest = json.dumps({"members": self._members}, indent=1).encode()
        yield self._header(DIGEST, len(digest)) + digest + bytes(-len(digest) % BLOCK + 2 * BLOCK)

    def _header(self, name: str, size: int) -> bytes:
        member = tarfile.TarInfo(name)
        member.size, member.mode = size, 0o600
        return member.tobuf(tarfile.PAX_FORMAT)


Target = Callable[[Contents, str], BinaryIO | None]


def unpack(file: BinaryIO, target: Target) -> Contents:
    """Read an archive to its end, each member into the file that `target` gives for its name, which is closed here.

    Corrupt unless every member, and the whole, is as it was written; then what has been unpacked is worth nothing.
    """
    try:
        with tarfile.open(fileobj=file, mode="r|", bufsize=CHUNK) as tar:
            return _unpack(tar, target)
    except tarfile.TarError as error:
        raise Corrupt(f"the backup is damaged or cut off: {error}") from error


def verify(file: BinaryIO) -> Contents:
    """Read an archive to its end; Corrupt when it is damaged or cut off."""
    return unpack(file, lambda contents, name: None)


def _unpack(tar: tarfile.TarFile, target: Target) -> Contents:
    contents: Contents | None = None
    found: list[list[Any]] = []
    for member in tar:
        source = tar.extractfile(member)
        if source is None:
            raise Corrupt(f"the backup holds {member.name}, which is no file")
        if member.name == DIGEST:
            _compare(source.read(), found)
            if contents is None:
                break
            return contents
        if contents is None:
            head = source.read() if member.name == HEAD else b""
            contents = Contents.from_head(head)
            found.append([HEAD, len(head), crc32c(head)])
            continue
        found.append([member.name, member.size, _copy(source, target(contents, member.name))])
    raise Corrupt("the backup is cut off: its digest is missing")


def _copy(source: Any, sink: BinaryIO | None) -> int:
    checksum = 0
    try:
        while chunk := source.read(CHUNK):
            checksum = crc32c(chunk, checksum)
            if sink is not None:
                sink.write(chunk)
    finally:
        if sink is not None:
            sink.close()
    return checksum


def _compare(digest: bytes, found: list[list[Any]]) -> None:
    try:
        expected = json.loads(digest)["members"]
    except (ValueError, KeyError, TypeError) as error:
        raise Corrupt("the digest of the backup is damaged") from error
    if expected == found:
        return
    wrong = [one[0] for one, other in zip(found, expected, strict=False) if one != other]
    raise Corrupt(f"the backup is damaged: {wrong[0] if wrong else 'its members'} differs from what the digest says")
