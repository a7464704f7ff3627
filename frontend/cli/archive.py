"""kennel backup and kennel restore."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import click

import engine
from engine import configuration
from engine.archive import Contents
from engine.backup import backup
from engine.errors import InvalidRequest
from engine.process import CannotStart, Exit
from engine.restore import restore
from frontend import pidfile
from frontend.cli import root as roots
from frontend.cli.operation import separated


def make(file: Path, given: Sequence[str]) -> int:
    """Write a backup of a node, running or not, to `file`: whole, or `schema=` with or without `table=`."""
    parameters, members = separated(given)
    schema = members.pop("schema", None) or members.pop("database", None)
    tables = [name for name in str(members.pop("table", None) or members.pop("tables", "")).split(",") if name]
    if members or (tables and not schema):
        raise CannotStart(Exit.USAGE, "a backup takes schema=NAME and, within it, table=NAME[,NAME]…")
    root = roots.only_root(parameters)
    draft = file.with_name(file.name + ".part")
    named = None if schema is None else str(schema)
    with engine.open_node(root, create=False) as node, backup(node, named, tables) as chunks:
        try:
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as out:
                for chunk in chunks:
                    out.write(chunk)
                out.flush()
                os.fsync(out.fileno())
            draft.rename(file)
        finally:
            draft.unlink(missing_ok=True)
    click.echo(f"Backup of {root} written to {file} ({file.stat().st_size} bytes).")
    return Exit.OK


def bring_back(file: Path, given: Sequence[str]) -> int:
    """Restore a backup into a new root directory; parameters beside --ROOTPATH and --until change its configuration."""
    root, arguments = roots.parse(given)
    until = arguments.pop("until", None)
    unknown = configuration.unknown_parameters(arguments)
    if unknown:
        raise CannotStart(Exit.USAGE, f"unknown parameter --{unknown[0]}")
    if pidfile.holder(root) is not None:
        raise CannotStart(Exit.HELD, f"a node is running in {root}")
    with file.open("rb") as archive:
        contents = restore(archive, root, None if until is None else moment(until))
    if (root / configuration.FILE_NAME).exists():
        configuration.change(root, arguments)
    elif arguments:
        click.echo("This backup has no configuration; give its parameters to kennel start.", err=True)
    click.echo(f"Restored {described(contents)} into {root}.")
    return Exit.OK


def described(contents: Contents) -> str:
    tables = len(contents.tables)
    what = "a node" if contents.node else f"schema {', '.join(contents.schemas)}"
    return f"{what} with {tables} table{'' if tables == 1 else 's'}"


def moment(text: str) -> int:
    """Microseconds since 1970 of an ISO 8601 time (without a zone: local time), or of milliseconds since 1970."""
    with suppress(ValueError):
        return round(float(text) * 1000)
    try:
        return round(datetime.fromisoformat(text).timestamp() * 1_000_000)
    except ValueError:
        raise InvalidRequest(f"'{text}' is no time; write 2026-03-01T12:00:00Z, or milliseconds since 1970") from None
