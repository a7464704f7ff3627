"""Schemas, tables, records and searches through the API, with the answers word for word."""

from __future__ import annotations

from typing import Any

import pytest
from conftest import Api

GOAT = {"schema": "farm", "table": "goat"}


# -------------------------------------------------------------------------------------------------- schemas and tables


def test_messages_use_the_word_of_the_request(api: Api) -> None:
    assert api.ok("create_schema", schema="a") == {"message": "schema 'a' successfully created"}
    assert api("create_schema", database="a").error == (400, "database 'a' already exists")
    assert api("create_schema", schema="a").error == (400, "schema 'a' already exists")
    assert api("describe_schema", database="b").error == (404, "database 'b' does not exist")
    assert api("describe_table", schema="b", table="t").error == (404, "schema 'b' does not exist")
    assert api("drop_database").error == (400, "'database' is required")
    assert api("drop_schema").error == (400, "'schema' is required")
    assert api.ok("drop_database", database="a") == {"message": "successfully deleted 'a'"}


def test_without_a_schema_the_default_one_is_meant(api: Api) -> None:
    assert api("describe_database").error == (404, "database 'data' does not exist")
    assert api.ok("create_table", table="t", primary_key="id") == {"message": "table 'data.t' successfully created."}
    assert api.ok("describe_database").keys() == {"t"}


def test_create_table_makes_the_schema_and_refuses_to_repeat(api: Api) -> None:
    assert api.ok("create_table", schema="x", table="t", hash_attribute="id")
    assert api("create_table", schema="x", table="t", hash_attribute="k").error == (
        400,
        "Table 't' already exists in 'x'",
    )
    assert api.ok("drop_table", schema="x", table="t") == {"message": "successfully deleted table 'x.t'"}
    assert api("drop_table", schema="x", table="t").error == (404, "Table 'x.t' does not exist")
    assert api.ok("describe_schema", schema="x") == {}


def test_all_problems_of_a_request_are_told_at_once(api: Api) -> None:
    assert api("create_table", schema="a/b", table="").error == (
        400,
        "'schema' names cannot include backticks or forward slashes. 'table' is not allowed to be empty. "
        "'primary_key' is required",
    )


def test_attributes_can_be_made_and_dropped(farm: Api) -> None:
    assert farm.ok("create_attribute", **GOAT, attribute="horn") == {
        "message": "attribute 'farm.goat.horn' successfully created."
    }
    assert farm("create_attribute", **GOAT, attribute="horn").error == (
        400,
        "attribute 'horn' already exists in farm.goat",
    )
    assert farm.ok("drop_attribute", **GOAT, attribute="name") == {"message": "successfully deleted attribute 'name'"}
    assert farm.ok("search_by_hash", **GOAT, hash_values=[1], get_attributes=["*"])[0].keys() >= {"id", "horn"}
    assert farm("search_by_hash", **GOAT, hash_values=[1], get_attributes=["name"]).error == (
        400,
        "unknown attribute 'name'",
    )
    assert farm("drop_attribute", **GOAT, attribute="id").error == (400, "You cannot drop a hash attribute")
    assert farm("drop_attribute", **GOAT, attribute="__createdtime__").error == (
        400,
        "cannot drop internal timestamp attribute: __createdtime__",
    )


def test_describe_table(farm: Api) -> None:
    described = farm.ok("describe_table", **GOAT)
    assert described["attributes"] == [
        {"attribute": "id", "is_primary_key": True},
        {"attribute": "__createdtime__", "indexed": True},
        {"attribute": "__updatedtime__", "indexed": True},
        {"attribute": "name", "indexed": True},
        {"attribute": "age", "indexed": True},
        {"attribute": "coat", "indexed": True},
    ]
    assert described["record_count"] == 3 and described["hash_attribute"] == "id"
    assert described["schema_defined"] is False
    assert "last_updated_record" in described and "expiration" not in described
    assert "last_updated_record" not in farm.ok("describe_table", schema="farm", table="secret")
    assert farm.ok("describe_all").keys() == {"farm"}


def test_the_system_schema_is_protected(api: Api) -> None:
    text = "The 'system' schema, tables and records are used internally by KennelDB and cannot be updated or removed."
    row = {"schema": "system", "table": "hdb_user"}
    assert api("drop_schema", schema="system").error == (403, text)
    assert api("drop_table", **row).error == (403, text)
    assert api("create_table", schema="system", table="t", hash_attribute="id").error == (403, text)
    assert api("update", **row, records=[{"username": "admin", "active": False}]).error == (403, text)
    assert api("delete", **row, hash_values=["admin"]).error == (403, text)
    refused = api("insert", **row, records=[{"username": "eve"}])
    assert refused.status == 403
    assert refused.body["unauthorized_access"][0]["required_table_permissions"] == ["insert"]
    assert api("create_schema", schema="system").error == (400, "schema 'system' already exists")


# ------------------------------------------------------------------------------------------------------------ records


def test_writes_tell_what_they_did(farm: Api) -> None:
    assert farm.ok("insert", **GOAT, records=[{"id": 1}, {"id": 4}]) == {
        "message": "inserted 1 of 2 records",
        "inserted_hashes": [4],
        "skipped_hashes": [1],
    }
    assert farm.ok("update", **GOAT, records=[{"id": 1, "age": 4}, {"id": 9}]) == {
        "message": "updated 1 of 2 records",
        "update_hashes": [1],
        "skipped_hashes": [9],
    }
    assert farm.ok("upsert", **GOAT, records=[{"id": 9, "age": 1}]) == {
        "message": "upserted 1 of 1 records",
        "upserted_hashes": [9],
    }
    assert farm.ok("delete", **GOAT, hash_values=[9]) == {
        "message": "1 of 1 record successfully deleted",
        "deleted_hashes": [9],
        "skipped_hashes": [],
    }
    assert farm.ok("delete", **GOAT, ids=[1, 9])["message"] == "1 of 2 records successfully deleted"
    assert farm.ok("delete", **GOAT, ids=[])["message"] == "0 of 0 records successfully deleted"


def test_a_record_without_key_gets_one_that_is_told(farm: Api) -> None:
    (key,) = farm.ok("insert", **GOAT, records=[{"name": "Nan"}])["inserted_hashes"]
    assert farm.ok("search_by_hash", **GOAT, hash_values=[key], get_attributes=["name"]) == [{"name": "Nan"}]


def test_unknown_tables_are_400_for_writes_and_404_for_the_rest(farm: Api) -> None:
    nowhere = {"schema": "farm", "table": "nope"}
    text = "Table 'farm.nope' does not exist"
    for operation in ("insert", "update", "upsert"):
        assert farm(operation, **nowhere, records=[{"id": 1}]).error == (400, text)
    assert farm("delete", **nowhere, hash_values=[1]).error == (404, text)
    assert farm("search_by_hash", **nowhere, hash_values=[1], get_attributes=["*"]).error == (404, text)


@pytest.mark.parametrize(
    ("members", "text"),
    [
        ({"records": "x"}, "'records' must be an array"),
        ({}, "'records' is required"),
        ({"records": [1]}, "'records[0]' must be of type object"),
        ({"records": [{"id": True}]}, "Invalid primary key type: boolean"),
        ({"records": [{"id": 9, "a/b": 1}]}, "Attribute names cannot include backticks or forward slashes"),
        ({"records": [{"id": 9, "": 1}]}, "Invalid attribute name: ''"),
    ],
)
def test_records_that_are_refused_change_nothing(farm: Api, members: dict[str, Any], text: str) -> None:
    assert farm("insert", **GOAT, **members).error == (400, text)
    assert farm.ok("describe_table", **GOAT)["record_count"] == 3


# ----------------------------------------------------------------------------------------------------------- searches


def names(rows: list[dict[str, Any]]) -> list[Any]:
    return [row["name"] for row in rows]


def test_search_by_hash_answers_in_the_order_of_the_request(farm: Api) -> None:
    asked = {"hash_values": [3, 99, 1, 3, "1"], "get_attributes": ["coat", "id"]}
    rows = farm.ok("search_by_hash", **GOAT, **asked)
    assert rows == [{"coat": None, "id": 3}, {"coat": "grey", "id": 1}, {"coat": None, "id": 3}]
    assert [*rows[0]] == ["coat", "id"]
    assert farm("search_by_hash", **GOAT, hash_values=[1], get_attributes=["x", "y", "z"]).error == (
        400,
        "unknown attribute 'x, y and z'",
    )
    assert farm("search_by_id", table="goat", schema="farm").error == (
        400,
        "'hash_values' is required. 'get_attributes' is required",
    )


def test_a_star_is_every_attribute_and_none_is_what_the_record_holds(farm: Api) -> None:
    (row,) = farm.ok("search_by_hash", **GOAT, hash_values=[3], get_attributes=["*"])
    assert [*row] == ["id", "__createdtime__", "__updatedtime__", "name", "age", "coat"] and row["coat"] is None
    (row,) = farm.ok("search_by_value", **GOAT, search_attribute="id", search_value=3)
    assert "coat" not in row


def test_members_of_nested_objects_can_be_picked(farm: Api) -> None:
    farm.ok("update", **GOAT, records=[{"id": 1, "owner": {"first": "Kim", "last": "Po", "age": 40}}])
    picked = [{"name": "owner", "select": ["last", "first"]}, "id"]
    assert farm.ok("search_by_hash", **GOAT, hash_values=[1, 2], get_attributes=picked) == [
        {"owner": {"last": "Po", "first": "Kim"}, "id": 1},
        {"owner": None, "id": 2},
    ]


def test_search_by_value(farm: Api) -> None:
    def found(value: Any, **more: Any) -> list[Any]:
        asked = {"search_attribute": "name", "search_value": value, "get_attributes": ["name"], **more}
        return names(farm.ok("search_by_value", **GOAT, **asked))

    assert found("Ivy") == ["Ivy"]
    assert found("*iv*") == ["Livia"]
    assert found("*") == ["Ivy", "Bo", "Livia"]
    assert found("*", limit=1, offset=1) == ["Bo"]
    assert found("*", desc=True) == ["Livia", "Bo", "Ivy"]
    assert farm("search_by_value", **GOAT, attribute="name").error == (400, "'value' is required")
    assert farm("search_by_value", **GOAT, value=1, attribute="a/b").error == (
        400,
        "'attribute' names cannot include backticks or forward slashes",
    )


def test_search_by_conditions(farm: Api) -> None:
    young = {"search_attribute": "age", "search_type": "less_than", "search_value": 4}
    asked = {"get_attributes": ["name"], "conditions": [young], "sort": {"attribute": "name"}}
    assert names(farm.ok("search_by_conditions", **GOAT, **asked)) == ["Ivy", "Livia"]
    assert names(farm.ok("search_by_conditions", **GOAT, **asked, limit="1", offset=1)) == ["Livia"]
    white = {"attribute": "coat", "comparator": "equals", "value": "white"}
    asked["conditions"] = [young, white]
    assert names(farm.ok("search_by_conditions", **GOAT, **asked, operator="OR")) == ["Bo", "Ivy", "Livia"]
    assert farm("search_by_conditions", **GOAT, conditions=[]).error == (
        400,
        "'conditions' must contain at least 1 items",
    )
    assert farm("search_by_conditions", **GOAT, conditions=[young], sort={"attribute": "x"}).error == (
        404,
        "x is not a defined attribute",
    )


def test_sql(farm: Api) -> None:
    assert farm.ok("sql", sql="SELECT name FROM farm.goat WHERE age = 3 ORDER BY id") == [
        {"name": "Ivy"},
        {"name": "Livia"},
    ]
    assert farm.ok("sql", sql="SELECT name FROM farm.goat WHERE id = ?", parameters=[2]) == [{"name": "Bo"}]
    farm.ok("sql", sql="INSERT INTO farm.goat (`id`, `a b`) VALUES (9, 1)")
    assert farm.ok("sql", sql="SELECT `a b` AS `x y` FROM farm.goat WHERE id = 9") == [{"x y": 1}]
    assert farm("sql").error == (400, "The 'sql' parameter is missing from the request body")
    assert farm("sql", sql="").error == (400, "The 'sql' parameter is missing from the request body")
    assert farm("sql", sql=5).status == 400
    assert farm("sql", sql="SELECT * FROM farm.nope").error == (404, "Table 'farm.nope' does not exist")
