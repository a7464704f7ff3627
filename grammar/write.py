"""INSERT, UPDATE, DELETE and UPSERT: rows are chosen on a view and written if nothing changed since.

When another writer was faster, the statement starts over on a new view.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import engine
from grammar.bound import BoundDelete, BoundInsert, BoundUpdate, Field, Ordering, Selection, TableSource
from grammar.expressions import compile_expression
from grammar.frame import Frame, Row
from grammar.plan import plan
from grammar.syntax import Expression
from grammar.values import Value

PATIENCE = 10.0  # seconds for which a statement is tried again
FIRST_PAUSE, LONGEST_PAUSE = 0.0005, 0.02  # seconds between two attempts: what overtook us has to reach the disk first
KEPT_BY_ENGINE = frozenset({"__createdtime__", "__updatedtime__"})

Record = dict[str, Any]
Reply = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Writer:
    """`frame` gives each attempt a new frame, and with it a new view of the table that is written."""

    node: Any
    user: str | None
    frame: Callable[[], AbstractContextManager[Frame]]

    def write(self, statement: BoundInsert | BoundUpdate | BoundDelete) -> Reply:
        """Raises engine.Conflict when other writers are faster again and again."""
        table = self.node.table(statement.target.schema, statement.target.table)
        if isinstance(statement, BoundInsert):
            if statement.updates is None:
                return self._insert(statement, table)
            return self._retried(lambda: self._insert_or_update(statement, statement.updates or (), table))
        if isinstance(statement, BoundUpdate):
            return self._retried(lambda: self._update(statement, table))
        return self._retried(lambda: self._delete(statement, table))

    def _retried(self, attempt: Callable[[], Reply]) -> Reply:
        deadline, pause = time.monotonic() + PATIENCE, FIRST_PAUSE
        while True:
            try:
                return attempt()
            except engine.Conflict:
                if time.monotonic() > deadline:
                    raise
            time.sleep(pause * (0.5 + random.random()))
            pause = min(pause * 2, LONGEST_PAUSE)

    def _insert(self, statement: BoundInsert, table: Any) -> Reply:
        with self.frame() as frame:
            records = _records(statement, frame)
        if statement.verb == "upsert":
            result = table.upsert(records, user=self.user)
            return {
                "message": f"upserted {len(result.written)} of {len(records)} records",
                "upserted_hashes": result.written,
            }
        return _inserted(table.insert(records, user=self.user))

    def _insert_or_update(
        self, statement: BoundInsert, updates: tuple[tuple[str, Expression], ...], table: Any
    ) -> Reply:
        """ON CONFLICT DO UPDATE. A record that appears in between is updated in the next round."""
        target = statement.target
        with self.frame() as frame:
            view = frame.views[target.schema, target.table]
            records = _records(statement, frame)
            fresh, changes = [], []
            for record in records:
                stored = (
                    view.get(record.get(target.primary_key)) if record.get(target.primary_key) is not None else None
                )
                if stored is None:
                    fresh.append(record)
                else:
                    changes.append(_merged(stored, record, statement, updates, frame))
            updated = table.update(changes, user=self.user, at=view).written if changes else []
        inserted = table.insert(fresh, user=self.user) if fresh else None
        if inserted is not None and inserted.skipped:
            raise engine.Conflict("a record to be inserted appeared meanwhile")
        written = ([] if inserted is None else inserted.written) + updated
        return {"message": f"upserted {len(written)} of {len(records)} records", "upserted_hashes": written}

    def _update(self, statement: BoundUpdate, table: Any) -> Reply:
        target = statement.target
        with self.frame() as frame:
            values = [value for _, value in statement.assignments]
            chosen = _chosen(target, values, statement.where, frame)
            names = [name for name, _ in statement.assignments]
            records = [{target.primary_key: key, **dict(zip(names, row, strict=True))} for key, *row in chosen]
            records = [_without_times(record) for record in records]
            view = frame.views[target.schema, target.table]
            result = table.update(records, user=self.user, at=view) if records else None
        written = [] if result is None else result.written
        skipped = [] if result is None else result.skipped
        message = f"updated {len(written)} of {len(records)} records"
        return {"message": message, "update_hashes": written, "skipped_hashes": skipped}

    def _delete(self, statement: BoundDelete, table: Any) -> Reply:
        with self.frame() as frame:
            keys = [key for (key,) in _chosen(statement.target, [], statement.where, frame)]
            view = frame.views[statement.target.schema, statement.target.table]
            result = table.delete(keys, user=self.user, at=view) if keys else None
        written = [] if result is None else result.written
        skipped = [] if result is None else result.skipped
        noun = "record" if len(keys) == 1 else "records"
        message = f"{len(written)} of {len(keys)} {noun} successfully deleted"
        return {"message": message, "deleted_hashes": written, "skipped_hashes": skipped}


def _chosen(target: TableSource, values: Sequence[Expression], where: Expression | None, frame: Frame) -> list[Row]:
    """The key of each record for which the condition holds, and the values for it."""
    key = Field(target.number, target.primary_key, target.primary_key)
    columns = (key, *values)
    names = tuple([str(place) for place in range(len(columns))])
    order: tuple[Ordering, ...] = ()
    selection = Selection(target, where, None, None, columns, names, False, order, None)
    return frame.budget.collected(plan(selection, frame).rows())


def _records(statement: BoundInsert, frame: Frame) -> list[Record]:
    if statement.query is not None:
        rows = frame.budget.collected(plan(statement.query, frame).rows())
    else:
        rows = [tuple([compile_expression(value, frame, {})(()) for value in row]) for row in statement.rows]
    return [_without_times(dict(zip(statement.columns, row, strict=True))) for row in rows]


def _merged(
    stored: Record, proposed: Record, statement: BoundInsert, updates: tuple[tuple[str, Expression], ...], frame: Frame
) -> Record:
    """What ON CONFLICT DO UPDATE makes of a stored record and the one that was to be inserted."""
    target = statement.target
    outer: dict[tuple[int, str], Value] = {(target.number, name): stored.get(name) for name in target.attributes}
    outer |= {(statement.proposed, name): proposed.get(name) for name in statement.columns}
    inner = frame.within(outer)
    changes = {name: compile_expression(value, inner, {})(()) for name, value in updates}
    return _without_times({target.primary_key: stored[target.primary_key], **changes})


def _without_times(record: Record) -> Record:
    return {name: value for name, value in record.items() if name not in KEPT_BY_ENGINE}


def _inserted(result: Any) -> Reply:
    message = f"inserted {len(result.written)} of {len(result.written) + len(result.skipped)} records"
    return {"message": message, "inserted_hashes": result.written, "skipped_hashes": result.skipped}
