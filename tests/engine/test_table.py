"""Tables: what they accept, and what a write says it has done."""

from __future__ import annotations

import threading
import uuid
from typing import Any

import pytest

import engine
from engine.table import MAX_ATTRIBUTES


@pytest.fixture
def goats(node: engine.Node) -> engine.Table:
    return node.create_table("farm", "goat")


def bare(record: dict[str, Any] | None) -> dict[str, Any] | None:
    """A record without its times."""
    return record and {name: value for name, value in record.items() if not name.startswith("__")}


# --- writes ----------------------------------------------------------------------------------------------------------


def test_insert_skips_keys_that_are_there(goats: engine.Table) -> None:
    assert goats.insert([{"id": 1, "name": "Ivy"}]).written == [1]
    result = goats.insert([{"id": 1, "name": "Bo"}, {"id": 2}, {"id": 2, "name": "Cy"}, {"id": "1"}])
    assert (result.written, result.skipped) == ([2, "1"], [1, 2])
    assert bare(goats.get(1)) == {"id": 1, "name": "Ivy"}
    assert bare(goats.get(2)) == {"id": 2}


def test_update_merges_into_what_is_there(goats: engine.Table) -> None:
    goats.insert([{"id": 1, "name": "Ivy", "about": {"a": 1, "b": 2}}])
    result = goats.update([{"id": 1, "about": {"c": 3}}, {"id": 9, "name": "No"}, {"id": 1, "age": None}])
    assert (result.written, result.skipped) == ([1, 1], [9])
    assert bare(goats.get(1)) == {"id": 1, "name": "Ivy", "about": {"c": 3}, "age": None}
    assert goats.update([{"id": "1", "name": "No"}]).skipped == ["1"]


def test_upsert_merges_or_inserts(goats: engine.Table) -> None:
    goats.insert([{"id": 1, "name": "Ivy"}])
    result = goats.upsert([{"id": 1, "age": 3}, {"id": 2, "a": 1}, {"id": 2, "b": 2}])
    assert (result.written, result.skipped) == ([1, 2, 2], [])
    assert bare(goats.get(1)) == {"id": 1, "name": "Ivy", "age": 3}
    assert bare(goats.get(2)) == {"id": 2, "a": 1, "b": 2}


def test_delete_skips_what_is_not_there(goats: engine.Table) -> None:
    goats.insert([{"id": 1}, {"id": 2}])
    result = goats.delete([1, 1, "2", 2])
    assert (result.written, result.skipped) == ([1, 2], [1, "2"])
    assert goats.count() == 0
    goats.insert([{"id": 1, "back": True}])
    assert bare(goats.get(1)) == {"id": 1, "back": True}


def test_empty_requests_do_nothing(goats: engine.Table) -> None:
    for write in (goats.insert, goats.update, goats.upsert, goats.delete):
        result = write([])
        assert (result.written, result.skipped) == ([], [])
    assert goats.last_updated() is None


@pytest.mark.parametrize("missing", [{}, {"id": None}, {"id": ""}])
def test_a_record_without_a_key_gets_a_uuid(goats: engine.Table, missing: dict[str, Any]) -> None:
    record = {**missing, "name": "Ivy"}
    (inserted,) = goats.insert([record]).written
    (upserted,) = goats.upsert([record]).written
    assert {str(uuid.UUID(key)) for key in (inserted, upserted)} == {inserted, upserted}
    assert bare(goats.get(inserted)) == {"id": inserted, "name": "Ivy"}
    assert record == {**missing, "name": "Ivy"}  # the caller's record is left alone
    with pytest.raises(engine.InvalidKey) as raised:
        goats.update([record])
    assert raised.value.message == "a valid hash attribute must be provided with update record, check log for more info"


@pytest.mark.parametrize("key", [0, -3, 1.5, 12345678901234, 2**63 - 1, "a b", "a/b", "ünï", "x" * 550, [1, "a"]])
def test_keys_of_all_kinds(goats: engine.Table, key: Any) -> None:
    assert goats.insert([{"id": key, "n": 1}]).written == [key]
    assert bare(goats.get(key)) == {"id": key, "n": 1}
    assert [record["id"] for record in goats.search("id", "equals", key)] == [key]


def test_integral_floats_are_integers(goats: engine.Table) -> None:
    goats.insert([{"id": 1.0, "n": 2.0}])
    found = goats.get(1)
    assert found is not None
    assert (repr(found["id"]), repr(found["n"])) == ("1", "2")


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("null", "Invalid hash value: 'null' is not a valid hash attribute value, check log for more info"),
        ("undefined", "Invalid hash value: 'undefined' is not a valid hash attribute value, check log for more info"),
        (True, "Invalid primary key type: boolean"),
        ("x" * 700, "Primary key size is too large: 702"),
    ],
)
def test_impossible_keys(goats: engine.Table, key: Any, text: str) -> None:
    for write in (goats.insert, goats.update, goats.upsert):
        with pytest.raises(engine.InvalidKey) as raised:
            write([{"id": 1}, {"id": key}])
        assert raised.value.message == text
    assert goats.count() == 0


def test_keys_that_cannot_be_are_refused_by_delete(goats: engine.Table) -> None:
    for key in (True, None, {}):
        with pytest.raises(engine.InvalidKey):
            goats.delete([key])


@pytest.mark.parametrize(
    ("names", "text"),
    [
        ([""], "Invalid attribute name: ''"),
        (["null", "undefined"], "Invalid attribute name: 'null'. Invalid attribute name: 'undefined'"),
        (["a/b"], "Attribute names cannot include backticks or forward slashes"),
        (["a`b"], "Attribute names cannot include backticks or forward slashes"),
        (
            ["ü" * 126],
            f"transaction aborted due to attribute name {'ü' * 126} being too long. "
            "Attribute names cannot be longer than 250 bytes.",
        ),
    ],
)
def test_impossible_attribute_names(goats: engine.Table, names: list[str], text: str) -> None:
    with pytest.raises(engine.InvalidName) as raised:
        goats.insert([{"id": 1, "fine": 1}, {"id": 2, **dict.fromkeys(names, 1)}])
    assert raised.value.message == text
    assert goats.count() == 0
    assert [attribute.name for attribute in goats.attributes()] == ["id", "__createdtime__", "__updatedtime__"]


def test_a_table_has_room_for_many_attributes_but_not_for_any_number(goats: engine.Table) -> None:
    goats.insert([{"id": 1, **{f"a{number}": number for number in range(100)}}])
    with pytest.raises(engine.InvalidRecord, match="cannot have more than 10000 attributes"):
        goats.insert([{"id": 2, **dict.fromkeys(map(str, range(MAX_ATTRIBUTES)), 1)}])
    assert goats.count() == 1


@pytest.mark.parametrize(
    ("records", "text"),
    [
        (None, "'records' must be an array"),
        ({}, "'records' must be an array"),
        ("x", "'records' must be an array"),
        ([{"id": 1}, None], "'records[1]' must be of type object"),
        ([5], "'records[0]' must be of type object"),
    ],
)
def test_malformed_requests(goats: engine.Table, records: Any, text: str) -> None:
    with pytest.raises(engine.InvalidRecord) as raised:
        goats.insert(records)
    assert raised.value.message == text


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\ud800", object(), {1: 2}])
def test_values_that_json_does_not_have_are_refused(goats: engine.Table, value: Any) -> None:
    with pytest.raises(engine.InvalidRequest):
        goats.insert([{"id": 1, "v": value}])
    assert goats.count() == 0


def test_values_come_back_as_they_went_in(goats: engine.Table) -> None:
    values = [None, True, False, 0, -1.25, 1e21, "", "text", [], [1, "a", None, [2]], {}, {"b": {"a": [1]}, "a": None}]
    values += [2**63 - 1, -(2**63), 2**64 - 1, 0.1, "\0", "😀", "x" * 5000]
    goats.insert([{"id": number, "v": value} for number, value in enumerate(values)])
    assert [record["v"] for record in goats.get_many(list(range(len(values))))] == values


def test_the_server_keeps_the_times(goats: engine.Table) -> None:
    sent = {"__createdtime__": 1, "__updatedtime__": 2}
    version = goats.insert([{"id": 1, **sent}, {"id": 2}]).version
    first, second = goats.get_many([1, 2])
    assert first["__createdtime__"] == first["__updatedtime__"] == second["__updatedtime__"] == version / 1000
    later = goats.update([{"id": 1, "a": 1, **sent}]).version
    assert later > version
    changed = goats.get(1)
    assert changed is not None
    assert (changed["__createdtime__"], changed["__updatedtime__"]) == (version / 1000, later / 1000)
    assert goats.last_updated() == later / 1000
    assert goats.count("__updatedtime__", "greater_than", version / 1000) == 1


def test_writes_at_a_view_notice_what_changed_after_it(goats: engine.Table) -> None:
    goats.insert([{"id": 1, "n": 1}, {"id": 2, "n": 1}])
    with goats.view() as view:
        goats.update([{"id": 1, "n": 2}])
        for write in (
            lambda: goats.update([{"id": 2, "n": 3}, {"id": 1, "n": 3}], at=view),
            lambda: goats.delete([1], at=view),
        ):
            with pytest.raises(engine.Conflict):
                write()
        assert goats.update([{"id": 2, "n": 3}], at=view).written == [2]
    assert [record["n"] for record in goats.get_many([1, 2])] == [2, 3]


# --- attributes ------------------------------------------------------------------------------------------------------


def names_of(table: engine.Table) -> list[str]:
    return [attribute.name for attribute in table.attributes()]


def test_attributes_stand_in_the_order_of_their_appearance(goats: engine.Table) -> None:
    goats.insert([{"id": 1, "b": 1, "a": 1}])
    goats.update([{"id": 1, "c": 1}])
    goats.create_attribute("d")
    assert names_of(goats) == ["id", "__createdtime__", "__updatedtime__", "b", "a", "c", "d"]
    assert [attribute for attribute in goats.attributes() if attribute.is_primary_key] == [
        engine.Attribute("id", is_primary_key=True)
    ]
    with goats.view() as view:
        assert view.attributes == names_of(goats)


def test_an_attribute_is_created_once(goats: engine.Table) -> None:
    goats.create_attribute("coat")
    for name in ("coat", "id", "__createdtime__"):
        with pytest.raises(engine.AttributeExists, match=f"attribute '{name}' already exists in farm.goat"):
            goats.create_attribute(name)
    with pytest.raises(engine.InvalidName):
        goats.create_attribute("a/b")
    goats.create_attribute("ü")
    assert list(goats.search("coat", "equals", "red")) == []


def test_a_dropped_attribute_takes_its_values_along(goats: engine.Table) -> None:
    goats.insert([{"id": 1, "coat": "red", "n": 1}, {"id": 2, "coat": "grey"}])
    goats.drop_attribute("coat")
    goats.drop_attribute("coat")
    assert "coat" not in names_of(goats)
    assert bare(goats.get(1)) == {"id": 1, "n": 1}
    with pytest.raises(engine.UnknownAttribute):
        goats.search("coat", "equals", "red")
    goats.update([{"id": 2, "coat": "black"}])
    assert [bare(record) for record in goats.search("coat", "ne", "x")] == [{"id": 2, "coat": "black"}]
    assert bare(goats.get(1)) == {"id": 1, "n": 1}


def test_key_and_times_are_not_dropped(goats: engine.Table) -> None:
    with pytest.raises(engine.InvalidName, match="You cannot drop a hash attribute"):
        goats.drop_attribute("id")
    with pytest.raises(engine.InvalidName, match="cannot drop internal timestamp attribute: __createdtime__"):
        goats.drop_attribute("__createdtime__")


# --- reading ---------------------------------------------------------------------------------------------------------


def test_reads_of_single_records(goats: engine.Table) -> None:
    goats.insert([{"id": 1, "n": 1}, {"id": 2, "n": 2}])
    assert goats.get(3) is None
    assert goats.get("1") is None
    assert [record["id"] for record in goats.get_many([2, 3, 1, 2])] == [2, 1, 2]


def test_searches_read_one_snapshot(goats: engine.Table) -> None:
    goats.insert([{"id": number, "n": number % 2} for number in range(100)])
    found = goats.search("n", "equals", 1, columns=["id"])
    first = next(found)
    goats.delete(list(range(100)))
    assert [first, *found] == [{"id": number} for number in range(1, 100, 2)]
    assert goats.count() == 0


def test_search_pages_in_index_order(goats: engine.Table) -> None:
    goats.insert([{"id": number, "n": number // 10} for number in range(100)])
    assert [record["id"] for record in goats.search("n", "ge", 3, offset=25, limit=3)] == [55, 56, 57]
    assert [record["id"] for record in goats.search("n", "lt", 3, offset=28, reverse=True)] == [1, 0]
    assert goats.count("n", "between", [2, 4]) == 30
    assert goats.count() == 100


def test_counting_needs_a_comparator(goats: engine.Table) -> None:
    with pytest.raises(engine.InvalidSearch):
        goats.count("id")
    with pytest.raises(engine.UnknownAttribute):
        goats.count("nope", "equals", 1)


def test_sizes_are_of_the_files(goats: engine.Table) -> None:
    goats.insert([{"id": 1}])
    sizes = goats.sizes()
    assert sizes.log_bytes > 0
    assert sizes.index_bytes > 0


# --- schema-defined tables -------------------------------------------------------------------------------------------

DECLARED = [
    engine.Attribute("id", "ID"),
    engine.Attribute("age", "Int"),
    engine.Attribute("name", "String", nullable=False),
    engine.Attribute("weight", "Float", indexed=False),
    engine.Attribute("big", "Long"),
    engine.Attribute("bigger", "BigInt"),
    engine.Attribute("sold", "Boolean"),
    engine.Attribute("born", "Date"),
    engine.Attribute("any", "Any"),
    engine.Attribute("odd", "Herd"),
]


@pytest.fixture
def typed(node: engine.Node) -> engine.Table:
    return node.create_table("farm", "typed", attributes=DECLARED)


def test_a_schema_defined_table_has_what_was_declared(typed: engine.Table) -> None:
    typed.insert([{"id": "a", "name": "Ivy", "extra": 1}])
    assert typed.get("a") == {"id": "a", "name": "Ivy", "extra": 1}  # no times
    assert names_of(typed) == [attribute.name for attribute in DECLARED]
    with typed.view() as view:
        assert view.attributes == names_of(typed)
        assert view.is_indexed("age")
        assert not view.is_indexed("weight")
        with pytest.raises(engine.InvalidSearch):
            view.scan("weight")
    assert [record["id"] for record in typed.search("weight", "ge", 0)] == []
    typed.update([{"id": "a", "weight": 3}])
    assert [record["id"] for record in typed.search("weight", "ge", 0)] == ["a"]


@pytest.mark.parametrize(
    ("attribute", "value", "text"),
    [
        ("id", 5, "Value 5 in property id must be a string, or an array of strings"),
        ("age", "x", 'Value "x" in property age must be an integer (from -2147483648 to 2147483647)'),
        ("age", 1.5, "Value 1.5 in property age must be an integer (from -2147483648 to 2147483647)"),
        ("age", 2**31, "Value 2147483648 in property age must be an integer (from -2147483648 to 2147483647)"),
        ("age", True, "Value true in property age must be an integer (from -2147483648 to 2147483647)"),
        ("name", 5, "Value 5 in property name must be a string"),
        ("name", None, "Property name is required (and not does not allow null values)"),
        ("weight", "5", 'Value "5" in property weight must be a number'),
        ("sold", 1, "Value 1 in property sold must be a boolean"),
        ("born", "yesterday", 'Value "yesterday" in property born must be a date'),
    ],
)
def test_declared_types_are_checked(typed: engine.Table, attribute: str, value: Any, text: str) -> None:
    record = {"id": "a", "name": "Ivy", attribute: value}
    for write in (typed.insert, typed.upsert, typed.update):
        with pytest.raises(engine.InvalidRequest) as raised:
            write([{"id": "z", "name": "fine"}, record])
        assert raised.value.message == text
    assert typed.count() == 0


def test_values_of_declared_types_are_taken(typed: engine.Table) -> None:
    typed.insert(
        [
            {"id": "a", "name": "", "age": 2.0, "weight": 1, "big": 2**62, "bigger": -1, "sold": False, "born": 0},
            {"id": ["a", "b"], "name": "B", "age": None, "born": "2026-11-24T16:26:39.159Z", "any": [1], "odd": {}},
        ]
    )
    assert typed.count() == 2


def test_all_complaints_come_at_once(typed: engine.Table) -> None:
    with pytest.raises(engine.InvalidRecord) as raised:
        typed.insert([{"id": "a", "age": "x"}, {"id": "b", "name": "B", "sold": 0}])
    assert raised.value.message == (
        'Value "x" in property age must be an integer (from -2147483648 to 2147483647). '
        "Property name is required (and not does not allow null values). Value 0 in property sold must be a boolean"
    )


def test_what_is_required_must_be_there_once(typed: engine.Table) -> None:
    with pytest.raises(engine.InvalidRecord):
        typed.upsert([{"id": "a", "age": 1}])
    typed.insert([{"id": "a", "name": "Ivy"}])
    typed.upsert([{"id": "a", "age": 1}])
    typed.update([{"id": "a", "age": 2}])
    assert typed.get("a") == {"id": "a", "name": "Ivy", "age": 2}


def test_a_key_that_must_be_a_number_is_not_made_up(node: engine.Node) -> None:
    table = node.create_table("farm", "numbered", attributes=[engine.Attribute("id", "Int")])
    with pytest.raises(engine.InvalidRequest, match="Property id is required"):
        table.insert([{"name": "Ivy"}])


def test_times_are_kept_where_they_are_declared(node: engine.Node) -> None:
    declared = [engine.Attribute("id"), engine.Attribute("__createdtime__"), engine.Attribute("__updatedtime__")]
    table = node.create_table("farm", "timed", attributes=declared)
    version = table.insert([{"id": 1}]).version
    assert table.get(1) == {"id": 1, "__createdtime__": version / 1000, "__updatedtime__": version / 1000}


def test_attributes_of_a_schema_defined_table_change(typed: engine.Table) -> None:
    typed.insert([{"id": "a", "name": "Ivy", "age": 3}])
    typed.create_attribute("coat")
    typed.drop_attribute("age")
    assert names_of(typed) == [*(item.name for item in DECLARED if item.name != "age"), "coat"]
    assert typed.get("a") == {"id": "a", "name": "Ivy"}
    typed.update([{"id": "a", "age": "not checked any more"}])


# --- threads ---------------------------------------------------------------------------------------------------------


def test_threads_write_to_one_table(goats: engine.Table) -> None:
    def work(worker: int) -> None:
        for number in range(50):
            goats.insert([{"id": f"{worker}-{number}", "worker": worker, f"only{worker}": number}])

    workers = [threading.Thread(target=work, args=(worker,)) for worker in range(4)]
    for thread in workers:
        thread.start()
    for thread in workers:
        thread.join()
    assert goats.count() == 200
    assert [goats.count("worker", "equals", worker) for worker in range(4)] == [50] * 4
    assert len(names_of(goats)) == 8
