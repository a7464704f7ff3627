from collections.abc import Iterator, Sequence
from typing import Any

from engine.keys import Bounds
from engine.predicates import Filter
from engine.store import StoreView

class Selection:
    def __init__(
        self,
        view: StoreView,
        attribute: str,
        ranges: Sequence[Bounds],
        wanted: Sequence[str] | None,
        where: Filter | None,
        reverse: bool,
    ) -> None: ...
    def tuples(self, columns: Sequence[str]) -> Iterator[list[tuple[Any, ...]]]: ...
    def records(self, columns: Sequence[str] | None) -> Iterator[list[dict[str, Any]]]: ...
    def share(self, samples: int) -> float: ...
    def keys(self) -> Iterator[list[Any]]: ...
