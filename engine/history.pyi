from dataclasses import dataclass
from typing import Any

from engine.store import Store

@dataclass(frozen=True, slots=True)
class Change:
    kind: str
    key: Any
    record: dict[str, Any] | None
    version: int
    created: int
    superseded: bool
    previous: dict[str, Any] | None

@dataclass(frozen=True, slots=True)
class Transaction:
    seq: int
    version: int
    origin: str | None
    origin_name: str
    epoch: int
    origin_seq: int
    user: str | None
    operation: str
    changes: list[Change]
    whole: bool

@dataclass(frozen=True, slots=True)
class Image:
    origin: str | None
    origin_name: str
    epoch: int
    change: Change

class History:
    def __init__(self, store: Store) -> None: ...
    def read(
        self, after: int, *, limit: int = 1000, max_bytes: int = ..., previous: bool = False
    ) -> list[Transaction]: ...
    def images(self, after: bytes | None, *, max_bytes: int = ...) -> tuple[list[Image], bytes | None]: ...
    def origin_names(self) -> dict[str, str]: ...
