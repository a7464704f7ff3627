"""The failpoint file of a test: shared with the processes that it starts (see engine/vfs.pyx)."""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

from engine.vfs import FAILPOINT_NAMES

KILL, WAIT, FAIL, STOP = 1, 2, 3, 4
SETTING = struct.Struct("<IIQ")  # action, argument, hits
NUMBERS = {name: number for number, name in enumerate(FAILPOINT_NAMES)}


class Failpoints:
    """`environment` makes a child process load them."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(bytes(SETTING.size * len(FAILPOINT_NAMES)))
        self.environment = {"KENNEL_FAILPOINTS": str(path)}
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 0)

    def set(self, name: str, action: int, argument: int = 0) -> None:
        """The argument first: a process may pass in between."""
        at = NUMBERS[name] * SETTING.size
        self._map[at + 4 : at + 8] = argument.to_bytes(4, "little")
        self._map[at : at + 4] = action.to_bytes(4, "little")

    def clear(self, name: str) -> None:
        self.set(name, 0)

    def hits(self, name: str) -> int:
        return int(SETTING.unpack_from(self._map, NUMBERS[name] * SETTING.size)[2])
