from typing import Any

from grammar.statement import Parameters

def query(node: Any, sql: Any, parameters: Parameters | None = None) -> list[dict[str, Any]] | dict[str, Any]:
    """Prepares and runs a statement: the rows of a query, or the reply of a write."""
