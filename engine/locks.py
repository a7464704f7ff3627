"""Locks on files, each held by one thread of one process. They go when their holder dies."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

PAUSE = 0.002  # seconds between attempts


@contextmanager
def lock(path: Path, patience: float = 0.0, gives_up: Callable[[], bool] = lambda: False) -> Iterator[bool]:
    """Holds the lock while the block runs; gives whether it does. Another holder is waited for, up to `patience`
    seconds or until `gives_up` says so."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        deadline = time.monotonic() + patience
        while not (held := _try(descriptor)) and time.monotonic() < deadline and not gives_up():
            time.sleep(PAUSE)
        yield held
    finally:
        fcntl.flock(descriptor, fcntl.LOCK_UN)  # closing would not do: a child forked meanwhile shares the lock
        os.close(descriptor)


def _try(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
