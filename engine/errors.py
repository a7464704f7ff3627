"""Every error that leaves the engine.

The texts are HarperDB's where its operations have one, so that a front end can pass them on as they are. Which HTTP
status belongs to a class is the front end's business.
"""

from __future__ import annotations

import errno
import os
from typing import NoReturn


class KennelError(Exception):
    """Base of all errors of the engine; nothing else leaves its API."""

    @property
    def message(self) -> str:
        return str(self.args[0]) if self.args else type(self).__name__


class InvalidRequest(KennelError):
    """The caller asked for something that makes no sense; asking again will not help."""


class InvalidName(InvalidRequest):
    """A schema, table, key or attribute name that breaks the rules for names."""


class InvalidKey(InvalidRequest):
    """A value that cannot be a primary key, or cannot be ordered."""


class InvalidRecord(InvalidRequest):
    """A record that cannot be stored: not an object, too large, too deep, or of the wrong types for its table."""


class InvalidSearch(InvalidRequest):
    """A search that is malformed, or that the table's indexes cannot answer."""


class UnknownAttribute(InvalidRequest):
    """A search names attributes that the table does not have."""

    def __init__(self, *names: str) -> None:
        listed = " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else "".join(names)
        super().__init__(f"unknown attribute '{listed}'")
        self.names = names


class NotFound(KennelError):
    """A schema or table that does not exist."""


class NoSuchSchema(NotFound):
    def __init__(self, schema: str, word: str = "schema") -> None:
        super().__init__(f"{word} '{schema}' does not exist")
        self.schema = schema


class NoSuchTable(NotFound):
    def __init__(self, schema: str, table: str) -> None:
        super().__init__(f"Table '{schema}.{table}' does not exist")
        self.schema = schema
        self.table = table


class NoSuchAttribute(NotFound):
    """A sort names an attribute that the table does not have."""

    def __init__(self, attribute: str) -> None:
        super().__init__(f"{attribute} is not a defined attribute")
        self.attribute = attribute


class AlreadyExists(KennelError):
    """A schema, table or attribute of this name is there already."""


class SchemaExists(AlreadyExists):
    def __init__(self, schema: str, word: str = "schema") -> None:
        super().__init__(f"{word} '{schema}' already exists")
        self.schema = schema


class TableExists(AlreadyExists):
    def __init__(self, schema: str, table: str) -> None:
        super().__init__(f"Table '{table}' already exists in '{schema}'")
        self.schema = schema
        self.table = table


class AttributeExists(AlreadyExists):
    def __init__(self, schema: str, table: str, attribute: str) -> None:
        super().__init__(f"attribute '{attribute}' already exists in {schema}.{table}")
        self.schema = schema
        self.table = table
        self.attribute = attribute


class Conflict(KennelError):
    """A record changed after the view on which a write was decided; take a new view and decide again."""


class Busy(KennelError):
    """Something shared is held by others for too long; trying again later may help."""


class OutOfTime(KennelError):
    """What was asked for takes longer than it may."""


class Cancelled(KennelError):
    """What was asked for was stopped: whoever asked does not wait for it any more."""


class TooManySnapshots(Busy):
    """All reader slots of a table are taken."""


class Unreachable(KennelError):
    """A node process or a peer does not answer."""


class DiskFull(KennelError):
    """There was no room to write; nothing was changed."""


class ReadOnlyTable(KennelError):
    """A table that refuses writes because the disk failed to keep an earlier one."""


class Corrupt(KennelError):
    """Data on disk is damaged and cannot be repaired without loss."""


class Closed(KennelError):
    """The handle was closed, its table was dropped, or it was opened before a fork."""


class RootError(KennelError):
    """The root directory cannot be used: missing, not a directory, not writable, or of another format."""


def raise_errno(code: int, what: str) -> NoReturn:
    """Turns a negative errno of the core into the error that the API promises."""
    if code in (-errno.ENOSPC, -errno.EDQUOT):
        raise DiskFull("There is no space left on the device")
    if code == -errno.ETIMEDOUT:
        raise Busy(f"{what} is busy, try again later")
    if code == -errno.EROFS:
        raise ReadOnlyTable(f"{what} is read-only since the disk failed to keep a write")
    if code == -errno.EIO:
        raise Corrupt(f"{what} could not be read or written: {os.strerror(-code)}")
    if code == -errno.EUCLEAN:
        raise Corrupt(f"{what}: the index is damaged")
    if code == -errno.ENOMEM:
        raise MemoryError
    raise KennelError(f"{what}: {os.strerror(-code)}")
