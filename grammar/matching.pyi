from collections.abc import Iterator
from typing import Any

Row = tuple[Any, ...]

def by_key(rows: list[Row], table: dict[Any, list[Row]], place: int) -> bool: ...
def partnered(rows: list[Row], table: dict[Any, list[Row]], place: int, nothing: Row | None) -> Iterator[Row]: ...
