"""Files of the server's machine that clients may name: which they may read, and where they may write.

Paths are absolute. With `bulk.fileRoots` only files below those directories count; without, any but those of the node
itself and of the kernel's file systems. It matters where a path leads in the end, and that is judged on the open file.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import engine
from frontend.errors import Refused

_KERNEL = tuple(map(Path, ("/proc", "/sys", "/dev")))


def open_for_reading(node: engine.Node, path: str) -> BinaryIO:
    """A regular file; 400 with the reason why it is refused."""
    if not path.startswith("/"):
        raise Refused(400, f"No such file or directory {path}")
    try:
        # Without waiting, should it be a pipe.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        raise Refused(400, f"No such file or directory {path}") from None
    except OSError:
        raise Refused(400, f"Permission denied {path}") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode) or not _is_allowed(node, descriptor):
        os.close(descriptor)
        raise Refused(400, f"Permission denied {path}")
    return os.fdopen(descriptor, "rb")


def write(node: engine.Node, directory: str, name: str, pieces: Iterable[bytes]) -> str:
    """Write a file as a whole, replacing one of the same name; gives its path. 400 with the reason for a refusal."""
    if not name or "/" in name or "\0" in name or name in (".", ".."):
        raise Refused(400, f"filename '{name}' is invalid")
    if not directory.startswith("/"):
        raise Refused(400, f"path '{directory}' does not exist")
    try:
        place = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (FileNotFoundError, ValueError):
        raise Refused(400, f"path '{directory}' does not exist") from None
    except NotADirectoryError:
        text = f"path '{directory}' is not a directory, please supply a valid folder path"
        raise Refused(400, text) from None
    except OSError:
        raise Refused(400, f"access to path '{directory}' is denied") from None
    try:
        if not _is_allowed(node, place):
            raise Refused(400, f"access to path '{directory}' is denied")
        _replace(place, name, pieces)
    except IsADirectoryError:
        raise Refused(400, f"filename '{name}' is invalid") from None
    except PermissionError:
        raise Refused(400, f"access to path '{directory}' is denied") from None
    finally:
        os.close(place)
    return str(Path(directory) / name)


def _replace(place: int, name: str, pieces: Iterable[bytes]) -> None:
    draft = f".{name}.{secrets.token_hex(4)}.tmp"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(draft, flags, 0o600, dir_fd=place), "wb") as file:
        try:
            file.writelines(pieces)
            file.flush()
            os.fsync(file.fileno())
            os.rename(draft, name, src_dir_fd=place, dst_dir_fd=place)
        except BaseException:
            os.unlink(draft, dir_fd=place)
            raise


def _is_allowed(node: engine.Node, descriptor: int) -> bool:
    path = Path(f"/proc/self/fd/{descriptor}").resolve()
    roots = [Path(root).resolve() for root in node.configuration.get("bulk.fileRoots") or ()]
    if roots:
        return any(path.is_relative_to(root) for root in roots)
    return not any(path.is_relative_to(place) for place in (node.root.resolve(), *_KERNEL))
