"""Answers that are made while they are sent, compressed bodies in both directions, and backups over HTTP."""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import Callable
from typing import Any

import brotli
import cbor2
import msgspec
import pytest
import zstandard
from conftest import Api

import engine
from frontend import coding
from frontend.errors import Refused

MANY = 3500
GOAT = {"schema": "farm", "table": "goat"}
ALL = {"operation": "search_by_value", **GOAT, "attribute": "id", "value": "*", "get_attributes": ["id", "name"]}
SQL = {"operation": "sql", "sql": "SELECT id, name FROM farm.goat ORDER BY id"}

DECODERS: dict[str, Callable[[bytes], Any]] = {
    "application/json": json.loads,
    "application/cbor": cbor2.loads,
    "application/x-msgpack": msgspec.msgpack.decode,
    "text/csv": lambda body: [
        {"id": int(row["id"]), "name": row["name"]} for row in csv.DictReader(io.StringIO(body.decode(), newline=""))
    ],
}


@pytest.fixture
def many(farm: Api, node: engine.Node) -> Api:
    node.table("farm", "goat").upsert([{"id": number, "name": f'"{number}"'} for number in range(MANY)])
    return farm


@pytest.mark.parametrize("accept", DECODERS)
@pytest.mark.parametrize("request_body", [ALL, SQL], ids=["search", "sql"])
def test_long_answers_are_the_same_in_every_format(many: Api, accept: str, request_body: dict[str, Any]) -> None:
    reply = many.send(json.dumps(request_body).encode(), {"Accept": accept})
    assert reply.status == 200 and reply.headers["Content-Type"] == accept
    assert "Content-Length" not in reply.headers
    rows = reply.body if accept == "application/json" else DECODERS[accept](reply.body)
    assert rows == [{"id": number, "name": f'"{number}"'} for number in range(MANY)]


@pytest.mark.parametrize("origin", [{}, {"Origin": "https://example.com"}])
def test_long_answers_let_go_of_their_snapshot(many: Api, node: engine.Node, origin: dict[str, str]) -> None:
    """There are fewer slots for snapshots than are opened here."""
    for _ in range(150):
        answer = many.app.test_client().post(
            "/",
            data=json.dumps(ALL),
            headers={"Content-Type": "application/json", "Authorization": many.authorization, **origin},
            buffered=False,
        )
        assert next(iter(answer.response)).startswith(b"[")
        answer.close()
    assert node.table("farm", "goat").count() == MANY


PACK: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": zstandard.compress,
}
UNPACK: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.decompress,
    "deflate": zlib.decompress,
    "br": brotli.decompress,
    "zstd": lambda body: zstandard.ZstdDecompressor().decompressobj().decompress(body),
}


@pytest.mark.parametrize("encoding", PACK)
def test_bodies_are_compressed_both_ways(many: Api, encoding: str) -> None:
    headers = {"Content-Encoding": encoding, "Accept-Encoding": encoding}
    for body, length in ((ALL, MANY), ({**ALL, "limit": 200}, 200)):
        reply = many.send(PACK[encoding](json.dumps(body).encode()), headers)
        assert reply.status == 200 and reply.headers["Content-Encoding"] == encoding
        assert len(json.loads(UNPACK[encoding](reply.body))) == length


def test_codings_may_be_stacked_and_bombs_are_cut_off() -> None:
    body = b"x" * 100_000
    assert coding.decompress(gzip.compress(brotli.compress(body)), "br, gzip", 1 << 20) == body
    for encoding, pack in PACK.items():
        with pytest.raises(Refused) as refused:
            coding.decompress(pack(bytes(20 << 20)), encoding, 1 << 20)
        assert refused.value.status == 413


@pytest.mark.parametrize("encoding", PACK)
@pytest.mark.parametrize("body", [b"", b"xxxxxxxxxx", b"\x1f\x8b\x08"])
def test_damaged_bodies_are_refused(api: Api, encoding: str, body: bytes) -> None:
    assert api.send(body, {"Content-Encoding": encoding}).status == 400


def test_other_codings_are_unknown(api: Api) -> None:
    reply = api.send(b"x", {"Content-Encoding": "compress"})
    assert reply.error == (415, "Unsupported Content-Encoding: compress")


def test_a_backup_is_sent_as_a_file(many: Api) -> None:
    reply = many("get_backup", schema="farm", table="goat")
    assert reply.status == 200 and reply.headers["Content-Type"] == "application/octet-stream"
    assert reply.headers["Content-Disposition"] == 'attachment; filename="farm"'
    assert len(reply.body) > 1000
    assert many("get_backup", schema="no").error == (404, "schema 'no' does not exist")
    assert many("get_backup", schema="farm", tables=["goat", "no"]).error == (404, "Table 'farm.no' does not exist")
