"""One table, the processes that work on it, and the failpoints in them."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from failpoints import Failpoints
from hands import Hand

from engine.store import Store

FIRST_FRAME = 4096  # bytes of a segment's header
VERSION = 16  # place of the version in the head of a frame


class Bench:
    """One table and the processes at it."""

    def __init__(self, root: Path) -> None:
        self.directory = root / "table"
        self.table_id = uuid.uuid4().bytes
        self.failpoints = Failpoints(root / "failpoints")
        self._hands: list[Hand] = []
        Store.create(str(self.directory), self.table_id)

    def hand(self, environment: Mapping[str, str] = MappingProxyType({}), **options: Any) -> Hand:
        """A process that opens the table with what it is first asked to do."""
        hand = Hand(self.directory, self.table_id, self.failpoints.environment | environment, **options)
        self._hands.append(hand)
        return hand

    def kill_all(self) -> None:
        for hand in self._hands:
            hand.close()
        self._hands = []

    def spoil_the_first_frame(self) -> None:
        """From now on there is no recovery from the log alone; the records in the frame can still be read."""
        with (self.directory / "000001.log").open("r+b") as file:
            file.seek(FIRST_FRAME + VERSION)
            (byte,) = file.read(1)
            file.seek(FIRST_FRAME + VERSION)
            file.write(bytes([byte ^ 1]))

    def recovered(self, *, from_the_log: bool = True) -> Hand:
        """A process that has to recover the table, after the end of all others."""
        self.kill_all()
        (self.directory / "shared.shm").unlink()
        if from_the_log:
            (self.directory / "index.kbt").unlink()
        return self.hand()
