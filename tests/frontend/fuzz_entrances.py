"""A coverage-guided fuzzer of one entrance of the front end: `python fuzz_entrances.py ENTRANCE ROOT SEEDS [option…]`.

ENTRANCE is json, cbor, msgpack (a body of `POST /` in this format, through all of the operations API, as super user),
csv or records (a file to be loaded). ROOT is where its node may be, SEEDS a directory for the inputs found so far; the
options are those of libFuzzer. It ends with an error at the first answer that is a fault of ours, at a hang, and when
memory passes the limit.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import atheris

with atheris.instrument_imports(include=["frontend", "grammar", "cbor2"], enable_loader_override=False):
    import cbor2
    import msgspec

    import engine
    from frontend import authentication, csv_load, json_load
    from frontend.app import respond
    from frontend.errors import Refused
    from frontend.operations import Operations

CONTENT_TYPES = {"json": "application/json", "cbor": "application/cbor", "msgpack": "application/x-msgpack"}
ENCODERS: dict[str, Callable[[Any], bytes]] = {
    "json": lambda value: json.dumps(value).encode(),
    "cbor": cbor2.dumps,
    "msgpack": msgspec.msgpack.encode,
}
DOG = {"schema": "dev", "table": "dog"}
MOST_ROWS = 1000
REQUESTS: list[dict[str, Any]] = [
    {"operation": "insert", **DOG, "records": [{"id": 1, "name": "Penny", "tags": ["a", None, 1.5, {"b": True}]}]},
    {"operation": "upsert", **DOG, "records": [{"id": [1, "a"], "n": -(2**63)}, {"name": "\u20ac\x00"}]},
    {"operation": "search_by_hash", **DOG, "hash_values": [1, "a"], "get_attributes": ["*"]},
    {"operation": "search_by_value", **DOG, "search_attribute": "name", "search_value": "P*", "limit": 3},
    {
        "operation": "search_by_conditions",
        **DOG,
        "operator": "or",
        "sort": {"attribute": "id", "descending": True},
        "conditions": [
            {"search_attribute": "n", "search_type": "between", "search_value": [1, 2]},
            {"conditions": [{"attribute": "name", "comparator": "sw", "value": ""}]},
        ],
    },
    {"operation": "sql", "sql": "SELECT name, COUNT(*) FROM dev.dog WHERE id > ? GROUP BY name", "parameters": [1]},
    {"operation": "add_role", "role": "r", "permission": {"dev": {"tables": {"dog": {"read": True}}}}},
    {"operation": "describe_all"},
]
FILES = {
    "csv": [b'id,name,n\r\n1,"Pen""ny",1.5\r\n\r\n2,,true\n3,"a\nb",2020-01-01T00:00:00Z\n', b"\xef\xbb\xbfid\n-1"],
    "records": [b'[{"id": 1, "name": "Penny"}, {"id": -1.5e3, "a": [null, {"b": "\\u20ac"}]}]', b" [ ] "],
}


def main() -> None:
    entrance, root, seeds, *options = sys.argv[1:]
    for number, seed in enumerate(FILES.get(entrance) or map(ENCODERS[entrance], REQUESTS)):
        (Path(seeds) / f"seed{number}").write_bytes(seed)
    with engine.open_node(Path(root)) as node:
        authentication.create_first_user(node, "admin", "pw")
        node.create_table("dev", "dog")
        target = loading(entrance, node) if entrance in FILES else requesting(entrance, node)
        atheris.Setup([sys.argv[0], seeds, *options], target)
        atheris.Fuzz()


def requesting(entrance: str, node: engine.Node) -> Callable[[bytes], None]:
    operations = Operations(node)

    def target(content: bytes) -> None:
        environ = {
            "CONTENT_TYPE": CONTENT_TYPES[entrance],
            "CONTENT_LENGTH": str(len(content)),
            "wsgi.input": io.BytesIO(content),
            "kennel.local_socket": True,
        }
        answer = respond(operations, environ)
        body = b"".join(answer.body)
        if answer.status == 500:
            raise AssertionError((answer.status, body))

    return target


def loading(entrance: str, node: engine.Node) -> Callable[[bytes], None]:
    """The file as chunks of records; those of the first few rows are also written.

    The table is made anew now and then: the fuzzer counts its mapped pages as memory.
    """

    def target(content: bytes) -> None:
        file, table = io.BytesIO(content), node.table("dev", "dog")
        if table.count() >= MOST_ROWS:
            node.drop_table("dev", "dog")
            table = node.create_table("dev", "dog")
        try:
            chunks = json_load.parsed(file) if entrance == "records" else csv_load.parsed(file, table.definition)[1]
            for chunk in chunks:
                table.insert(chunk[:2])
        except (Refused, engine.InvalidRequest):
            pass

    return target


main()
