"""What one SQL statement may use, as the configuration has it: statements of jobs have limits of their own."""

from __future__ import annotations

import select
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine import Cancelled
from engine.configuration import Configuration
from engine.settings import octets

if TYPE_CHECKING:
    from grammar import Budget

DIRECTORY = "spill"  # of the root; its files have no names, and are gone with their process

Watch = Callable[[], None]  # raises when the statement is not wanted any more


@dataclass(frozen=True, slots=True)
class Limits:
    """`seconds`, rows, and bytes of memory and disk; None is no limit."""

    seconds: float | None
    rows: int | None
    memory: int
    disk: int
    directory: Path

    @classmethod
    def of(cls, configuration: Configuration, section: str) -> Limits:
        """Those of a section: "sql" or "sql.jobs"."""

        def value(name: str) -> Any:
            return configuration.get(f"{section}.{name}")

        seconds = value("timeout") / 1000
        return cls(
            seconds or None,
            value("maxRows") or None,
            octets(value("maxMemory")),
            octets(value("maxDisk")),
            configuration.root / DIRECTORY,
        )

    def budget(self, watch: Watch | None = None) -> Budget:
        """For one statement, whose time begins now."""
        from grammar import Budget

        return Budget(
            self.seconds, self.rows, memory=self.memory, disk=self.disk, directory=self.directory, watch=watch
        )


def while_connected(connection: socket.socket | None) -> Watch | None:
    """A watch that raises Cancelled once the other side has closed the connection.

    It asks the kernel and reads nothing, so that it may be asked while the request is worked on, of TLS, too.
    """
    if connection is None:
        return None

    def watch() -> None:
        poll = select.poll()
        poll.register(connection, select.POLLRDHUP)
        if poll.poll(0):
            raise Cancelled("The client has closed the connection.")

    return watch
