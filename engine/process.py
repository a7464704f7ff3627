"""What the processes of a node have in common: exit statuses, and how their lives hang together."""

from __future__ import annotations

import ctypes
import os
import signal
from enum import IntEnum

from engine.errors import InvalidRequest, KennelError, RootError

_PR_SET_PDEATHSIG = 1


class Exit(IntEnum):
    """Exit statuses of the command line and of a node's processes."""

    OK = 0
    FAILED = 1  # an operation was refused, or something went wrong that has no status of its own
    USAGE = 2  # a parameter or a value in the configuration is not acceptable
    STOPPED = 3  # the node is not running
    ROOT = 4  # the root directory cannot be used: not writable, no directory, another user's, another format
    PORT = 5  # a port or socket cannot be opened, most likely because something else uses it
    HELD = 6  # another process has the node in its hands
    TIMEOUT = 7  # the node did not answer, or did not stop, in time


class CannotStart(Exception):
    """A process of a node gives up before it serves; the text is one line for the user."""

    def __init__(self, status: Exit, text: str) -> None:
        super().__init__(text)
        self.status = status


def status_of(error: Exception) -> Exit:
    """The exit status with which a process ends that meets this error while it starts."""
    if isinstance(error, CannotStart):
        return error.status
    if isinstance(error, InvalidRequest):
        return Exit.USAGE
    if isinstance(error, RootError):
        return Exit.ROOT
    return Exit.FAILED


def explanation(error: Exception) -> str:
    """The line that a user gets to read about this error."""
    return error.message if isinstance(error, KennelError) else str(error)


def die_with(parent: int) -> None:
    """Have the kernel kill this process when `parent`, which started it, dies; at once if it is dead already."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)
