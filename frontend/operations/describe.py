"""Operations that describe what there is, as far as the caller may see it."""

from __future__ import annotations

import contextlib
from typing import Any

import engine
from frontend.operations.members import SCHEMA, TABLE, Member, boolean
from frontend.operations.row import Call, Operation
from frontend.permissions import DESCRIBE, EVERYBODY


def describe_all(call: Call) -> dict[str, Any]:
    return {schema: _schema(call, schema) for schema in call.node.schemas() if call.user.grants.sees(schema)}


def describe_schema(call: Call) -> dict[str, Any]:
    return _schema(call, call["schema"])


def describe_table(call: Call) -> dict[str, Any]:
    return _table(call, call.table)


def _schema(call: Call, schema: str) -> dict[str, Any]:
    described = {}
    for table in call.node.tables(schema):
        if call.user.grants.on(schema, table) is None:
            continue
        with contextlib.suppress(engine.NotFound):  # dropped since the list was made
            described[table] = _table(call, call.node.table(schema, table))
    return described


def _table(call: Call, table: engine.Table) -> dict[str, Any]:
    definition, sizes = table.definition, table.sizes()
    grant = call.user.grants.on(table.schema, table.name)
    visible = grant.visible(table.primary_key) if grant else []
    audit = call.node.configuration.get("logging.auditLog") if definition.audit is None else definition.audit
    described = {
        "schema": table.schema,
        "name": table.name,
        "hash_attribute": table.primary_key,
        "audit": audit,
        "schema_defined": bool(definition.attributes),
        "attributes": [
            _attribute(attribute) for attribute in table.attributes() if visible is None or attribute.name in visible
        ],
        "expiration": None if definition.expiration is None else f"{definition.expiration:g}s",
        "record_count": table.count(),
        "table_size": sizes.index_bytes,
        "db_size": sizes.log_bytes + sizes.index_bytes,
        "db_audit_size": sizes.log_bytes,
        "last_updated_record": table.last_updated(),
    }
    return {member: value for member, value in described.items() if value is not None}


def _attribute(attribute: engine.Attribute) -> dict[str, Any]:
    described: dict[str, Any] = {"attribute": attribute.name}
    if attribute.type is not None:
        described["type"] = attribute.type
    if attribute.is_primary_key:
        described["is_primary_key"] = True
    elif attribute.indexed:
        described["indexed"] = True
    if attribute.nullable is not None:
        described["nullable"] = attribute.nullable
    return described


_EXACT = Member("exact_count", boolean)
_COMPUTED = Member("include_computed", boolean)

OPERATIONS = (
    Operation("describe_all", describe_all, EVERYBODY, (_EXACT, _COMPUTED)),
    Operation("describe_schema", describe_schema, DESCRIBE, (SCHEMA, _EXACT)),
    Operation("describe_database", describe_schema, DESCRIBE, (SCHEMA, _EXACT)),
    Operation("describe_table", describe_table, DESCRIBE, (SCHEMA, TABLE, _EXACT)),
)
