"""Operations on roles, and what a permission document may hold."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from typing import Any

import engine
from frontend.authentication import ROLES
from frontend.errors import Refused
from frontend.grants import ATTRIBUTE_RIGHTS, RIGHTS
from frontend.operations.members import Member, anything
from frontend.operations.row import Call, Operation
from frontend.operations.users import blankless
from frontend.permissions import SUPER_USER

_NAME = re.compile(r"[\w\-]+")
_KEYS = ("operation", "role", "id", "permission")
_TYPES = ("super_user", "cluster_user")
_TABLE_KEYS = (*RIGHTS, "attribute_permissions")
_ATTRIBUTE_KEYS = ("attribute_name", *RIGHTS)


def list_roles(call: Call) -> list[dict[str, Any]]:
    return call.accounts.roles()


def add_role(call: Call) -> dict[str, Any]:
    _check(call, required=("role", "permission"))
    name = call["role"]
    taken = Refused(409, f"A role with name '{name}' already exists")
    if call.accounts.roles_named(name):
        raise taken
    # The name as the id lets the table itself decide between two requests that come at once. It is in use only when
    # a role that was added by this name has another one now.
    identity = name if call.node.system(ROLES).get(name) is None else str(uuid.uuid4())
    row = {"id": identity, "role": name, "permission": call["permission"]}
    if not call.node.system(ROLES).insert([row], user=call.user.name).written:
        raise taken
    return _stored(call, identity)


def alter_role(call: Call) -> dict[str, Any]:
    _check(call, required=("id", "permission"))
    role = call.accounts.role(call["id"]) if isinstance(call["id"], str) else None
    if role is None:
        raise Refused(400, "Invalid role id")
    change = {"id": role["id"], "permission": call["permission"]}
    if call["role"] is not None:
        if any(other["id"] != role["id"] for other in call.accounts.roles_named(call["role"])):
            raise Refused(409, f"A role with name '{call['role']}' already exists")
        change["role"] = call["role"]
    if call["permission"].get("super_user") is not True:
        _refuse_for_last_super_users(call, role["id"])
    call.node.system(ROLES).update([change], user=call.user.name)
    return _stored(call, role["id"])


def drop_role(call: Call) -> str:
    role = call.accounts.role(call["id"])
    if role is None:
        raise Refused(404, "Role not found")
    if any(user.active and user.row.get("role") == role["id"] for user in call.accounts.users()):
        raise Refused(409, f"Cannot drop role {role['role']} as it has active user(s) tied to this role")
    call.node.system(ROLES).delete([role["id"]], user=call.user.name)
    return f"{role['role']} successfully deleted"


def _stored(call: Call, identity: str) -> dict[str, Any]:
    return call.node.system(ROLES).get(identity) or {}


def _refuse_for_last_super_users(call: Call, role: str) -> None:
    """Refuse to take its power from the role of the last active super users."""
    powerful = [user for user in call.accounts.users() if user.active and user.grants.super_user]
    if powerful and all(user.row.get("role") == role for user in powerful):
        raise Refused(409, "The last active super users have this role")


# ---------------------------------------------------------------------------------------------------------- documents


def _check(call: Call, required: tuple[str, ...]) -> None:
    """Refuse a request with all that is wrong in it: of the document as a whole, and of each table in it."""
    main = [f"{name.capitalize()} can't be blank" for name in required if call[name] is None]
    if call["role"] is not None and not (isinstance(call["role"], str) and _NAME.fullmatch(call["role"])):
        main.append("Role is invalid")
    foreign = [f"'{key}'" for key in call.request if key not in _KEYS]
    if foreign:
        main.append(f"Invalid key{'s' if len(foreign) > 1 else ''} in JSON body - {', '.join(foreign)}")
    tables: dict[str, list[str]] = {}
    permission = call["permission"]
    if isinstance(permission, dict):
        main += _types(permission)
        main += _structure(call, permission.get("structure_user"))
        main += _tables(call, permission, tables)
    elif permission is not None:
        main.append("Value for 'permission' must be an object")
    if main or tables:
        raise Refused(
            400, "Errors in the role permissions JSON provided", main_permissions=main, schema_permissions=tables
        )


def _types(permission: dict[str, Any]) -> Iterator[str]:
    for kind in _TYPES:
        value = permission.get(kind)
        if value is not None and not isinstance(value, bool):
            yield f"Value for '{kind}' permission must be a boolean"
        if value is True and len(permission) > 1:
            yield f"Roles with '{kind}' set to true cannot have other permissions set."


def _structure(call: Call, structure: Any) -> Iterator[str]:
    if isinstance(structure, list):
        yield from (
            f"{call.word} '{schema}' does not exist" for schema in structure if schema not in call.node.schemas()
        )
    elif structure is not None and not isinstance(structure, bool):
        yield "Value for 'structure_user' permission must be a boolean or Array"


def _tables(call: Call, permission: dict[str, Any], problems: dict[str, list[str]]) -> Iterator[str]:
    """The problems with schemas and tables; those within tables go to `problems` under `schema_table`."""
    for schema, entry in permission.items():
        if schema in (*_TYPES, "structure_user"):
            continue
        if schema not in call.node.schemas():
            yield f"{call.word} '{schema}' does not exist"
            continue
        tables = entry.get("tables") if isinstance(entry, dict) else None
        if not isinstance(tables, dict):
            yield f"Value for '{schema}' must be an object with 'tables'"
            continue
        for name, description in tables.items():
            try:
                found = list(_table(call.node.table(schema, name), description))
            except engine.NotFound:
                yield f"Table '{schema}.{name}' does not exist"
                continue
            if found:
                problems[f"{schema}_{name}"] = found


def _table(table: engine.Table, description: Any) -> Iterator[str]:
    if not isinstance(description, dict):
        yield "Table permission must be an object"
        return
    yield from (f"Invalid table permission key value '{key}'" for key in description if key not in _TABLE_KEYS)
    for right in RIGHTS:
        if right not in description:
            yield f"Missing table {right.upper()} permission"
        elif not isinstance(description[right], bool):
            yield f"Table {right.upper()} permission must be a boolean"
    listed = description.get("attribute_permissions")
    if "attribute_permissions" not in description:
        yield "Missing 'attribute_permissions' array"
    elif isinstance(listed, list):
        yield from _attributes(table, description, listed)
    elif listed is not None:
        yield "Value for 'attribute_permissions' must be an array"


def _attributes(table: engine.Table, description: dict[str, Any], listed: list[Any]) -> Iterator[str]:
    names = {attribute.name for attribute in table.attributes()}
    conflict = False
    for entry in listed:
        if not isinstance(entry, dict):
            yield "Attribute permission must be an object"
            continue
        yield from (f"Invalid attribute permission key value '{key}'" for key in entry if key not in _ATTRIBUTE_KEYS)
        name = entry.get("attribute_name")
        if not isinstance(name, str):
            yield "Permission object in 'attribute_permission' missing an 'attribute_name'"
            continue
        if name not in names:
            yield f"Invalid attribute '{name}' in 'attribute_permissions'"
            continue
        yield from _flags(name, entry)
        conflict |= any(entry.get(right) is True and description.get(right) is False for right in ATTRIBUTE_RIGHTS)
    if conflict:
        yield (
            f"You have a conflict with TABLE permissions for '{table.schema}.{table.name}' being false "
            "and ATTRIBUTE permissions being true"
        )


def _flags(name: str, entry: dict[str, Any]) -> Iterator[str]:
    for right in ATTRIBUTE_RIGHTS:
        if right not in entry:
            yield f"{right.upper()} attribute permission missing for '{name}'"
        elif not isinstance(entry[right], bool):
            yield f"{right.upper()} attribute permission for '{name}' must be a boolean"


_ROLE = Member("role", anything)
_ID = Member("id", anything)
_PERMISSION = Member("permission", anything)

OPERATIONS = (
    Operation("list_roles", list_roles, SUPER_USER),
    Operation("add_role", add_role, SUPER_USER, (_ROLE, _PERMISSION)),
    Operation("alter_role", alter_role, SUPER_USER, (_ID, _ROLE, _PERMISSION)),
    Operation("drop_role", drop_role, SUPER_USER, (blankless("id"),)),
)
