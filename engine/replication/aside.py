"""Transactions of other nodes that could not be applied: kept in `<root>/replication/aside.jsonl`, one JSON object a
line, for somebody to look at. The stream goes on without them."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections import Counter
from pathlib import Path

from engine.replication.messages import Entry, Stream

MAX_BYTES = 256 << 20  # beyond this, what is set aside is only counted

log = logging.getLogger(__name__)


class Aside:
    """The file and how many entries it has per stream."""

    def __init__(self, root: Path) -> None:
        self._path = root / "replication" / "aside.jsonl"
        self.counts: Counter[Stream] = Counter()
        self._writing = threading.Lock()
        if self._path.exists():
            self._count()

    def keep(self, stream: Stream, entry: Entry, reason: str) -> None:
        """Durable when it returns. OSError when the file cannot be written."""
        line = {
            "time": time.time(),
            "schema": stream.schema,
            "table": stream.table,
            "node": entry.node,
            "name": entry.name,
            "epoch": entry.epoch,
            "number": entry.number,
            "version": entry.version,
            "reason": reason,
            "content": entry.payload.decode(errors="backslashreplace"),
        }
        with self._writing:
            self._append(json.dumps(line).encode() + b"\n")
            self.counts[stream] += 1

    def _append(self, line: bytes) -> None:
        self._path.parent.mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            if os.fstat(descriptor).st_size < MAX_BYTES:
                os.write(descriptor, line)
                os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _count(self) -> None:
        with self._path.open("rb") as lines:
            for line in lines:
                try:
                    kept = json.loads(line)
                    self.counts[Stream(kept["schema"], kept["table"])] += 1
                except (ValueError, KeyError, TypeError):
                    log.warning("%s has a line that is not whole", self._path)
