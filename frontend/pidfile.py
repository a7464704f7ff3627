"""`<root>/kennel.pid`: who supervises the node. The lock on the file counts, not its content or its existence.

So a file that a power cut or a SIGKILL left behind is no obstacle, and a pid that belongs to another process by now is
never signalled.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from engine.process import CannotStart, Exit

FILE_NAME = "kennel.pid"
_PATIENCE = 0.5  # seconds; whoever asks for the holder has the lock for a moment
_PAUSE = 0.01


@contextlib.contextmanager
def held(root: Path) -> Iterator[None]:
    """Be the supervisor of the node in `root`; CannotStart when it has one. The file is gone after a clean end."""
    path = root / FILE_NAME
    descriptor = _lock(path)
    try:
        os.truncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        yield
        path.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def holder(root: Path) -> int | None:
    """The pid of the node's supervisor, None when it has none."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            descriptor = os.open(root / FILE_NAME, os.O_RDONLY | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            if _try(descriptor, fcntl.LOCK_SH):
                return None
            content = os.read(descriptor, 32)
        finally:
            os.close(descriptor)
        # It is empty for the moment between the holder's lock and its writing.
        if content.strip().isdigit() or time.monotonic() > deadline:
            return int(content or 0)
        time.sleep(_PAUSE)


def terminate(root: Path, timeout: float) -> bool | None:
    """Ask the supervisor to stop the node and wait for its end. None: there was none; False: it did not end in time."""
    pid = holder(root)
    if not pid:
        return None
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return None
    try:
        if holder(root) != pid:  # it ended, and the pid may be another process's by now
            return None
        signal.pidfd_send_signal(process, signal.SIGTERM)
        ended, _, _ = select.select([process], [], [], timeout)
        return bool(ended)
    finally:
        os.close(process)


def _lock(path: Path) -> int:
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise CannotStart(Exit.ROOT, f"{path} cannot be written: {error.strerror}") from error
        # The file may have been removed by the former holder between open and lock.
        if _try(descriptor, fcntl.LOCK_EX) and _is_at(descriptor, path):
            return descriptor
        os.close(descriptor)
        if time.monotonic() > deadline:
            raise CannotStart(Exit.HELD, f"the node in {path.parent} is already running")
        time.sleep(_PAUSE)


def _try(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
