from collections.abc import Sequence

from engine.selection import Selection

Key = tuple[int, str]

class Rows: ...

class Scanned(Rows):
    def __init__(self, number: int, selection: Selection, names: Sequence[str]) -> None: ...
