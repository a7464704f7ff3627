"""SQL over KennelDB's engine: HarperDB's dialect, planned onto the indexes of every attribute.

import engine, grammar
with engine.open_node("/data/kennel") as node:
    grammar.query(node, "SELECT * FROM dev.dog WHERE id = ?", [1])      # -> list of dicts, or the write reply
"""

from grammar.asking import query
from grammar.budget import Budget
from grammar.errors import SqlError, UnknownColumn
from grammar.scope import Touch
from grammar.statement import Statement, prepare

__all__ = ["Budget", "SqlError", "Statement", "Touch", "UnknownColumn", "prepare", "query"]
