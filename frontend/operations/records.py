"""Operations that write records: insert, update, upsert, delete."""

from __future__ import annotations

from typing import Any

from frontend.operations.members import HASH_VALUE_LABELS, SCHEMA, TABLE, Member, array, records
from frontend.operations.row import Call, Operation
from frontend.permissions import on_table


def insert(call: Call) -> dict[str, Any]:
    result = call.table.insert(call["records"], user=call.user.name)
    return {
        "message": _summary("inserted", result.written, call["records"]),
        "inserted_hashes": result.written,
        "skipped_hashes": result.skipped,
    }


def update(call: Call) -> dict[str, Any]:
    result = call.table.update(call["records"], user=call.user.name)
    return {
        "message": _summary("updated", result.written, call["records"]),
        "update_hashes": result.written,
        "skipped_hashes": result.skipped,
    }


def upsert(call: Call) -> dict[str, Any]:
    result = call.table.upsert(call["records"], user=call.user.name)
    return {"message": _summary("upserted", result.written, call["records"]), "upserted_hashes": result.written}


def delete(call: Call) -> dict[str, Any]:
    asked = call["hash_values"]
    result = call.table.delete(asked, user=call.user.name)
    noun = "record" if len(asked) == 1 else "records"
    return {
        "message": f"{len(result.written)} of {len(asked)} {noun} successfully deleted",
        "deleted_hashes": result.written,
        "skipped_hashes": result.skipped,
    }


def _summary(verb: str, written: list[Any], asked: list[Any]) -> str:
    return f"{verb} {len(written)} of {len(asked)} records"


def _attributes(call: Call) -> tuple[str, ...]:
    """The attributes that the records name, in the order in which they appear first."""
    return tuple(dict.fromkeys(str(name) for record in call["records"] or () for name in record))


_RECORDS = (SCHEMA, TABLE, Member("records", records, required=True))

OPERATIONS = (
    Operation("insert", insert, on_table("insert", attributes=_attributes), _RECORDS, absent=400),
    Operation("update", update, on_table("update", attributes=_attributes), _RECORDS, absent=400),
    Operation("upsert", upsert, on_table("insert", "update", attributes=_attributes), _RECORDS, absent=400),
    Operation(
        "delete",
        delete,
        on_table("delete"),
        (SCHEMA, TABLE, Member("hash_values", array(), HASH_VALUE_LABELS, required=True)),
    ),
)
