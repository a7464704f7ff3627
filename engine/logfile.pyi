from collections.abc import Iterator
from dataclasses import dataclass
from mmap import mmap

Buffer = bytes | bytearray | memoryview | mmap

HEADER_SIZE: int
FORMAT: int

@dataclass(frozen=True, slots=True)
class Header:
    table_id: bytes
    segno: int
    first_seq: int
    last_seq: int | None
    salt: int
    created: int

@dataclass(frozen=True, slots=True)
class Frame:
    offset: int
    length: int
    seq: int
    version: int
    origin: int
    operations: int

@dataclass(frozen=True, slots=True)
class Operation:
    offset: int
    kind: str
    superseded: bool
    key: bytes
    body_length: int
    version: int
    previous: tuple[int, int]

def crc32c(data: Buffer, seed: int = 0) -> int: ...
def is_zero(data: Buffer, start: int, end: int) -> bool: ...
def read_header(data: Buffer, place: str) -> Header | None: ...
def frames(data: Buffer, header: Header) -> Iterator[Frame]: ...
def operations(data: Buffer, frame: Frame) -> Iterator[Operation | None]: ...
def promise_beyond(data: Buffer, header: Header, offset: int) -> int: ...
def checkpoint_seq(page: Buffer) -> int | None: ...
