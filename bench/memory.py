"""How much memory the processes of a node take: summed proportional set sizes without the pages of files.

Left out are the pages that the kernel keeps for files anyway and takes back when it needs room: code, logs, indexes.
"""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path
from types import TracebackType

import psutil

SAMPLES_APART = 0.1  # seconds
_COUNTED = ("Pss_Anon:", "Pss_Shmem:")


def of_node(root: Path) -> dict[str, int]:
    """Bytes of each process of the node in `root`, by its module and pid."""
    supervisor = psutil.Process(int((root / "kennel.pid").read_text().split()[0]))
    found: dict[str, int] = {}
    for process in (supervisor, *supervisor.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
            found[f"{_module(process)} {process.pid}"] = of_process(process.pid)
    return found


def of_process(pid: int) -> int:
    """Bytes; FileNotFoundError or ProcessLookupError once it has ended."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(_COUNTED)) * 1024


def _module(process: psutil.Process) -> str:
    words = process.cmdline()
    return words[words.index("-m") + 1] if "-m" in words else process.name()


class Peak:
    """Watches a node while the block runs; `bytes` is the most that all its processes took together."""

    def __init__(self, root: Path) -> None:
        self.bytes = 0
        self.by_process: dict[str, int] = {}
        self._root = root
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="memory", daemon=True)

    def __enter__(self) -> Peak:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ending.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            taken = of_node(self._root)
            if sum(taken.values()) > self.bytes:
                self.bytes, self.by_process = sum(taken.values()), taken
            if self._ending.wait(SAMPLES_APART):
                return
