"""The conventions of HTTP: through Flask's client where that is enough, through gunicorn where it is not."""

from __future__ import annotations

import gzip
import http.client
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import cbor2
import msgspec
import pytest
from conftest import ADMIN, PASSWORD, Api, basic

import engine
from engine import configuration
from frontend.app import create_app
from frontend.authentication import create_first_user

DEADLINE = 20.0

SERVED = """
import os
import engine
from frontend.app import create_app
application = create_app(engine.open_node(os.environ["ROOT"]))
"""


# ------------------------------------------------------------------------------------------------------------ one app


def test_health_needs_no_credentials(api: Api) -> None:
    client = api.app.test_client()
    answer = client.get("/health")
    assert (answer.status_code, answer.text) == (200, "KennelDB is running.")
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert client.head("/health").status_code == 200


def test_other_paths_and_methods_are_refused_in_json(api: Api) -> None:
    client = api.app.test_client()
    assert (client.get("/nope").status_code, client.get("/nope").json) == (404, {"error": "Not found"})
    assert client.post("/nope", data=b"{}").status_code == 404
    wrong = client.get("/")
    assert (wrong.status_code, wrong.headers["Content-Type"]) == (405, "application/json")
    assert "POST" in wrong.headers["Allow"] and wrong.json is not None


def test_every_answer_names_its_server_and_its_time(api: Api) -> None:
    for reply in (api("describe_all"), api("nope"), api.as_nobody()("describe_all")):
        assert reply.headers["Server"] == "KennelDB"
        assert reply.headers["Content-Type"] == "application/json"
        assert reply.headers["Server-Timing"].startswith("db;dur=")


@pytest.mark.parametrize(
    "body", [b"[]", b"null", b"5", b'"x"', b"{}", b'{"operation":null}', b'{"operation":""}', b"[1]", b'{"schema":"x"}']
)
def test_bodies_without_an_operation(api: Api, body: bytes) -> None:
    assert api.send(body).error == (400, "Request body must include an 'operation' property.")
    assert api.as_nobody().send(body).error == (400, "Request body must include an 'operation' property.")


def test_unknown_operations(api: Api) -> None:
    for name in ("nope", "Insert", "describe_all "):
        assert api(name).error == (400, f"Operation '{name}' not found")
    assert api.send(b'{"operation":5}').error == (400, "Operation '5' not found")
    assert api.send(b'{"operation":{"a":[]}}').status == 400


def test_bodies_that_are_too_large_or_of_no_known_type(api: Api) -> None:
    refused = api.send(b"{}", environ={"CONTENT_LENGTH": str((1 << 30) + 1)})
    assert refused.error == (413, "Request body is too large")
    refused = api.send(b"<a/>", {"Content-Type": "application/xml"})
    assert refused.error == (415, "Unsupported Media Type: application/xml")


def test_requests_and_answers_in_other_formats(farm: Api) -> None:
    request = {"operation": "sql", "sql": "SELECT id, name FROM farm.goat ORDER BY id LIMIT 1"}
    expected = [{"id": 1, "name": "Ivy"}]
    for kind, encode, decode in (
        ("application/cbor", cbor2.dumps, cbor2.loads),
        ("application/x-msgpack", msgspec.msgpack.encode, msgspec.msgpack.decode),
    ):
        reply = farm.send(encode(request), {"Content-Type": kind, "Accept": kind})
        assert (reply.status, reply.headers["Content-Type"]) == (200, kind)
        assert decode(reply.body) == expected
        error = farm.send(encode({"operation": "x"}), {"Content-Type": kind, "Accept": kind})
        assert decode(error.body) == {"error": "Operation 'x' not found"}
    reply = farm.send(json.dumps(request).encode(), {"Accept": "text/csv"})
    assert reply.body == b'"id","name"\r\n1,"Ivy"\r\n'
    assert reply.headers["Content-Disposition"] == 'attachment; filename="data.csv"'
    assert farm.send(json.dumps(request).encode(), {"Accept": "application/xml"}).status == 406


def test_large_answers_are_compressed_when_the_client_likes_it(farm: Api) -> None:
    goats = [{"id": number, "name": "x" * 50} for number in range(100, 200)]
    farm.ok("insert", schema="farm", table="goat", records=goats)
    request = b'{"operation":"sql","sql":"SELECT id, name FROM farm.goat WHERE id >= 100 ORDER BY id"}'
    reply = farm.send(request, {"Accept-Encoding": "gzip"})
    assert reply.headers["Content-Encoding"] == "gzip" and "Accept-Encoding" in reply.headers["Vary"]
    assert json.loads(gzip.decompress(reply.body)) == goats
    assert farm.send(request).body == goats
    assert "Content-Encoding" not in farm.send(request, {"Accept-Encoding": "identity"}).headers


@pytest.mark.parametrize(("threshold", "encoding"), [(10, "gzip"), (1_000_000, None), (0, None)])
def test_the_threshold_of_compression_is_a_setting(tmp_path: Path, threshold: int, encoding: str | None) -> None:
    with engine.open_node(tmp_path) as node:
        create_first_user(node, ADMIN, PASSWORD)
    configuration.change(tmp_path, {"http_compressionThreshold": threshold})
    with engine.open_node(tmp_path) as node:
        reply = Api(create_app(node)).send(b'{"operation":"get_configuration"}', {"Accept-Encoding": "gzip"})
        assert reply.status == 200 and reply.headers.get("Content-Encoding") == encoding


def test_without_compression_long_answers_are_not_compressed_either(tmp_path: Path) -> None:
    with engine.open_node(tmp_path) as node:
        create_first_user(node, ADMIN, PASSWORD)
        node.create_table("farm", "goat").insert([{"id": number} for number in range(2500)])
    configuration.change(tmp_path, {"http_compressionThreshold": 0})
    with engine.open_node(tmp_path) as node:
        request = b'{"operation":"sql","sql":"SELECT id FROM farm.goat"}'
        reply = Api(create_app(node)).send(request, {"Accept-Encoding": "gzip"})
        assert len(reply.body) == 2500 and "Content-Encoding" not in reply.headers


def test_integers_of_64_bits_survive_a_round_trip(farm: Api) -> None:
    numbers = [2**63 - 1, -(2**63), 2**53 + 1, 2**64 - 1]
    farm.ok("insert", schema="farm", table="goat", records=[{"id": 50, "n": numbers, "big": 2**53 + 1, "whole": 2.0}])
    reply = farm("search_by_id", schema="farm", table="goat", ids=[50], select=["n", "whole"])
    assert reply.body == [{"n": numbers, "whole": 2}]
    assert type(reply.body[0]["whole"]) is int


def test_cross_origin_requests(api: Api) -> None:
    origin = {"Origin": "https://app.example"}
    reply = api.send(b'{"operation":"describe_all"}', origin)
    assert reply.status == 200 and reply.headers["Access-Control-Allow-Origin"] == "https://app.example"
    assert "Origin" in reply.headers["Vary"]
    preflight = api.app.test_client().options("/", headers=origin)
    assert preflight.status_code == 200 and "POST" in preflight.headers["Access-Control-Allow-Methods"]
    assert "Authorization" in preflight.headers["Access-Control-Allow-Headers"]
    assert "Access-Control-Allow-Origin" not in api("describe_all").headers


def test_origins_that_are_not_listed_get_no_headers(tmp_path: Path) -> None:
    with engine.open_node(tmp_path) as node:
        create_first_user(node, ADMIN, PASSWORD)
    configuration.change(tmp_path, {"operationsApi_network_corsAccessList": ["https://a.example"]})
    with engine.open_node(tmp_path) as node:
        api = Api(create_app(node))
        for origin, allowed in (("https://a.example", True), ("https://b.example", False)):
            reply = api.send(b'{"operation":"describe_all"}', {"Origin": origin})
            assert reply.status == 200 and ("Access-Control-Allow-Origin" in reply.headers) is allowed


def test_an_error_of_our_own_is_a_500_without_detail(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(engine.Node, "schemas", broken)
    reply = api("describe_all")
    assert reply.error == (500, "There was an error processing your request. Check logs and try again.")


# ------------------------------------------------------------------------------------------------------ real processes


@pytest.fixture
def served(tmp_path: Path) -> Iterator[int]:
    """The port of a gunicorn with two workers over one node."""
    root = tmp_path / "node"
    with engine.open_node(root) as node:
        create_first_user(node, ADMIN, PASSWORD)
    (tmp_path / "served.py").write_text(SERVED)
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "gunicorn", "--worker-class", "gthread", "--workers", "2", "--threads", "4"]
    command += ["--bind", f"127.0.0.1:{port}", "--chdir", str(tmp_path), "served:application"]
    environment = {**os.environ, "ROOT": str(root), "PYTHONPATH": str(Path(__file__).parents[2])}
    server = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    try:
        _wait_until_healthy(server, port)
        yield port
    finally:
        server.terminate()
        server.wait(DEADLINE)


def _wait_until_healthy(server: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE)) as connection:
                connection.request("GET", "/health")
                assert connection.getresponse().status == 200
                return
        except OSError:
            time.sleep(0.05)
    raise AssertionError("the server did not come up")


def call(connection: http.client.HTTPConnection, operation: str, **members: Any) -> tuple[int, Any]:
    headers = {"Content-Type": "application/json", "Authorization": basic(ADMIN, PASSWORD)}
    connection.request("POST", "/", json.dumps({"operation": operation, **members}), headers)
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())


def test_all_workers_see_what_any_has_acknowledged(served: int) -> None:
    goat = {"schema": "farm", "table": "goat"}
    with closing(http.client.HTTPConnection("127.0.0.1", served, timeout=DEADLINE)) as connection:
        assert call(connection, "create_table", **goat, hash_attribute="id")[0] == 200
    failures: list[Any] = []

    def write_and_read(writer: int) -> None:
        with (
            closing(http.client.HTTPConnection("127.0.0.1", served, timeout=DEADLINE)) as mine,
            closing(http.client.HTTPConnection("127.0.0.1", served, timeout=DEADLINE)) as another,
        ):
            for number in range(20):
                key = f"{writer}-{number}"
                wrote = call(mine, "insert", **goat, records=[{"id": key, "n": number}])
                found = call(another, "search_by_hash", **goat, hash_values=[key], get_attributes=["n"])
                if wrote[0] != 200 or found != (200, [{"n": number}]):
                    failures.append((wrote, found))

    threads = [threading.Thread(target=write_and_read, args=(writer,)) for writer in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    with closing(http.client.HTTPConnection("127.0.0.1", served, timeout=DEADLINE)) as connection:
        assert call(connection, "sql", sql="SELECT COUNT(*) AS n FROM farm.goat") == (200, [{"n": 120}])


def test_a_password_changed_at_one_worker_counts_at_all(served: int) -> None:
    with closing(http.client.HTTPConnection("127.0.0.1", served, timeout=DEADLINE)) as connection:
        for _ in range(8):
            assert call(connection, "user_info")[0] == 200
        assert call(connection, "alter_user", username=ADMIN, password="new")[0] == 200
    for _ in range(8):
        with closing(http.client.HTTPConnection("127.0.0.1", served, timeout=DEADLINE)) as connection:
            assert call(connection, "user_info") == (401, {"error": "Login failed"})


def test_chunked_bodies_and_pipelined_requests(served: int) -> None:
    body = b'{"operation":"describe_all"}'
    head = (
        f"POST / HTTP/1.1\r\nHost: x\r\nAuthorization: {basic(ADMIN, PASSWORD)}\r\nContent-Type: application/json\r\n"
    )
    chunked = head.encode() + b"Transfer-Encoding: chunked\r\n\r\n"
    chunked += b"%x\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n" % (10, body[:10], len(body) - 10, body[10:])
    plain = head.encode() + b"Connection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    with closing(socket.create_connection(("127.0.0.1", served), timeout=DEADLINE)) as connection:
        connection.sendall(chunked + plain)
        received = b""
        while part := connection.recv(65536):
            received += part
    assert received.count(b"HTTP/1.1 200 OK") == 2 and received.count(b"{}") == 2
