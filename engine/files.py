"""Files of the root directory that must be there, whole, after a power cut."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from engine.errors import DiskFull, KennelError, RootError


def replace_file(path: Path, content: bytes) -> None:
    """Put a file in its place so that whoever looks, and a power cut, meets the old or the new one whole."""
    draft = path.with_name(path.name + ".new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.rename(path)
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def failure(place: Path, error: OSError) -> KennelError | MemoryError:
    """The engine's error for one of the operating system."""
    if error.errno == errno.ENOMEM:
        return MemoryError()
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull(f"no space left for {place}")
    return RootError(f"{place} cannot be used: {error.strerror}")
