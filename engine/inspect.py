"""Looking into a root directory: `python -m engine.inspect ROOT check|stat|dump|rebuild [schema.table]`.

    check    Verifies everything that can be: of each segment the header, every frame and operation, their order
             and completeness; of the indexes the checksum of every page, their structure, counts and order, that each
             holds exactly what the records say, and that the primary one points to the last operation of each key in
             the log. An index that is found damaged here is made anew by the node, or by whoever opens the table next.
    stat     Shows how large everything is.
    dump     Prints a table's log, one transaction of JSON per line.
    rebuild  Throws the indexes away and makes them anew from the log; only while nobody has the table open.

The node may be running, but for rebuild. Exit status: 0 all is well, 1 something is damaged, 2 used wrongly, 4 the root
directory cannot be used, 6 somebody has open what was to be rebuilt.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from engine.api import ID_FILE, Node, open_node
from engine.catalog import CATALOG_ID, TableDefinition
from engine.errors import Corrupt, InvalidRequest, KennelError, RootError
from engine.locks import lock
from engine.logcheck import check_log
from engine.process import CannotStart, Exit, explanation, status_of
from engine.segmentfiles import segment_files
from engine.store import Store, StoreView
from engine.table import Table
from engine.upkeep import LOCK_NAME

USAGE = "usage: python -m engine.inspect ROOT check|stat|dump|rebuild [schema.table]"
CATALOG = "catalog"


def main(arguments: Sequence[str] | None = None) -> int:
    given = list(sys.argv[1:] if arguments is None else arguments)
    if len(given) not in (2, 3) or given[1] not in COMMANDS:
        print(USAGE, file=sys.stderr)
        return Exit.USAGE
    root = Path(given[0]).expanduser().absolute()
    try:
        if not (root / ID_FILE).exists():
            raise RootError(f"{root} is not the root directory of a node")
        return COMMANDS[given[1]](root, given[2] if len(given) == 3 else None)
    except (KennelError, CannotStart) as error:
        print(f"inspect: {explanation(error)}", file=sys.stderr)
        return status_of(error)
    except BrokenPipeError:  # whoever read the output has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.OK


# --- check -----------------------------------------------------------------------------------------------------------


def check(root: Path, only: str | None) -> int:
    """A line per table, and below it what was found."""
    damaged = 0
    if only in (None, CATALOG):
        damaged += _report(CATALOG, *_check_catalog(root))
    if only != CATALOG:
        try:
            with open_node(root, create=False) as node:
                for definition in _chosen(node, only):
                    damaged += _report(_name(definition), *_check_table(node, definition))
        except Corrupt as error:  # the catalog: which tables there are is not known, only their directories
            print(f"the names of the tables are not to be had: {error.message}")
            damaged += sum(_report(path.name, *_check_files(path)) for path in _directories(root)) + 1
    print("no damage was found" if not damaged else "damage was found")
    return Exit.FAILED if damaged else Exit.OK


def _report(name: str, damage: list[str], notes: list[str]) -> bool:
    print(f"{name}: {'damaged' if damage else 'sound'}")
    for text in damage:
        print(f"    damage: {text}")
    for text in notes:
        print(f"    {text}")
    return bool(damage)


def _check_catalog(root: Path) -> tuple[list[str], list[str]]:
    directory = root / "schema" / str(CATALOG_ID)
    damage, notes = _check_files(directory)
    if damage:
        return damage, notes
    with closing(Store(os.fspath(directory), CATALOG_ID.bytes)) as store, closing(store.view()) as view:
        return _check_view(view, directory)


def _check_table(node: Node, definition: TableDefinition) -> tuple[list[str], list[str]]:
    """(what is damaged, what else there is to say)."""
    directory = node.directory_of(definition)
    try:
        with node.table(definition.schema, definition.name).view() as view:
            return _check_view(view.snapshot, directory)
    except KennelError as error:
        damage, notes = _check_files(directory)
        return damage or [error.message], notes


def _check_view(view: StoreView, directory: Path) -> tuple[list[str], list[str]]:
    log = check_log(directory, view)
    damage = list(map(str, log.damage))
    try:
        view.check()
    except Corrupt as error:
        damage.append(error.message)
    return damage, [f"{view.count()} records; {log.summary}", *map(str, log.notes)]


def _check_files(directory: Path) -> tuple[list[str], list[str]]:
    log = check_log(directory)
    return list(map(str, log.damage)), [f"not opened; {log.summary}", *map(str, log.notes)]


# --- stat, dump ------------------------------------------------------------------------------------------------------


def stat(root: Path, only: str | None) -> int:
    """A table of all tables: what they hold, and what that takes."""
    heads = ("table", "records", "attributes", "transactions", "segments", "log KiB", "index KiB", "free pages")
    with open_node(root, create=False) as node:
        rows = [_sizes(node.table(item.schema, item.name)) for item in _chosen(node, only)]
    cells = [heads, *([str(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        name, *numbers = row
        print(name.ljust(widths[0]), *(text.rjust(width) for text, width in zip(numbers, widths[1:], strict=True)))
    return Exit.OK


def _sizes(table: Table) -> tuple[Any, ...]:
    sizes, counters = table.sizes(), table.counters()
    with table.view() as view:
        held = (view.snapshot.count(), len(view.attributes), view.seq)
    segments = sum(1 for _ in segment_files(table.directory))
    taken = (segments, sizes.log_bytes // 1024, sizes.index_bytes // 1024, counters["free_pages"])
    return (f"{table.schema}.{table.name}", *held, *taken)


def dump(root: Path, only: str | None) -> int:
    """The transactions of one table, as far as they are sound."""
    if only is None:
        raise InvalidRequest("dump needs the name of a table: schema.table")
    with open_node(root, create=False) as node:
        [definition] = _chosen(node, only)
        for transaction in _transactions(node.table(definition.schema, definition.name)):
            print(json.dumps(dataclasses.asdict(transaction), ensure_ascii=False))
    return Exit.OK


def _transactions(table: Table) -> Iterator[Any]:
    after = 0
    for limit in (1000, 1):  # one by one up to the damage, if there is any
        try:
            while found := table.transactions(after, limit):
                yield from found
                after = found[-1].seq
            return
        except Corrupt:
            if limit == 1:
                raise


# --- rebuild ---------------------------------------------------------------------------------------------------------


def rebuild(root: Path, only: str | None) -> int:
    """Makes the indexes anew from the log."""
    with _alone(root / LOCK_NAME, f"a node is running in {root}"):
        if only in (None, CATALOG):
            _forget_index(root / "schema" / str(CATALOG_ID), CATALOG)
        with open_node(root) as node:
            for definition in _chosen(node, only) if only != CATALOG else ():
                _forget_index(node.directory_of(definition), _name(definition))
                table = node.table(definition.schema, definition.name)
                print(f"{_name(definition)}: rebuilt, {table.count()} records")
            node.maintain(0)
    return Exit.OK


def _forget_index(directory: Path, name: str) -> None:
    with _alone(directory / "shared.shm", f"{name} is open in another process"):
        (directory / "index.kbt").unlink(missing_ok=True)
        (directory / "shared.shm").unlink(missing_ok=True)


@contextmanager
def _alone(path: Path, otherwise: str) -> Iterator[None]:
    with lock(path) as held:
        if not held:
            raise CannotStart(Exit.HELD, otherwise)
        yield


# --- inside ----------------------------------------------------------------------------------------------------------


def _chosen(node: Node, only: str | None) -> list[TableDefinition]:
    """The one that is meant, or all."""
    known = node.definitions()
    chosen = [definition for definition in known if only in (None, _name(definition))]
    if only is not None and not chosen:
        raise InvalidRequest(f"there is no table {only}; there are: {', '.join(map(_name, known))}")
    return chosen


def _name(definition: TableDefinition) -> str:
    return f"{definition.schema}.{definition.name}"


def _directories(root: Path) -> list[Path]:
    return sorted(path for path in (root / "schema").iterdir() if not path.suffix and path.name != str(CATALOG_ID))


COMMANDS: Mapping[str, Any] = {"check": check, "stat": stat, "dump": dump, "rebuild": rebuild}

if __name__ == "__main__":
    sys.exit(main())
