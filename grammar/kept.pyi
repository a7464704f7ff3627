from typing import Any

from engine.table import Table
from grammar import syntax
from grammar.bound import BoundStatement
from grammar.direct import Direct
from grammar.parse import Parsed
from grammar.scope import Touch

KEPT_BINDINGS: int
KEPT_TEXTS: int
LONGEST_TEXT: int

class TableState:
    @staticmethod
    def of(table: Table) -> TableState: ...

class Binding:
    statement: syntax.Statement
    bound: BoundStatement
    direct: Direct | None
    touches: tuple[Touch, ...]
    tables: tuple[TableState, ...]
    parameters: tuple[int | str, ...]
    counted: tuple[str, ...] | None
    def __init__(
        self,
        node: Any,
        statement: syntax.Statement,
        bound: BoundStatement,
        direct: Direct | None,
        *,
        touches: tuple[Touch, ...],
        tables: tuple[TableState, ...],
        parameters: tuple[int | str, ...],
        counted: tuple[str, ...] | None,
    ) -> None: ...
    def table(self) -> Table | None: ...

class Known:
    parsed: Parsed
    binding: Binding

def by_text(node: Any, sql: Any) -> Known | None: ...
def by_tree(node: Any, statement: syntax.Statement) -> Binding | None: ...
def keep(node: Any, binding: Binding) -> None: ...
def meet(sql: str, parsed: Parsed, binding: Binding) -> None: ...
def sizes() -> tuple[int, int]: ...
