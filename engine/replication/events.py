"""What goes into the protocol core (events) and what comes out of it (actions). Values only.

The core knows neither sockets nor files nor clocks: its surroundings (the hub, or a simulator) feed it events together
with the time, carry out the actions, and hand the results of works back as events. A *channel* is one end of one
connection to another node. Its name is a text that both ends know and that is never used again, after a `>` at the end
that dialled or a `<` at the end that was dialled (a node may dial itself, and then has both).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from engine.replication.messages import Stream
from engine.replication.works import Work

# --- events ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Opened:
    """A channel is up. `key` is the dialler's transport key: our own if we dialled, else as the transport proved it."""

    channel: str
    dialled: bool
    key: str


@dataclass(frozen=True, slots=True)
class Closed:
    channel: str


@dataclass(frozen=True, slots=True)
class Received:
    channel: str
    frame: bytes


@dataclass(frozen=True, slots=True)
class Committed:
    """Watched tables have new transactions: the log position of the last one, per stream."""

    heads: dict[Stream, int]


@dataclass(frozen=True, slots=True)
class Done:
    """A work has been carried out."""

    token: int
    result: Any


@dataclass(frozen=True, slots=True)
class Failed:
    token: int
    error: Exception


@dataclass(frozen=True, slots=True)
class Asked:
    """Somebody calls a cluster operation; the answer is a Reply with the same request."""

    request: int
    operation: str
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Rerouted:
    """This node's own routes are now these (the core only tells them to those who ask)."""

    routes: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed."""


Event = Opened | Closed | Received | Committed | Done | Failed | Asked | Rerouted | Tick

# --- actions ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Send:
    channel: str
    frame: bytes


@dataclass(frozen=True, slots=True)
class Hang:
    """Close a channel. Where we dialled it, dial again: soon, or late when `refused`."""

    channel: str
    reason: str
    refused: bool = False


@dataclass(frozen=True, slots=True)
class Perform:
    """Carry out a work on the node's tables; its result comes back as Done or Failed with this token."""

    token: int
    work: Work


@dataclass(frozen=True, slots=True)
class Watch:
    """Report commits (Committed) of these tables from now on."""

    streams: frozenset[Stream]


@dataclass(frozen=True, slots=True)
class Retain:
    """What subscribers still need of the logs: per table id the first position. Nothing of other tables is needed."""

    needed: dict[str, int]


@dataclass(frozen=True, slots=True)
class Reply:
    request: int
    result: Any = None
    error: Exception | None = None


@dataclass(frozen=True, slots=True)
class Note:
    """A line for the log of the node; level is a name of the logging module in lower case."""

    level: str
    text: str


Action = Send | Hang | Perform | Watch | Retain | Reply | Note
