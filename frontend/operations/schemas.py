"""Operations that make and drop schemas, tables and attributes."""

from __future__ import annotations

import math
from typing import Any

import engine
from frontend.errors import system_is_protected
from frontend.grants import SYSTEM
from frontend.operations.members import (
    NEW_SCHEMA,
    SCHEMA_LABELS,
    TABLE,
    Invalid,
    Member,
    array,
    boolean,
    name,
    object_of,
    text,
)
from frontend.operations.row import Call, Operation
from frontend.permissions import on_table, structure

_KEY_LABELS = ("hash_attribute", "primary_key")


def create_schema(call: Call) -> str:
    if call["schema"] == SYSTEM:
        raise engine.SchemaExists(SYSTEM)
    call.node.create_schema(call["schema"])
    return f"{call.word} '{call['schema']}' successfully created"


def drop_schema(call: Call) -> str:
    if call["schema"] == SYSTEM:
        raise system_is_protected(call.word)
    call.node.drop_schema(call["schema"])
    return f"successfully deleted '{call['schema']}'"


def create_table(call: Call) -> str:
    schema, table = call["schema"], call["table"]
    call.node.create_table(
        schema,
        table,
        call["primary_key"],
        attributes=[engine.Attribute(**description) for description in call["attributes"]],
        expiration=call["expiration"],
        audit=call["audit"],
    )
    return f"table '{schema}.{table}' successfully created."


def drop_table(call: Call) -> str:
    call.node.drop_table(call["schema"], call["table"])
    return f"successfully deleted table '{call['schema']}.{call['table']}'"


def create_attribute(call: Call) -> str:
    call.table.create_attribute(call["attribute"], user=call.user.name)
    return f"attribute '{call['schema']}.{call['table']}.{call['attribute']}' successfully created."


def drop_attribute(call: Call) -> str:
    call.table.drop_attribute(call["attribute"], user=call.user.name)
    return f"successfully deleted attribute '{call['attribute']}'"


# ----------------------------------------------------------------------------------------------------------- members


def _new_attribute(value: Any, label: str) -> str:
    if not isinstance(value, str) or not value:
        raise Invalid("Attribute name is required")
    if "/" in value or "`" in value:
        raise Invalid("Attribute names cannot include backticks or forward slashes")
    return value


def _expiration(value: Any, label: str) -> float | None:
    """Seconds; what is no positive number is accepted and means none, as in HarperDB."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        return None
    return float(value)


_ATTRIBUTE = object_of(
    Member("name", text, ("name", "attribute"), required=True),
    Member("type", text, null_is_absent=True),
    Member("indexed", boolean, null_is_absent=True, default=False),
    Member("is_primary_key", boolean, ("is_primary_key", "is_hash_attribute"), null_is_absent=True, default=False),
    Member("nullable", boolean, null_is_absent=True),
)

_CREATES_SCHEMAS = structure("createSchema", by_schema=False)
_DROPS_SCHEMAS = structure("dropSchema", by_schema=False)

OPERATIONS = (
    Operation("create_schema", create_schema, _CREATES_SCHEMAS, (NEW_SCHEMA,)),
    Operation("create_database", create_schema, _CREATES_SCHEMAS, (NEW_SCHEMA,)),
    Operation("drop_schema", drop_schema, _DROPS_SCHEMAS, (Member("schema", name, SCHEMA_LABELS, required=True),)),
    Operation(
        "drop_database",
        drop_schema,
        _DROPS_SCHEMAS,
        (Member("schema", name, SCHEMA_LABELS, required=True, absent="'database' is required"),),
    ),
    Operation(
        "create_table",
        create_table,
        structure(),
        (
            NEW_SCHEMA,
            TABLE,
            Member("primary_key", name, _KEY_LABELS, required=True),
            Member("attributes", array(_ATTRIBUTE), default=()),
            Member("expiration", _expiration),
            Member("residence", array()),
            Member("audit", boolean),
        ),
    ),
    Operation("drop_table", drop_table, structure(), (NEW_SCHEMA, TABLE)),
    Operation(
        "create_attribute",
        create_attribute,
        on_table("insert", attributes=lambda call: (call["attribute"],) if call["attribute"] else ()),
        (
            NEW_SCHEMA,
            TABLE,
            Member("attribute", _new_attribute, required=True, absent="Attribute name is required"),
            Member("indexed", boolean),
        ),
        absent=400,
    ),
    Operation(
        "drop_attribute", drop_attribute, structure(), (NEW_SCHEMA, TABLE, Member("attribute", text, required=True))
    ),
)
