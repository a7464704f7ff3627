"""Rotation of the node's log, as `logging.rotation.*` says: by one process, while all of them write.

A log that has grown to `maxSize`, or whose first line is older than `interval`, is renamed in its own directory (to
HDB-YYYY-MM-DDT-HH-MM-SSZ.log); the writers open a new one with their next line. Once nobody can be writing to it any
more, it is compressed if asked for, and moved to `rotation.path`. What a crash leaves undone a later round does.
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from engine.configuration import Configuration
from engine.logs import FILE_NAME
from engine.settings import octets

PATTERN = "HDB-*Z*.log"
SETTLED = 10.0  # seconds without a change, after which no writer has the renamed file still in its hands
UNITS = {"D": 86400, "H": 3600, "M": 60}  # seconds


def _now() -> datetime:
    return datetime.now(UTC)


class Rotation:
    """The log of one node. `look_after` is to be called every now and then; nothing happens unless it is enabled."""

    def __init__(self, configuration: Configuration, clock: Callable[[], datetime] = _now) -> None:
        get = configuration.get
        self._directory = Path(get("logging.root"))
        self._target = Path(get("logging.rotation.path"))
        self._compress = get("logging.rotation.compress")
        self._most = octets(get("logging.rotation.maxSize")) if get("logging.rotation.maxSize") else None
        self._interval = _span(get("logging.rotation.interval")) if get("logging.rotation.interval") else None
        self._enabled = get("logging.rotation.enabled") and get("logging.file")
        self._clock = clock
        self._began: tuple[int, datetime] | None = None  # inode and time of the first line of the present log

    def look_after(self) -> None:
        """One round. OSError when files cannot be moved or written."""
        if not self._enabled:
            return
        for path in self._directory.glob(PATTERN):
            if self._clock().timestamp() - path.stat().st_mtime >= SETTLED:
                self._put_away(path)
        path = self._directory / FILE_NAME
        if self._is_due(path):
            path.rename(_free_name(path.with_name(f"HDB-{self._clock():%Y-%m-%dT-%H-%M-%S}Z.log")))

    def _is_due(self, path: Path) -> bool:
        try:
            found = path.stat()
        except FileNotFoundError:
            return False
        if not found.st_size:
            return False
        if self._most is not None and found.st_size >= self._most:
            return True
        return self._interval is not None and self._clock() - self._start(path, found.st_ino) >= self._interval

    def _start(self, path: Path, inode: int) -> datetime:
        """The time of the first line; that of the last change when the line does not tell."""
        if self._began is None or self._began[0] != inode:
            with path.open(encoding="utf-8", errors="replace") as file:
                first = file.readline()
            try:
                moment = datetime.fromisoformat(json.loads(first)["timestamp"])
            except (ValueError, TypeError, KeyError):
                moment = datetime.fromtimestamp(path.stat().st_mtime, UTC)
            self._began = inode, moment
        return self._began[1]

    def _put_away(self, path: Path) -> None:
        if self._compress:
            packed = _free_name(self._target / f"{path.name}.gz")
            draft = packed.with_name(f".{packed.name}.tmp")
            with path.open("rb") as file, gzip.open(draft, "wb") as out:
                shutil.copyfileobj(file, out)
            draft.rename(packed)
            path.unlink()
        elif self._target.resolve() != self._directory.resolve():
            shutil.move(path, _free_name(self._target / path.name))


def _span(text: str) -> timedelta:
    """The time in 1D, 12H or 30M (minutes)."""
    return timedelta(seconds=int(text[:-1]) * UNITS[text[-1].upper()])


def _free_name(path: Path) -> Path:
    """This path, or one with a number in it when there is such a file."""
    stem, dot, ending = path.name.partition(".")
    candidate, number = path, 1
    while os.path.lexists(candidate):
        number += 1
        candidate = path.with_name(f"{stem}-{number}{dot}{ending}")
    return candidate
