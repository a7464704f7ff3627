"""The library that stands between a process and the C library (interposer.c): built, loaded, told what to do; and the
record that it leaves."""

from __future__ import annotations

import ctypes
import os
import struct
import subprocess
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

SOURCE = Path(__file__).with_suffix(".c")
HEAD = struct.Struct("<BQQI")


class Call(IntEnum):
    """Kinds of calls that can be made to fail."""

    READ = 0
    WRITE = 1
    SYNC = 2  # of files, directories, mappings
    SPACE = 3  # allocating and cutting
    MEMORY = 4  # the engine's own
    MAP = 5  # the engine's own
    OPEN = 6
    NAME = 7  # making, linking, renaming and removing names and directories
    INTERPRETER = 8  # its memory; with PYTHONMALLOC=malloc


@dataclass(frozen=True, slots=True)
class Event:
    """The members mean what interposer.c says for the kind."""

    kind: str
    inode: int
    offset: int
    data: bytes


def build(directory: Path) -> Path:
    """The library, compiled into this directory."""
    library = directory / "interposer.so"
    compiler = (sysconfig.get_config_var("CC") or "cc").split()
    subprocess.run([*compiler, "-O2", "-shared", "-fPIC", "-pthread", "-o", str(library), str(SOURCE)], check=True)
    return library


def environment(library: Path, watched: Path, record: Path | None = None) -> dict[str, str]:
    """For a process that is to run with it. Its record goes to a file outside of the watched directory."""
    preloaded = [path for path in (os.environ.get("LD_PRELOAD"), str(library)) if path]
    added = {"LD_PRELOAD": ":".join(preloaded), "INTERPOSER_DIRECTORY": str(watched)}
    return os.environ | added | ({"INTERPOSER_RECORD": str(record)} if record is not None else {})


def read_events(record: Path) -> Iterator[Event]:
    content, at = record.read_bytes(), 0
    while at < len(content):
        kind, inode, offset, size = HEAD.unpack_from(content, at)
        at += HEAD.size
        yield Event(chr(kind), inode, offset, content[at : at + size])
        at += size


class Interposer:
    """The one that is loaded into this process."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(None)
        self._library.interposer_arm.argtypes = [ctypes.c_int, ctypes.c_long, ctypes.c_long, ctypes.c_int]
        self._library.interposer_seen.restype = ctypes.c_long

    def note(self, text: str) -> None:
        """Puts a note into the record."""
        self._library.interposer_note(text.encode())

    def watch(self, directory: Path) -> None:
        self._library.interposer_watch(os.fsencode(directory))

    def arm(self, call: Call, first: int, last: int, error: int) -> None:
        """Makes the calls number `first` to `last` from now on fail with this errno; writes with 0 stop half way."""
        self._library.interposer_arm(call, first, last, error)

    def disarm(self) -> None:
        self._library.interposer_disarm()

    def seen(self, call: Call) -> int:
        """How many of these calls there were since `arm`."""
        return int(self._library.interposer_seen(call))
