"""Makes the golden data directory of the format that this version writes: `python -m tests.golden.make [DIRECTORY]`.

Once made it stays as it is: later versions must open it (test_golden.py), or refuse it with a clear text. It holds
what a format can get wrong: every kind of value and key, records in several states, deletions, a dropped attribute,
users, transactions of another node, a compacted log, a declared table. Indexes are left out, they are made again from
the log.
"""

from __future__ import annotations

import json
import sys
import tarfile
import tempfile
import uuid
from pathlib import Path
from typing import Any

import engine
from engine.feed import RemoteTransaction, Writer
from engine.history import Change
from engine.logfile import FORMAT

HERE = Path(__file__).parent
LARGE, SMALL = 2**63 - 1, -(2**63)
NESTED = [[], [1, "a", None, [2]], {"a": {"b": 1}}]
VALUES = [None, True, False, 0, -1, LARGE, SMALL, 0.1, 1e300, "", "é\0😀", "x" * 5000, *NESTED]
KEYS: list[Any] = [1, -1, 0.5, "text", "é\0", ["a", 1], 2**53 + 1]


def fill(node: engine.Node) -> None:
    values = node.create_table("golden", "values")
    values.insert([{"id": number, "value": value} for number, value in enumerate(VALUES)], user="ann")
    values.insert([{"id": 100, **{f"attribute {number}": number for number in range(300)}}])
    keys = node.create_table("golden", "keys", "the key")
    keys.insert([{"the key": key, "n": number} for number, key in enumerate(KEYS)])
    keys.update([{"the key": 1, "n": "updated", "more": [1]}], user="bob")
    keys.delete([-1, "text"])
    keys.drop_attribute("more")
    declared = [engine.Attribute("name"), engine.Attribute("age", "Int"), engine.Attribute("note", indexed=False)]
    node.create_table("golden", "declared", "name", attributes=declared).insert(
        [{"name": "Tom", "age": 3, "note": "x"}]
    )
    node.create_table("golden", "empty")
    fill_replicated(node.create_table("golden", "replicated"))
    fill_compacted(node, node.create_table("golden", "compacted"))


def fill_replicated(table: engine.Table) -> None:
    table.insert([{"id": 1, "from": "here"}, {"id": 2, "from": "here"}])
    writer = Writer(str(uuid.UUID(int=7)), 9, "another node")
    now = 1_800_000_000_000_000
    changes = [
        Change("put", 1, {"from": "there"}, now, now, False, None),
        Change("put", 2, {"from": "too early"}, 5, 5, False, None),
        Change("put", 3, {"from": "there"}, now, now, False, None),
    ]
    table.feed.apply(RemoteTransaction(writer, 1, now, "eve", "upsert", changes))


def fill_compacted(node: engine.Node, table: engine.Table) -> None:
    for turn in range(12):
        table.upsert([{"id": number, "turn": turn, "pad": "x" * 1000} for number in range(50)])
    table.delete([0, 1])
    for _ in range(2):
        node.maintain(0)


def contents(node: engine.Node) -> dict[str, Any]:
    """What must be found again: records in key order, attributes, and the transactions of uncompacted tables."""
    found: dict[str, Any] = {}
    for name in node.tables("golden"):
        table = node.table("golden", name)
        with table.view() as view:
            found[name] = {
                "records": list(view.scan(table.primary_key)),
                "attributes": view.attributes,
                "origins": sorted(f"{node} {epoch} {last}" for (node, epoch), last in table.feed.applied().items()),
                "users": sorted({transaction.user or "" for transaction in table.transactions()}),
            }
    return found


def make(target: Path) -> None:
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory) / "root"
        with engine.open_node(root) as node:
            fill(node)
            expected = json.dumps(contents(node), ensure_ascii=False, indent=1)
        (root / "expected.json").write_text(expected)
        with tarfile.open(target / f"format-{FORMAT}.tar.gz", "w:gz", compresslevel=9) as tar:
            for path in sorted(root.rglob("*")):
                if path.suffix in (".log", ".json", ".id"):
                    tar.add(path, path.relative_to(root).as_posix())


if __name__ == "__main__":
    make(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
