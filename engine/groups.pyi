from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any

from engine.rows import Key, Rows

class Groups:
    def __init__(
        self,
        rows: Rows,
        keys: Sequence[Key],
        reductions: Sequence[tuple[str, Key | None]],
        identify: Callable[[tuple[Any, ...]], Hashable],
    ) -> None: ...
    def fold(self) -> Iterator[int]: ...
    def results(self) -> list[tuple[tuple[Any, ...], list[Any]]]: ...
