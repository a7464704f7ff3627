"""A second process with the same node open. `Neighbour` is the test's side; the module run as a script is the other.

They speak lines of JSON. With every request comes the time that expiration goes by.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import engine
from engine import expiration, keys


class Neighbour:
    """Started once, for many nodes; and again if it dies, or does not answer before a time-out."""

    def __init__(self) -> None:
        self._process = _start()

    def _ask(self, *request: Any) -> Any:
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps([expiration.clock(), *request]) + "\n")
            self._process.stdin.flush()
            return json.loads(self._process.stdout.readline())
        except BaseException:  # an answer that comes later would be taken for that of the next request
            self._process.kill()
            self._process.wait()
            raise

    def open(self, root: Path) -> None:
        if self._process.poll() is not None:
            self._process = _start()
        self._ask("open", str(root))

    def close(self) -> None:
        if self._process.poll() is None:
            self._ask("close")

    def write(self, table: str, kind: str, records: list[Any]) -> tuple[list[Any], list[Any], int]:
        """(written keys, skipped keys, version)."""
        written, skipped, version = self._ask("write", table, kind, records)
        return written, skipped, version

    def rows(self, table: str) -> list[dict[str, Any]]:
        """In the order of their keys."""
        found: list[dict[str, Any]] = self._ask("rows", table)
        return found

    def end(self) -> None:
        self._process.communicate()


def _start() -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


# --- the process -----------------------------------------------------------------------------------------------------


def obey(node: engine.Node, do: str, arguments: list[Any]) -> Any:
    table = node.table("dev", arguments[0])
    if do == "write":
        result = getattr(table, arguments[1])(arguments[2])
        return result.written, result.skipped, result.version
    with table.view() as view:
        return list(view.scan(table.primary_key, keys.EVERYTHING))


def main() -> None:
    node: engine.Node | None = None
    for line in sys.stdin:
        now, do, *arguments = json.loads(line)
        expiration.clock = lambda now=now: now
        answer = None
        if do == "open":
            node = engine.open_node(arguments[0])
        elif node is not None and do == "close":
            node.close()
            node = None
        elif node is not None:
            answer = obey(node, do, arguments)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
