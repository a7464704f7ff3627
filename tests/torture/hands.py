"""Processes with a table open that do what a test tells them, one thing at a time.

`Hand` is the test's side; the module run as a script is the other. They speak lines of JSON.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from engine import keys
from engine.compaction import compact
from engine.errors import KennelError
from engine.history import History
from engine.store import Store

DEADLINE = 30.0  # seconds after which somebody hangs


class Dead(Exception):
    """The process has ended instead of answering."""


class Hand:
    def __init__(self, directory: Path, table_id: bytes, environment: dict[str, str], **options: Any) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(directory), table_id.hex(), json.dumps(options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | environment,
        )
        self._unread = b""

    def send(self, do: str, *arguments: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([do, *arguments]).encode() + b"\n")
        self._process.stdin.flush()

    def reply(self) -> Any:
        """The answer to what was sent; the errors of the engine come as their names. Dead."""
        deadline = time.monotonic() + DEADLINE
        while not self.has_replied():
            assert time.monotonic() < deadline, "no answer"
            select.select([self._process.stdout], [], [], 0.05)
        line, _, self._unread = self._unread.partition(b"\n")
        return json.loads(line)

    def has_replied(self) -> bool:
        assert self._process.stdout is not None
        while b"\n" not in self._unread and select.select([self._process.stdout], [], [], 0)[0]:
            more = os.read(self._process.stdout.fileno(), 1 << 20)
            if not more:
                self._process.wait()
                raise Dead
            self._unread += more
        return b"\n" in self._unread

    def ask(self, do: str, *arguments: Any) -> Any:
        self.send(do, *arguments)
        return self.reply()

    def write(self, kind: str, *records: Any) -> Any:
        return self.ask("write", kind, records)

    def dies_at(self, do: str, *arguments: Any) -> bool:
        """Whether it is killed by what it is asked to do."""
        try:
            self.ask(do, *arguments)
        except Dead:
            return True
        return False

    def stop(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """Ends without closing anything, like a process that is killed while it does nothing."""
        self.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


def wait_until(condition: Any) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, "it does not happen"
        time.sleep(0.002)


# --- the process -----------------------------------------------------------------------------------------------------


def obey(store: Store, do: str, arguments: list[Any], views: list[Any]) -> Any:
    if do == "write":
        kind, records = arguments
        written, skipped, _ = store.write(kind, records)
        return [written, skipped]
    if do == "rows":
        return rows(store)
    if do == "log":
        return [each.seq for each in History(store).read(0, limit=10**6, max_bytes=1 << 30)]
    if do == "views":
        views += [store.view() for _ in range(arguments[0])]
        return len(views)
    if do == "compact":
        return compact(store, keep_from=store.generation + 1, forget_before=0, largest=64 << 20)
    if do == "generation":
        return store.generation
    return getattr(store, do)(*arguments)


def rows(store: Store) -> dict[str, Any]:
    """Primary key as text -> the record without its times."""
    view = store.view()
    try:
        return {
            str(row["id"]): {name: value for name, value in row.items() if name[0] != "_"}
            for row in view.scan("id", keys.EVERYTHING)
        }
    finally:
        view.close()


def main() -> None:
    directory, table_id, options = sys.argv[1:]
    views: list[Any] = []
    store: Store | None = None
    for line in sys.stdin:
        do, *arguments = json.loads(line)
        try:
            if store is None:
                store = Store(directory, bytes.fromhex(table_id), **json.loads(options))
            answer = obey(store, do, arguments, views)
        except KennelError as error:
            answer = type(error).__name__
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
