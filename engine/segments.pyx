"""Which segments a table has, and which of them its log now consists of.

There is no list of segments on disk: a segment's header says what it is. The log is the segments in the order of their first
sequence numbers. A compacted segment stands for all those of its range, which may still be there when a compaction was
interrupted, or until nobody reads them any more.
"""

import errno as errno_codes
import os
import re
from dataclasses import dataclass

from engine.layout cimport KN_COMPACTED, kn_segment
from engine.log cimport Log, has_header, log_map, segment_header
from engine.posix cimport ENOENT
from libc.stdint cimport uint8_t, uint32_t

from engine.errors import Corrupt, KennelError
from engine.logfile import read_header

NAME = re.compile(r"([0-9]{6})\.log")


@dataclass(frozen=True, slots=True)
class Segment:
    """`last_seq` is known of compacted segments only; `size` is that of the file; `created` is in microseconds."""

    segno: int
    first_seq: int
    last_seq: int | None
    size: int
    created: int


cdef list list_segments(Log* log, str directory):
    """Every segment in use, by first sequence number, newer ones of the same range first. Spares are left out; what has a
    header that cannot be read is none: Corrupt, or RootError when its format is unknown."""
    cdef const kn_segment* header
    cdef uint32_t segno
    cdef int result
    found = []
    for name in os.listdir(directory):
        matched = NAME.fullmatch(name)
        if matched is None:
            continue
        segno = int(matched[1])
        result = log_map(log, segno)
        if result == -ENOENT:           # removed meanwhile
            continue
        if result < 0:
            _refuse(os.path.join(directory, name), -result)
        if not has_header(log, segno):
            foreign = read_header(<uint8_t[:log.size[segno]]>log.base[segno], os.path.join(directory, name)) is not None
            if not has_header(log, segno):      # else a writer has just brought it into use
                if foreign:
                    raise Corrupt(f"{os.path.join(directory, name)} belongs to another table")
                continue
        header = segment_header(log, segno)
        last = header.last_seq if header.flags & KN_COMPACTED else None
        found.append(Segment(segno, header.first_seq, last, log.size[segno], header.created))
    return sorted(found, key=lambda segment: (segment.first_seq, -segment.segno))


def _refuse(path: str, error: int) -> None:
    """A log that is read without one of its segments would pass for a shorter one."""
    if error == errno_codes.ENOMEM:
        raise MemoryError
    if error == errno_codes.EIO:
        raise Corrupt(f"{path} is no segment, or cannot be read")
    raise KennelError(f"{path} cannot be read: {os.strerror(error)}")


def split(segments: list[Segment]) -> tuple[list[Segment], list[Segment]]:
    """(those that make up the log, those that a compacted one stands for)."""
    compacted = [segment for segment in segments if segment.last_seq is not None]
    live, replaced = [], []
    for segment in segments:
        covered = any(
            other.segno > segment.segno and other.first_seq <= segment.first_seq <= other.last_seq for other in compacted
        )
        (replaced if covered else live).append(segment)
    return live, replaced
