"""Who may call what: every operation as every kind of caller, against the rules of HarperDB written down once more.

Only whether a call is let through is judged: anything but 401 and 403 is, whatever else becomes of the request.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import ADMIN, PASSWORD, Api, attribute, on_goats, working

import engine
from frontend.app import create_app
from frontend.authentication import create_first_user
from frontend.operations import TABLE

NOBODY = "no credentials"
ROLES: dict[str, dict[str, Any] | None] = {
    "super user": {"super_user": True},
    "structure user": {"structure_user": True},
    "structure user of farm": {"structure_user": ["farm"]},
    "structure user of barn": {"structure_user": ["barn"]},
    "table reader": on_goats("read"),
    "attribute reader": on_goats("read", attributes=[attribute("name", "read")]),
    "table writer": on_goats("read", "insert", "update", "delete"),
    "cluster user": {"cluster_user": True},
    "no permission": {},
}
CALLERS = [*ROLES, NOBODY]

SUPER = {"super user"}
USERS = set(ROLES) - {"cluster user"}
STRUCTURE = SUPER | {"structure user", "structure user of farm"}
WRITERS = STRUCTURE | {"table writer"}
READERS = WRITERS | {"table reader"}
NAME_READERS = READERS | {"attribute reader"}

GOAT = {"schema": "farm", "table": "goat"}
CSV = {**GOAT, "data": "id\n"}

#: Operations that somebody else than super users may call: who may, and a request that needs no more than that.
OPEN: dict[str, tuple[set[str], dict[str, Any]]] = {
    "create_authentication_tokens": ({*CALLERS}, {"username": "x"}),  # 401 for another reason, see below
    "login": ({*CALLERS}, {}),
    "logout": ({*CALLERS}, {}),
    "user_info": (USERS, {}),
    "describe_all": (USERS, {}),
    "get_job": (USERS, {"id": "x"}),
    "refresh_operation_token": (USERS, {}),
    "registration_info": (USERS, {}),
    "search_by_hash": (NAME_READERS, {**GOAT, "hash_values": [1], "get_attributes": ["name"]}),
    "search_by_id": (NAME_READERS, {**GOAT, "ids": [1], "get_attributes": ["*"]}),
    "search_by_value": (READERS, {**GOAT, "attribute": "age", "value": 3, "get_attributes": ["name"]}),
    "search_by_conditions": (READERS, {**GOAT, "conditions": [{"attribute": "age", "value": 3}]}),
    "sql": (NAME_READERS, {"sql": "SELECT name FROM farm.goat"}),
    "describe_schema": (NAME_READERS, {"schema": "farm"}),
    "describe_database": (NAME_READERS, {"database": "farm"}),
    "describe_table": (NAME_READERS, GOAT),
    "insert": (WRITERS, {**GOAT, "records": []}),
    "update": (WRITERS, {**GOAT, "records": []}),
    "upsert": (WRITERS, {**GOAT, "records": []}),
    "delete": (WRITERS, {**GOAT, "hash_values": []}),
    "csv_data_load": (WRITERS, CSV),
    "csv_file_load": (WRITERS, {**GOAT, "file_path": "/no"}),
    "csv_url_load": (WRITERS, {**GOAT, "csv_url": "http://127.0.0.1:9/"}),
    "import_from_s3": (WRITERS, {**GOAT, "s3": {}}),
    "create_attribute": (WRITERS, {**GOAT, "attribute": "a/b"}),
    "drop_attribute": (STRUCTURE, {**GOAT, "attribute": "no"}),
    "create_table": (STRUCTURE, {**GOAT, "primary_key": "id"}),
    "drop_table": (STRUCTURE, {"schema": "farm", "table": "no"}),
    "create_schema": (SUPER | {"structure user"}, {"schema": "farm"}),
    "create_database": (SUPER | {"structure user"}, {"database": "farm"}),
    "drop_schema": (SUPER | {"structure user"}, {"schema": "no"}),
    "drop_database": (SUPER | {"structure user"}, {"database": "no"}),
}

#: What the same operations need on more than the least: (operation, request, who may).
MORE: list[tuple[str, dict[str, Any], set[str]]] = [
    ("search_by_hash", {**GOAT, "hash_values": [1], "get_attributes": ["age"]}, READERS),
    ("search_by_value", {**GOAT, "attribute": "name", "value": "*"}, NAME_READERS),
    ("sql", {"sql": "SELECT name FROM farm.goat WHERE age = 3"}, READERS),
    ("sql", {"sql": "SELECT * FROM farm.goat"}, NAME_READERS),
    ("sql", {"sql": "SELECT name FROM farm.goat ORDER BY age"}, READERS),
    ("sql", {"sql": "INSERT INTO farm.goat (id, name) VALUES (1, 'Ivy')"}, WRITERS),
    ("sql", {"sql": "UPDATE farm.goat SET name = 'x' WHERE id = 77"}, WRITERS),
    ("sql", {"sql": "DELETE FROM farm.goat WHERE id = 77"}, WRITERS),
    ("sql", {"sql": "SELECT 1 AS one"}, USERS),
    ("sql", {"sql": "SELECT * FROM system.hdb_user"}, SUPER),
    ("search_by_value", {"schema": "system", "table": "hdb_user", "attribute": "username", "value": "*"}, SUPER),
    ("describe_schema", {"schema": "system"}, SUPER),
    ("insert", {"schema": "system", "table": "hdb_user", "records": []}, set()),
    ("update", {"schema": "system", "table": "hdb_user", "records": []}, set()),
    ("upsert", {"schema": "system", "table": "hdb_role", "records": []}, set()),
    ("delete", {"schema": "system", "table": "hdb_user", "hash_values": []}, set()),
    ("drop_table", {"schema": "system", "table": "hdb_user"}, set()),
    ("csv_data_load", {**CSV, "action": "insert"}, WRITERS),
]


@pytest.fixture(scope="module")
def callers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Api]]:
    with engine.open_node(Path(tmp_path_factory.mktemp("matrix"))) as node, working(node):
        create_first_user(node, ADMIN, PASSWORD)
        node.create_schema("barn")
        node.create_table("farm", "goat").insert([{"id": 1, "name": "Ivy", "age": 3}])
        api = Api(create_app(node))
        made = {NOBODY: api.as_nobody()}
        for number, (caller, permission) in enumerate(ROLES.items()):
            api.ok("add_role", role=f"role{number}", permission=permission)
            api.ok("add_user", username=f"user{number}", password="pw", role=f"role{number}", active=True)
            made[caller] = api.as_user(f"user{number}")
        yield made


def judge(api: Api, caller: str, operation: str, members: dict[str, Any], allowed: set[str]) -> None:
    reply = api(operation, **members)
    refusal = 401 if caller == NOBODY else 403
    if caller not in allowed:
        assert reply.status == refusal, (caller, operation, members, reply)
        assert "error" in reply.body
    else:
        assert reply.status not in (401, 403), (caller, operation, members, reply)
        assert reply.status < 500 or reply.status == 503, (caller, operation, members, reply)


@pytest.mark.parametrize("operation", sorted(TABLE.keys() - {"create_authentication_tokens"}))  # see test_security
def test_every_operation_is_for_those_whom_the_rules_name(callers: dict[str, Api], operation: str) -> None:
    allowed, members = OPEN.get(operation, (SUPER, {}))
    if operation not in OPEN and any(member.name == "table" for member in TABLE[operation].members):
        members = GOAT
    for caller in CALLERS:
        judge(callers[caller], caller, operation, members, allowed)


@pytest.mark.parametrize(("operation", "members", "allowed"), MORE)
def test_what_a_request_names_decides(
    callers: dict[str, Api], operation: str, members: dict[str, Any], allowed: set[str]
) -> None:
    for caller in CALLERS:
        judge(callers[caller], caller, operation, members, allowed)


def test_the_rules_name_no_operation_in_vain() -> None:
    assert not {*OPEN} - {*TABLE}
