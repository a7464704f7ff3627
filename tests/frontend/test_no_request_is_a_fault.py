"""Whatever a client sends, the answer is its own fault: no 500, and always the shape of an error."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cbor2
import msgspec
import pytest
from conftest import ADMIN, PASSWORD, Api, working
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import engine
from frontend.app import create_app
from frontend.authentication import create_first_user
from frontend.operations import TABLE

# Statements have tests of their own in tests/grammar; changes of configuration and passwords would outlive an example.
OPERATIONS = sorted(set(TABLE) - {"set_configuration", "alter_user"})

TEXTS = st.sampled_from(
    ["farm", "goat", "id", "name", "system", "hdb_user", "*", "", "a/b", "ü", "and", "between", "x" * 251]
)
SCALARS = st.none() | st.booleans() | st.integers(-2, 70000) | st.floats() | TEXTS | st.text(max_size=3)
NAMES = TEXTS | st.sampled_from(
    ["attribute", "comparator", "value", "conditions", "operator", "sort", "next", "super_user", "tables", "read"]
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)
CONDITION = st.fixed_dictionaries(
    {"attribute": st.sampled_from(["id", "name", "no"]), "value": VALUES},
    optional={"comparator": st.sampled_from(["equals", "between", "gt", "sw", "ne", "what"])},
)
ATTRIBUTES = st.sampled_from(["id", "name", "age", "__createdtime__", "no"])
FLAGS = st.booleans()
SUBSCRIPTION = st.fixed_dictionaries({"table": st.just("goat"), "publish": FLAGS, "subscribe": FLAGS})
TABLE_RIGHTS = st.fixed_dictionaries(
    dict.fromkeys(("read", "insert", "update", "delete"), FLAGS) | {"attribute_permissions": VALUES}
)
SENSIBLE: dict[str, st.SearchStrategy[Any]] = {
    "schema": st.just("farm"),
    "table": st.sampled_from(["goat", "goat", "goat", "new"]),
    "primary_key": st.just("id"),
    "attributes": st.lists(st.fixed_dictionaries({"name": ATTRIBUTES}, optional={"type": TEXTS}), max_size=2),
    "attribute": ATTRIBUTES,
    "records": st.lists(st.dictionaries(ATTRIBUTES, VALUES, max_size=4), max_size=3),
    "hash_values": st.lists(SCALARS, max_size=3),
    "get_attributes": st.lists(st.sampled_from(["*", "id", "name"]), min_size=1, max_size=2),
    "conditions": st.lists(CONDITION, min_size=1, max_size=3),
    "operator": st.sampled_from(["and", "or"]),
    "value": VALUES,
    "limit": st.integers(1, 3),
    "offset": st.integers(0, 3),
    "sort": st.fixed_dictionaries({"attribute": ATTRIBUTES}, optional={"descending": VALUES}),
    "username": st.sampled_from([ADMIN, "kim"]),
    "password": st.just("pw"),
    "role": st.sampled_from(["super_user", "reader"]),
    "id": st.sampled_from(["super_user", "reader"]),
    "permission": st.fixed_dictionaries(
        {"farm": st.fixed_dictionaries({"tables": st.dictionaries(NAMES, TABLE_RIGHTS)})}
    ),
    "node_name": st.just("south"),
    "subscriptions": st.lists(SUBSCRIPTION, min_size=1, max_size=2),
    "server": st.sampled_from(["hub", "leaf"]),
    "data": st.sampled_from(["id,name\n1,x", "id\n", '"'])
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    "action": st.sampled_from(["insert", "update", "upsert"]),
    "format": st.sampled_from(["json", "csv"]),
    "search_operation": st.just({"operation": "sql", "sql": "SELECT 1 AS a"}),
    "csv_url": st.just("http://127.0.0.1:9/"),
    "routes": st.lists(st.just({"host": "198.51.100.7", "port": 9932}), max_size=2),
    "sql": st.sampled_from(
        ["SELECT * FROM farm.goat", "DELETE FROM farm.goat WHERE id = 1", "SELECT no FROM farm.goat"]
    ),
}
FLAGLIKE = {"active", "desc", "exact_count", "include_computed", "indexed", "audit", "connected_nodes"}


@st.composite
def requests(draw: st.DrawFn) -> dict[str, Any]:
    """A request for a random operation that makes sense but for one member, or altogether."""
    row = TABLE[draw(st.sampled_from(OPERATIONS))]
    odd = draw(st.none() | st.sampled_from(["", *(member.name for member in row.members)]))
    request: dict[str, Any] = {"operation": row.name}
    for member in row.members:
        label = draw(st.sampled_from(member.labels or (member.name,)))
        if member.name == odd:
            if draw(FLAGS):
                request[label] = draw(VALUES)
        elif member.name in FLAGLIKE:
            request[label] = draw(FLAGS)
        elif member.name in SENSIBLE:
            request[label] = draw(SENSIBLE[member.name])
    return request


@dataclass(frozen=True)
class Fuzzed:
    node: engine.Node
    api: Api


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fuzzed]:
    with engine.open_node(Path(tmp_path_factory.mktemp("fuzz"))) as node:
        create_first_user(node, ADMIN, PASSWORD)
        with working(node):
            yield Fuzzed(node, Api(create_app(node)).as_nobody())


def _tables(node: engine.Node) -> list[str]:
    return node.tables("farm") if "farm" in node.schemas() else []


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(requests())
def test_no_request_of_a_super_user_is_a_fault(fuzzed: Fuzzed, request: dict[str, Any]) -> None:
    if "goat" not in _tables(fuzzed.node):
        fuzzed.node.create_table("farm", "goat").insert([{"id": 1, "name": "Ivy", "tags": ["a", None, 2]}])
    body = cbor2.dumps(request)
    reply = fuzzed.api.send(body, {"Content-Type": "application/cbor"}, {"kennel.local_socket": True})
    assert reply.status < 500 or reply.status == 503, (request, reply)
    if reply.status != 200:
        assert isinstance(reply.body["error"], str) and reply.body["error"]


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60) | VALUES.map(lambda value: json.dumps(value, allow_nan=True).encode()))
def test_no_body_is_a_fault(fuzzed: Fuzzed, body: bytes) -> None:
    for content_type in ("application/json", "application/cbor", "application/x-msgpack"):
        reply = fuzzed.api.send(body, {"Content-Type": content_type}, {"kennel.local_socket": True})
        assert reply.status < 500


def test_attributes_without_a_proper_name_are_refused_in_every_format(fuzzed: Fuzzed) -> None:
    fuzzed.node.create_table("farm", "horse").insert([{"id": 1, "name": "Bo"}])  # so that no other name is new
    for name in (0, True, None, 1.5, b"x"):
        request = {"operation": "insert", "schema": "farm", "table": "horse", "records": [{"id": 2, name: 1}]}
        for content_type, body in (
            ("application/cbor", cbor2.dumps(request)),
            ("application/x-msgpack", msgspec.msgpack.encode(request)),
        ):
            reply = fuzzed.api.send(body, {"Content-Type": content_type}, {"kennel.local_socket": True})
            assert reply.status == 400 and reply.body["error"].startswith("Invalid attribute name"), reply


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=20), st.text(max_size=20), st.text(max_size=20))
def test_no_header_is_a_fault(fuzzed: Fuzzed, authorization: str, accept: str, content_type: str) -> None:
    environ = {"HTTP_AUTHORIZATION": authorization, "HTTP_ACCEPT": accept, "CONTENT_TYPE": content_type}
    assert fuzzed.api.send(b'{"operation":"describe_all"}', environ=environ).status in (400, 401, 406, 415)
