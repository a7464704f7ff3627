"""What a statement may use, over HTTP: time, memory, and only as long as somebody waits for it."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from nodes import RealNode, basic, eventually

import engine
from frontend.limits import while_connected

ENDLESS = "SELECT COUNT(*) FROM dev.dog x, dev.dog y, dev.dog z WHERE x.id + y.id + z.id < 0"
ROWS = 2_000


def fill(node: RealNode) -> None:
    assert node.post("create_table", schema="dev", table="dog", hash_attribute="id")[0] == 200
    records = [{"id": key, "name": f"dog {key:0500}"} for key in range(ROWS)]
    assert node.post("insert", schema="dev", table="dog", records=records)[0] == 200


def test_a_statement_beyond_its_limits_is_refused_and_a_job_has_limits_of_its_own(
    make_node: Callable[..., RealNode], tmp_path: Path
) -> None:
    node = make_node()
    node.start_or_fail("--SQL_TIMEOUT", "400", "--SQL_MAXMEMORY", "1M", "--HTTP_WORKERS", "1")
    fill(node)
    assert node.sql(ENDLESS) == (504, {"error": "The statement takes longer than 0.4 seconds."})
    text = "The statement needs more than 1 MiB of memory."
    assert node.sql("SELECT * FROM dev.dog") == (400, {"error": text})
    assert node.sql("SELECT COUNT(*) AS n FROM (SELECT id FROM dev.dog ORDER BY name || 'x') q") == (200, [{"n": ROWS}])
    assert list((node.root / "spill").iterdir()) == []

    export = {"operation": "sql", "sql": "SELECT * FROM dev.dog"}
    status, started = node.post(
        "export_local", path=str(tmp_path), filename="dogs", format="json", search_operation=export
    )
    assert status == 200, started
    finished = eventually(
        lambda: next((job for job in node.post("get_job", id=started["job_id"])[1] if "end_datetime" in job), None)
    )
    assert finished is not None and finished["status"] == "COMPLETE", finished
    assert len(json.loads((tmp_path / "dogs.json").read_text())) == ROWS


def test_a_statement_ends_when_its_client_goes(make_node: Callable[..., RealNode]) -> None:
    node = make_node()
    node.start_or_fail("--SQL_TIMEOUT", "0", "--HTTP_WORKERS", "1", "--HTTP_THREADS", "1")
    fill(node)
    body = json.dumps({"operation": "sql", "sql": ENDLESS}).encode()
    head = f"POST / HTTP/1.1\r\nHost: x\r\nAuthorization: {basic()}\r\nContent-Type: application/json\r\n"
    with socket.create_connection(("127.0.0.1", node.port)) as client:
        client.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        client.settimeout(1.0)
        with pytest.raises(TimeoutError):
            client.recv(1)
    assert node.sql("SELECT 1 AS a") == (200, [{"a": 1}])  # by the only thread there is


def test_a_client_that_says_more_has_not_gone() -> None:
    one, other = socket.socketpair()
    with one:
        watch = while_connected(one)
        assert watch is not None
        with other:
            watch()
            other.sendall(b"the next request")
            watch()
        with pytest.raises(engine.Cancelled, match="closed the connection"):
            watch()
