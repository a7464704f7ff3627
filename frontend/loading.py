"""Files of records on their way into a table: read piece by piece, written in chunks, each of them atomic."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import engine

CHUNK_RECORDS = 1000
CHUNK_BYTES = 4 << 20  # of the file
ACTIONS = ("insert", "update", "upsert")

Record = dict[str, Any]


def load(
    chunks: Iterable[list[Record]],
    table: engine.Table,
    action: str,
    user: str,
    before: Callable[[list[Record]], None],
    progress: Callable[[str], None],
) -> tuple[int, int]:
    """Write records chunk by chunk; gives how many were written, and found.

    `before` is called with each chunk and raises if the user may not write it; `progress` with what is done so far.
    While one chunk is written the next one is read, so at most two of them are in memory.
    """
    write = {"insert": table.insert, "update": table.update, "upsert": table.upsert}[action]
    found = written = 0
    with ThreadPoolExecutor(1, thread_name_prefix="load") as writer:
        under_way: Future[engine.WriteResult] | None = None
        for chunk in chunks:
            before(chunk)
            if under_way is not None:
                written += len(under_way.result().written)
                progress(f"loaded {written} of {found} records so far")
            under_way = writer.submit(write, chunk, user=user)
            found += len(chunk)
        if under_way is not None:
            written += len(under_way.result().written)
    return written, found
