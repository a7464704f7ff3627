from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any

from engine.selection import Selection

class Groups:
    def __init__(
        self,
        selection: Selection,
        keys: Sequence[str],
        reductions: Sequence[tuple[str, str | None]],
        identify: Callable[[tuple[Any, ...]], Hashable],
    ) -> None: ...
    def fold(self) -> Iterator[int]: ...
    def results(self) -> list[tuple[tuple[Any, ...], list[Any]]]: ...
