"""read_audit_log and read_transaction_log."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import ADMIN, PASSWORD, Api

import engine
from engine import configuration
from frontend.app import create_app
from frontend.authentication import create_first_user

GOAT = {"schema": "farm", "table": "goat"}


@pytest.fixture
def audited(tmp_path: Path) -> Iterator[Api]:
    """The API over a node with an audit log and a short history of one table."""
    with engine.open_node(tmp_path) as node:
        create_first_user(node, ADMIN, PASSWORD)
    configuration.change(tmp_path, {"logging_auditLog": True})
    with engine.open_node(tmp_path) as node:
        api = Api(create_app(node))
        api.ok("create_table", **GOAT, hash_attribute="id")
        api.ok("insert", **GOAT, records=[{"id": 1, "age": 3, "name": "Ivy"}, {"id": 2, "age": 5}])
        api.ok("update", **GOAT, records=[{"id": 1, "age": 4, "name": "Ivy"}])
        api.ok("create_attribute", **GOAT, attribute="horn")
        api.ok("upsert", **GOAT, records=[{"id": "1", "age": 9}])
        api.ok("delete", **GOAT, hash_values=[2])
        yield api


def untimed(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if not name.startswith("__")} for row in rows]


def test_the_audit_log_has_an_entry_per_request_with_what_changed_and_what_was(audited: Api) -> None:
    inserted, updated, upserted, deleted = audited.ok("read_audit_log", **GOAT)
    assert (inserted["operation"], inserted["user_name"], inserted["hash_values"]) == ("insert", ADMIN, [1, 2])
    assert untimed(inserted["records"]) == [{"id": 1, "age": 3, "name": "Ivy"}, {"id": 2, "age": 5}]
    assert "original_records" not in inserted
    assert untimed(updated["records"]) == [{"id": 1, "age": 4}]
    assert updated["records"][0]["__updatedtime__"] == updated["timestamp"]
    assert untimed(updated["original_records"]) == [{"id": 1, "age": 3, "name": "Ivy"}]
    assert (upserted["operation"], upserted["hash_values"]) == ("upsert", ["1"])
    assert (deleted["operation"], deleted["hash_values"]) == ("delete", [2])
    assert "records" not in deleted and untimed(deleted["original_records"]) == [{"id": 2, "age": 5}]


def test_the_audit_log_is_searched_by_key_user_and_time(audited: Api) -> None:
    def found(search_type: str, *values: Any, **more: Any) -> Any:
        return audited.ok("read_audit_log", **GOAT, search_type=search_type, search_values=list(values), **more)

    by_key = found("hash_value", 1, 99)
    assert [entry["operation"] for entry in by_key["1"]] == ["insert", "update"] and by_key.keys() == {"1"}
    assert "hash_values" not in by_key["1"][0] and len(by_key["1"][0]["records"]) == 1
    assert [entry["operation"] for entry in found("hash_value", "1")["1"]] == ["upsert"]
    assert len(found("username", ADMIN, "nobody")[ADMIN]) == 4
    everything = audited.ok("read_audit_log", **GOAT)
    second = everything[1]["timestamp"]
    assert found("timestamp", second) == everything[1:]
    assert found("timestamp", second, second) == everything[1:2]
    assert found("timestamp") == everything
    assert audited.ok("read_audit_log", **GOAT, limit=2) == everything[:2]


def test_the_transaction_log(audited: Api) -> None:
    everything = audited.ok("read_transaction_log", **GOAT)
    assert [entry["operation"] for entry in everything] == ["insert", "update", "upsert", "delete"]
    assert everything[0]["user"] == everything[0]["user_name"] == ADMIN
    assert audited.ok("read_transaction_log", **GOAT, limit=1) == everything[:1]
    assert audited.ok("read_transaction_log", **GOAT, limit=2**64) == everything
    assert audited.ok("read_transaction_log", **GOAT, **{"from": everything[2]["timestamp"]}) == everything[2:]
    assert audited.ok("read_transaction_log", **GOAT, to=1) == []


@pytest.mark.parametrize(
    ("operation", "members", "refused"),
    [
        ("read_audit_log", {"schema": "farm"}, (400, "table is required")),
        ("read_audit_log", {"table": "goat"}, (400, "database is required")),
        ("read_audit_log", {**GOAT, "search_type": "x"}, (400, "Invalid searchType 'x'")),
        ("read_audit_log", {"schema": "farm", "table": "no"}, (404, "Table 'farm.no' does not exist")),
        ("read_transaction_log", {"schema": "farm"}, (400, "'table' is required")),
        ("read_transaction_log", {"schema": "no", "table": "goat"}, (404, "schema 'no' does not exist")),
        (
            "read_transaction_log",
            {**GOAT, "from": "x"},
            (400, "'from' must be in timestamp or number of milliseconds format"),
        ),
    ],
)
def test_what_is_refused(audited: Api, operation: str, members: dict[str, Any], refused: tuple[int, str]) -> None:
    assert audited(operation, **members).error == refused


def test_without_an_audit_log_there_is_none_to_read(farm: Api) -> None:
    text = "To use this operation audit log must be enabled in kennel-config.yaml"
    assert farm("read_audit_log", **GOAT).error == (400, text)
    farm.ok("create_table", schema="farm", table="audited", hash_attribute="id", audit=True)
    assert farm.ok("read_audit_log", schema="farm", table="audited") == []


def test_the_audit_log_of_users_tells_no_hashes(audited: Api) -> None:
    audited.ok("add_user", username="kim", password="pw", role="super_user", active=True)
    audited.ok("alter_user", username="kim", password="other")
    (*_, changed) = audited.ok("read_audit_log", schema="system", table="hdb_user")
    assert changed["hash_values"] == ["kim"]
    for record in (*changed["records"], *changed["original_records"]):
        assert record["username"] == "kim" and not record.keys() & {"password", "refresh_token"}
