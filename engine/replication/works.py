"""What the protocol core wants done on the node's tables, and what comes of it. Values only.

`engine.replication.apply` carries the works out. Each may fail with an error of `engine.errors`; NotFound (or Closed)
stands for a table that is gone, or is another one than the subscription was made for.
"""

from __future__ import annotations

from dataclasses import dataclass

from engine.replication.messages import Entry, Origin, Stream, Vector
from engine.replication.terms import Neighbour


@dataclass(frozen=True, slots=True)
class Look:
    """Look at a table. -> Shelf; NotFound when there is none."""

    stream: Stream


@dataclass(frozen=True, slots=True)
class Shelf:
    """A table's identity, and how far it reaches: log position and vector, this node's own transactions (`own`)
    included; the names of the nodes in the vector; and how many transactions were set aside."""

    table_id: str
    primary_key: str
    head: int
    vector: Vector
    names: dict[str, str]
    own: Origin
    set_aside: int


@dataclass(frozen=True, slots=True)
class Locate:
    """Find where in the log to begin for someone who has `have`. -> Located"""

    stream: Stream
    have: Vector


@dataclass(frozen=True, slots=True)
class Located:
    """Reading after `position` gives all that is wanted, but of the origins in `short`, which begin too late."""

    position: int
    head: int
    short: frozenset[Origin]


@dataclass(frozen=True, slots=True)
class ReadLog:
    """Read transactions after a position, about so many bytes of those of the wanted origins. -> Chunk"""

    stream: Stream
    after: int
    origins: frozenset[Origin]
    max_bytes: int


@dataclass(frozen=True, slots=True)
class Chunk:
    """Transactions of the wanted origins up to `position`."""

    entries: list[Entry]
    position: int
    head: int


@dataclass(frozen=True, slots=True)
class Apply:
    """Apply transactions in order. -> list of "applied", "duplicate", "gap" or "aside", one per entry."""

    stream: Stream
    table_id: str
    entries: list[Entry]


@dataclass(frozen=True, slots=True)
class ReadRows:
    """Read rows and tombstones after a key, those of version `since` or later. -> RowsChunk"""

    stream: Stream
    since: int | None
    after: bytes | None
    max_bytes: int


@dataclass(frozen=True, slots=True)
class RowsChunk:
    """Encoded rows; `after` is None behind the last one. The vector was taken before the rows were read."""

    rows: list[bytes]
    after: bytes | None
    vector: Vector
    names: dict[str, str]


@dataclass(frozen=True, slots=True)
class ReadPast:
    """The vector as it was at a time (microseconds). -> Past"""

    stream: Stream
    since: int


@dataclass(frozen=True, slots=True)
class Past:
    vector: Vector
    names: dict[str, str]


@dataclass(frozen=True, slots=True)
class MergeRows:
    """Merge rows in, the later version winning. -> None"""

    stream: Stream
    table_id: str
    rows: list[bytes]


@dataclass(frozen=True, slots=True)
class RaiseVector:
    """Take everything up to the vector as known. -> None"""

    stream: Stream
    table_id: str
    vector: Vector
    names: dict[str, str]


@dataclass(frozen=True, slots=True)
class RenewEpoch:
    """Begin a new epoch for this node's own transactions: peers have more of the present one than this node. -> None"""

    stream: Stream


@dataclass(frozen=True, slots=True)
class Describe:
    """Which of these tables are there? -> dict of stream to (table id, primary key), missing ones left out."""

    streams: tuple[Stream, ...]


@dataclass(frozen=True, slots=True)
class CreateTable:
    """Create a table (and its schema) unless it is there. -> (table id, primary key)"""

    stream: Stream
    primary_key: str


@dataclass(frozen=True, slots=True)
class SaveNeighbour:
    """Keep the row of a neighbour, in place of the one before. -> None"""

    neighbour: Neighbour


@dataclass(frozen=True, slots=True)
class ForgetNeighbour:
    """-> None"""

    name: str


Work = (
    Look | Locate | ReadLog | Apply | ReadRows | ReadPast | MergeRows | RaiseVector | RenewEpoch | Describe
    | CreateTable | SaveNeighbour | ForgetNeighbour
)  # fmt: skip

WRITING = (Apply, MergeRows, RaiseVector, RenewEpoch, CreateTable, SaveNeighbour, ForgetNeighbour)
"""Works that change something. On one table they are carried out in the order in which they were asked for."""
