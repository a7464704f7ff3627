"""The one place that decides whether a request may run.

Each operation states what it demands of its caller (Permission, Demand); `authorize` holds the demands of a request
against the grants of its user, and raises the 403 bodies of HarperDB. What a role may not see does not exist for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

import engine
from frontend.errors import Refused, system_is_protected
from frontend.grants import ATTRIBUTE_RIGHTS, NO_RIGHTS, SYSTEM, TIMES, TableGrant

if TYPE_CHECKING:
    from frontend.operations.row import Call

_TIMES_ARE_KEPT = (
    "Internal timestamp attributes - '__createdtime_' and '__updatedtime__' - "
    "cannot be inserted to or updated by HDB users."
)


# ----------------------------------------------------------------------------------------------------------- demands


class Rule(Enum):
    """Who may call an operation."""

    PUBLIC = "anyone, logged in or not"
    EVERYBODY = "any user"
    SUPER_USER = "super users"
    STRUCTURE = "structure users"
    DESCRIBE = "users who see what is described"
    TABLES = "users with rights on the tables"


@dataclass(frozen=True, slots=True)
class Demand:
    """What a request wants of one table.

    `attributes` are those it names; None for all of them, which is narrowed. Without `whole` the rights are needed on
    these attributes where the role lists attributes, and not on the table.
    """

    schema: str
    table: str
    rights: tuple[str, ...]
    attributes: tuple[str, ...] | None = None
    whole: bool = True


@dataclass(frozen=True, slots=True)
class Permission:
    """What an operation demands of its caller.

    `shown` is the operation's name in "Operation '…' is restricted"; `by_schema` lets structure users of single
    schemas in; `demands` gives the table rights that a request needs.
    """

    rule: Rule
    shown: str = ""
    by_schema: bool = True
    demands: Callable[[Call], Sequence[Demand]] = lambda call: ()

    @property
    def needs_target(self) -> bool:
        """Whether it depends on the schema and the table of the request."""
        return self.rule in (Rule.STRUCTURE, Rule.DESCRIBE, Rule.TABLES)


PUBLIC = Permission(Rule.PUBLIC)
EVERYBODY = Permission(Rule.EVERYBODY)
SUPER_USER = Permission(Rule.SUPER_USER)
DESCRIBE = Permission(Rule.DESCRIBE)


def super_user(shown: str) -> Permission:
    """Super users only, with a name of its own in the refusal."""
    return Permission(Rule.SUPER_USER, shown)


def structure(shown: str = "", *, by_schema: bool = True) -> Permission:
    return Permission(Rule.STRUCTURE, shown, by_schema)


def on_tables(demands: Callable[[Call], Sequence[Demand]]) -> Permission:
    return Permission(Rule.TABLES, demands=demands)


def on_table(*rights: str, attributes: Callable[[Call], tuple[str, ...] | None] = lambda call: ()) -> Permission:
    """Rights on the table that the request names."""

    def demands(call: Call) -> Sequence[Demand]:
        schema, table = call.members["schema"], call.members["table"]
        grant = call.user.grants.on(schema, table)
        by_attribute = grant is not None and grant.attributes is not None
        return [Demand(schema, table, rights, attributes(call) if by_attribute else None)]

    return Permission(Rule.TABLES, demands=demands)


# ---------------------------------------------------------------------------------------------------------- decision


def authorize(call: Call) -> None:
    """Raise the 403 of a request that its user may not make. The members were checked before."""
    permission, user = call.operation.permission, call.user
    if permission.rule is Rule.PUBLIC:
        return
    if user.role is None or user.grants.cluster_user:
        text = f"User {user.name} has no role or permissions.  Please assign the user a valid role."
        raise _forbidden(call, unauthorized=[text])
    match permission.rule:
        case Rule.SUPER_USER:
            if not user.grants.super_user:
                raise _restricted(call)
        case Rule.STRUCTURE:
            _authorize_structure(call)
        case Rule.DESCRIBE:
            _authorize_describe(call)
        case Rule.TABLES:
            authorize_demands(call, permission.demands(call))


def _authorize_structure(call: Call) -> None:
    grants, schema, permission = call.user.grants, call.members["schema"], call.operation.permission
    if not grants.super_user and grants.structure is not True:
        if not permission.by_schema or grants.structure is False:
            raise _restricted(call)
        if not grants.structures(schema):
            text = f"User does not have access to perform '{call.operation.name}' against {call.word} '{schema}'"
            raise _forbidden(call, unauthorized=[text])
    if schema == SYSTEM and permission.by_schema:
        raise system_is_protected(call.word)


def _authorize_describe(call: Call) -> None:
    grants, schema, table = call.user.grants, call.members["schema"], call.members.get("table")
    if grants.super_user:
        return
    if schema == SYSTEM:
        text = f"Your role does not have permission to view {call.word} metadata for '{SYSTEM}'"
        raise _forbidden(call, unauthorized=[text])
    if table is not None:
        if grants.on(schema, table) is None or not _exists(call.node, schema, table):
            raise _forbidden(call, invalid=[f"Table '{schema}.{table}' does not exist"])
    elif not grants.sees(schema) or schema not in call.node.schemas():
        raise _forbidden(call, invalid=[f"{call.word} '{schema}' does not exist"])


def authorize_demands(call: Call, demands: Sequence[Demand]) -> None:
    """Raise the 403 that names everything the user lacks for these demands."""
    if any(demand.schema == SYSTEM and {"update", "delete"}.intersection(demand.rights) for demand in demands):
        raise system_is_protected(call.word)
    unauthorized: list[Any] = []
    invalid: list[str] = []
    for demand in demands:
        _hold(call, demand, unauthorized, invalid)
    if unauthorized or invalid:
        raise _forbidden(call, unauthorized=unauthorized, invalid=invalid)


def _hidden(call: Call, schema: str, table: str) -> str | None:
    """How a table does not exist for the caller, None when it may be told the truth."""
    grants = call.user.grants
    if grants.super_user:
        return None
    if not grants.sees(schema) or schema not in call.node.schemas():
        return f"{call.word} '{schema}' does not exist"
    if grants.on(schema, table) is None or not _exists(call.node, schema, table):
        return f"Table '{schema}.{table}' does not exist"
    return None


def require_existing(call: Call, tables: Iterable[tuple[str, str]]) -> None:
    """Raise the 403 that names those of (schema, table) that do not exist as far as the caller may know."""
    missing = dict.fromkeys(text for schema, table in tables if (text := _hidden(call, schema, table)))
    if missing:
        raise _forbidden(call, invalid=[*missing])


def _hold(call: Call, demand: Demand, unauthorized: list[Any], invalid: list[str]) -> None:
    """Hold one demand against the grants and add what is missing to the two lists."""
    missing_table = _hidden(call, demand.schema, demand.table)
    if missing_table is not None:
        if missing_table not in invalid:
            invalid.append(missing_table)
        return
    grant = call.user.grants.on(demand.schema, demand.table) or NO_RIGHTS
    lacking = [right for right in demand.rights if demand.whole and right not in grant.rights]
    if lacking:
        unauthorized.append(_lack(demand, lacking, []))
        return
    if grant.attributes is None or not demand.attributes:
        return
    _hold_attributes(call, demand, grant, unauthorized, invalid)


def _hold_attributes(
    call: Call, demand: Demand, grant: TableGrant, unauthorized: list[Any], invalid: list[str]
) -> None:
    primary_key = call.node.table(demand.schema, demand.table).primary_key
    lacking: list[dict[str, Any]] = []
    for attribute in dict.fromkeys(demand.attributes or ()):
        rights = grant.on(attribute, primary_key)
        missing = [right for right in demand.rights if right in ATTRIBUTE_RIGHTS and right not in rights]
        if attribute in TIMES and rights and demand.rights != ("read",):
            raise Refused(403, _TIMES_ARE_KEPT)
        if not rights:
            invalid.append(f"Attribute '{attribute}' does not exist on '{demand.schema}.{demand.table}'")
        elif missing:
            lacking.append({"attribute_name": attribute, "required_permissions": missing})
    if lacking:
        unauthorized.append(_lack(demand, [], lacking))


def _exists(node: engine.Node, schema: str, table: str) -> bool:
    try:
        node.table(schema, table)
    except engine.NotFound:
        return False
    return True


# ------------------------------------------------------------------------------------------------------------ bodies


def _lack(demand: Demand, rights: list[str], attributes: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "schema": demand.schema,
        "table": demand.table,
        "required_table_permissions": rights,
        "required_attribute_permissions": attributes,
    }


def _restricted(call: Call) -> Refused:
    shown = call.operation.permission.shown or _camel_case(call.operation.name)
    return _forbidden(call, unauthorized=[f"Operation '{shown}' is restricted to 'super_user' roles"])


def _forbidden(call: Call, *, unauthorized: Sequence[Any] = (), invalid: Sequence[str] = ()) -> Refused:
    return Refused(
        403,
        f"This operation is not authorized due to role restrictions and/or invalid {call.word} items",
        unauthorized_access=list(unauthorized),
        invalid_schema_items=list(invalid),
    )


def _camel_case(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)
