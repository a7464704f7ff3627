import re
from dataclasses import dataclass

NAME: re.Pattern[str]

@dataclass(frozen=True, slots=True)
class Segment:
    segno: int
    first_seq: int
    last_seq: int | None
    size: int
    created: int

def split(segments: list[Segment]) -> tuple[list[Segment], list[Segment]]: ...
