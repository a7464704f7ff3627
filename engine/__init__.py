"""KennelDB's storage engine: tables of documents on disk, shared by any number of processes.

>>> import engine, tempfile
>>> with tempfile.TemporaryDirectory() as root, engine.open_node(root) as node:
...     table = node.create_table("dev", "dog", primary_key="id")
...     result = table.insert([{"id": 1, "dog_name": "Penny"}])
...     table.get(1)["dog_name"]
'Penny'
"""

from engine.api import Node, Snapshot, open_node
from engine.catalog import Attribute, TableDefinition
from engine.errors import (
    AlreadyExists,
    AttributeExists,
    Busy,
    Cancelled,
    Closed,
    Conflict,
    Corrupt,
    DiskFull,
    InvalidKey,
    InvalidName,
    InvalidRecord,
    InvalidRequest,
    InvalidSearch,
    KennelError,
    NoSuchAttribute,
    NoSuchSchema,
    NoSuchTable,
    NotFound,
    OutOfTime,
    ReadOnlyTable,
    RootError,
    SchemaExists,
    TableExists,
    TooManySnapshots,
    UnknownAttribute,
    Unreachable,
)
from engine.table import Sizes, Table, WriteResult
from engine.version import __version__
from engine.view import View

__all__ = [
    "AlreadyExists",
    "Attribute",
    "AttributeExists",
    "Busy",
    "Cancelled",
    "Closed",
    "Conflict",
    "Corrupt",
    "DiskFull",
    "InvalidKey",
    "InvalidName",
    "InvalidRecord",
    "InvalidRequest",
    "InvalidSearch",
    "KennelError",
    "NoSuchAttribute",
    "NoSuchSchema",
    "NoSuchTable",
    "Node",
    "NotFound",
    "OutOfTime",
    "ReadOnlyTable",
    "RootError",
    "SchemaExists",
    "Sizes",
    "Snapshot",
    "Table",
    "TableDefinition",
    "TableExists",
    "TooManySnapshots",
    "UnknownAttribute",
    "Unreachable",
    "View",
    "WriteResult",
    "__version__",
    "open_node",
]
