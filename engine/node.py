"""The node process: everything a node does by itself, `python -m engine.node --root DIR [--PARAM value]…`.

It holds the maintenance lock, looks after the tables, runs replication when clustering is enabled, and serves the
control socket. Under a supervisor it is one process of several; alone it is a node without the HTTP API.

It also runs parts that the engine does not know, such as the jobs of the layers above: modules with a function
`start(node)`, whose result has `operations()` for the control socket, and `close()`. They are those that installed
distributions name as entry points of the group `kennel.parts`, or the one that `--extension MODULE` names.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import engine
from engine import configuration, control, logs
from engine.configuration import Configuration
from engine.locks import lock
from engine.process import CannotStart, Exit, die_with, explanation, status_of
from engine.rotation import Rotation
from engine.upkeep import LOCK_NAME

PARTS = "kennel.parts"  # the group of entry points
MAINTENANCE_INTERVAL = 1.0  # seconds
BUSY_INTERVAL = 0.1  # seconds, while there is a lot to do
LOCK_PATIENCE = 5.0  # seconds to wait for a predecessor, or an embedded process at maintenance, to let go

log = logging.getLogger("engine.node")  # not __name__, which is __main__ in the process itself


class Part(Protocol):
    """Something that runs in the node process for as long as that lives."""

    def operations(self) -> dict[str, control.Operation]:
        """What it adds to the control socket."""

    def close(self) -> None: ...


def main(arguments: list[str] | None = None) -> int:
    """Run a node process until SIGTERM or SIGINT; gives its exit status."""
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    try:
        given = configuration.parse_arguments(sys.argv[1:] if arguments is None else arguments)
        parent = given.pop("parent", None)
        if parent is not None:
            die_with(int(parent))
        root, extension = _root(given), given.pop("extension", None)
        with _maintenance_lock(root, stopping):
            serve(root, _configuration(root, given), stopping, extension)
    except (engine.KennelError, CannotStart) as error:
        print(f"kennel: {explanation(error)}", file=sys.stderr)
        return status_of(error)
    return Exit.OK


def serve(root: Path, settings: Configuration, stopping: threading.Event, extension: str | None = None) -> None:
    """Open the node and be its node process until `stopping` is set; `extension` names a module, see above."""
    logs.configure(settings, "node")
    rotation = Rotation(settings)
    started = time.monotonic()
    with engine.open_node(root) as node:
        parts = list(_parts(node, settings, extension))
        operations: dict[str, control.Operation] = {
            "status": lambda body: _status(started),
            "routes_changed": lambda body: None,
        }
        for part in parts:
            operations |= part.operations()
        server = control.Server(root, operations)
        thread = threading.Thread(target=server.serve, name="control-accept", daemon=True)
        thread.start()
        try:
            busy, looked = False, time.monotonic()
            while not stopping.wait(BUSY_INTERVAL):
                if busy or time.monotonic() - looked > MAINTENANCE_INTERVAL or node.is_upkeep_due():
                    busy, looked = _maintain(node, rotation), time.monotonic()
        finally:
            server.close()
            for part in parts:
                part.close()


def _parts(node: engine.Node, settings: Configuration, extension: str | None) -> Iterator[Part]:
    if settings.get("clustering.enabled"):
        from engine import replication  # here: a node without a cluster needs no ZeroMQ

        yield replication.start(node, settings)
    named = [extension] if extension is not None else sorted({point.value for point in _entry_points()})
    for name in named:
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError as error:
            raise CannotStart(Exit.USAGE, f"there is no extension {name}: {error}") from error
        yield module.start(node)


def _entry_points() -> importlib.metadata.EntryPoints:
    return importlib.metadata.entry_points(group=PARTS)


def _maintain(node: engine.Node, rotation: Rotation) -> bool:
    """Look after the tables and the log; trouble with either must not end replication and control. Gives whether tables
    change so fast that this is to be done again soon."""
    busy = False
    try:
        busy = node.maintain()
    except engine.KennelError:
        log.exception("maintenance failed; it will be tried again")
    try:
        rotation.look_after()
    except OSError as error:
        log.error("the log cannot be rotated: %s", error)
    return busy


def _status(started: float) -> dict[str, Any]:
    return {"pid": os.getpid(), "uptime": time.monotonic() - started, "version": engine.__version__}


def _root(given: dict[str, str]) -> Path:
    named = given.pop("root", None) or given.pop("rootpath", None)
    if not named:
        raise CannotStart(Exit.USAGE, "python -m engine.node needs --root DIR")
    root = Path(named).expanduser().absolute()
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise engine.RootError(f"{root} cannot be used: {error.strerror}") from error
    return root


def _configuration(root: Path, given: dict[str, str]) -> Configuration:
    unknown = configuration.unknown_parameters(given)
    if unknown:
        raise CannotStart(Exit.USAGE, f"unknown parameter --{unknown[0]}")
    return configuration.change(root, given) if given else Configuration.load(root)


@contextlib.contextmanager
def _maintenance_lock(root: Path, stopping: threading.Event) -> Iterator[None]:
    """Hold the lock that makes this process the node process of `root`."""
    with lock(root / LOCK_NAME, LOCK_PATIENCE, stopping.is_set) as held:
        if not held:
            raise CannotStart(Exit.HELD, f"another process has {root} in its hands")
        yield


if __name__ == "__main__":
    sys.exit(main())
