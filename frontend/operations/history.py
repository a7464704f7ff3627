"""Operations that read the history of a table from its log: the audit log, and the transaction log."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import orjson

import engine
from engine.conditions import identical
from engine.history import Change, Transaction
from frontend.errors import Refused
from frontend.grants import SYSTEM
from frontend.operations.members import LIMIT, SCHEMA, SCHEMA_LABELS, TABLE, Invalid, Member, array, name
from frontend.operations.row import Call, Operation
from frontend.permissions import SUPER_USER
from grammar.scope import SECRETS

CONFIGURATION_FILE = "kennel-config.yaml"

#: The transactions that change records; the others are of attributes.
WRITES = ("insert", "update", "upsert", "delete")

PAGE = 1000  # transactions read at a time

Entry = dict[str, Any]


def read_transaction_log(call: Call) -> list[Entry]:
    table, start, end = call.table, call["from"], call["to"]
    found = islice(_transactions(table, start, end), call["limit"])
    return [{**_entry(table, transaction), "user": transaction.user} for transaction in found]


def read_audit_log(call: Call) -> Any:
    table = call.table
    if not _is_audited(call, table):
        raise Refused(400, f"To use this operation audit log must be enabled in {CONFIGURATION_FILE}")
    return SEARCHES[call["search_type"]](table, call["search_values"] or [], call["limit"])


def _is_audited(call: Call, table: engine.Table) -> bool:
    audit = table.definition.audit
    return bool(call.node.configuration.get("logging.auditLog")) if audit is None else audit


# ----------------------------------------------------------------------------------------------------------- searches


def _by_time(table: engine.Table, values: list[Any], limit: int | None) -> list[Entry]:
    start, end, *_ = (*values, None, None)
    return list(islice((_entry(table, transaction) for transaction in _transactions(table, start, end)), limit))


def _by_user(table: engine.Table, values: list[Any], limit: int | None) -> dict[str, list[Entry]]:
    found: dict[str, list[Entry]] = {}
    for transaction in _transactions(table):
        if transaction.user in values:
            found.setdefault(str(transaction.user), []).append(_entry(table, transaction))
    return {user: entries[:limit] for user, entries in found.items()}


def _by_key(table: engine.Table, values: list[Any], limit: int | None) -> dict[str, list[Entry]]:
    """The entries of each key, which hold nothing of other keys."""
    wanted = {_key_text(value): value for value in values}
    found: dict[str, list[Entry]] = {}
    for transaction in _transactions(table):
        for text, key in wanted.items():
            changes = [change for change in transaction.changes if identical(change.key, key)]
            if changes:
                entry = _entry(table, transaction, changes)
                del entry["hash_values"]
                found.setdefault(text, []).append(entry)
    return {text: entries[:limit] for text, entries in found.items()}


SEARCHES: dict[str | None, Callable[[engine.Table, list[Any], int | None], Any]] = {
    None: lambda table, values, limit: _by_time(table, [], limit),
    "timestamp": _by_time,
    "username": _by_user,
    "hash_value": _by_key,
}


def _transactions(table: engine.Table, start: float | None = None, end: float | None = None) -> Iterator[Transaction]:
    """The writes of a table, oldest first; `start` and `end` in milliseconds, both inclusive."""
    after = 0
    while page := table.transactions(after, PAGE):
        for transaction in page:
            moment = transaction.version / 1000
            if transaction.operation in WRITES and moment >= (start or 0) and (end is None or moment <= end):
                yield transaction
        after = page[-1].seq


# ------------------------------------------------------------------------------------------------------------ entries


def _entry(table: engine.Table, transaction: Transaction, changes: list[Change] | None = None) -> Entry:
    """One request. Updates show what they changed, and the whole records of before."""
    shown = transaction.changes if changes is None else changes
    entry: Entry = {
        "operation": transaction.operation,
        "user_name": transaction.user,
        "timestamp": transaction.version / 1000,
        "hash_values": [change.key for change in shown],
    }
    key = table.primary_key
    after = [_after(key, change) for change in shown if change.record is not None]
    before = [{key: change.key, **change.previous} for change in shown if change.previous is not None]
    if table.schema == SYSTEM:
        after, before = ([_without_secrets(record) for record in records] for records in (after, before))
    return entry | ({"records": after} if after else {}) | ({"original_records": before} if before else {})


def _after(primary_key: str, change: Change) -> dict[str, Any]:
    record, previous = change.record or {}, change.previous
    times = {"__updatedtime__": change.version / 1000}
    if previous is None:
        return {primary_key: change.key, **record, **times, "__createdtime__": change.created / 1000}
    changed = {name: value for name, value in record.items() if name not in previous or previous[name] != value}
    return {primary_key: change.key, **changed, **times}


def _without_secrets(record: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name not in SECRETS}


def _key_text(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


# ----------------------------------------------------------------------------------------------------------- members


def _milliseconds(value: Any, label: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Invalid(f"'{label}' must be in timestamp or number of milliseconds format")
    return float(value)


def _search_type(value: Any, label: str) -> str:
    if not isinstance(value, str) or value not in SEARCHES:
        raise Invalid(f"Invalid searchType '{value}'")
    return value


OPERATIONS = (
    Operation(
        "read_transaction_log",
        read_transaction_log,
        SUPER_USER,
        (SCHEMA, TABLE, Member("from", _milliseconds), Member("to", _milliseconds), LIMIT),
    ),
    Operation(
        "read_audit_log",
        read_audit_log,
        SUPER_USER,
        (
            Member("schema", name, SCHEMA_LABELS, required=True, absent="database is required"),
            Member("table", name, required=True, absent="table is required"),
            Member("search_type", _search_type, null_is_absent=True),
            Member("search_values", array(), null_is_absent=True),
            LIMIT,
        ),
    ),
)
