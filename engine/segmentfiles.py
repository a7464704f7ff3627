"""The segments of a table's log as files, seen from outside: which there are, whether they are sound, how far they
reach.

Backups, restores and inspections use it. Nothing here changes a file or needs the table open.

A log that is being compacted has segments twice. What the compacted one lacks might be newer than the view, so the
original ones are taken, as long as they are all there; compaction removes none that a view may need.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from engine import logfile
from engine.errors import Corrupt
from engine.segments import NAME, Segment, split

BEYOND_HEADER = 64  # bytes, enough to tell whether a frame follows


def file_name(segment: Segment) -> str:
    return f"{segment.segno:06}.log"


def log_of(directory: Path, seq: int) -> list[Segment]:
    """The segments with the transactions up to `seq`, in order. FileNotFoundError when one is removed meanwhile."""
    found = []
    for path in segment_files(directory):
        header = segment_header(path)
        if header is not None and header.first_seq <= seq:
            size = path.stat().st_size
            found.append(Segment(header.segno, header.first_seq, header.last_seq, size, header.created))
    live, replaced = split(sorted(found, key=_place))
    for segment in live if replaced else ():
        originals = [other for other in replaced if _stands_for(segment, other)]
        if originals and _are_whole(directory, originals, segment):
            live = [other for other in live if other is not segment] + originals
    return sorted(live, key=_place)


def segment_files(directory: Path) -> Iterator[Path]:
    """In no order."""
    return (path for path in directory.iterdir() if NAME.fullmatch(path.name))


def segment_header(path: Path) -> logfile.Header | None:
    """The header of a segment, None of a spare; Corrupt, RootError."""
    with path.open("rb") as file:
        return logfile.read_header(file.read(logfile.HEADER_SIZE + BEYOND_HEADER), str(path))


def _place(segment: Segment) -> tuple[int, int]:
    return segment.first_seq, -segment.segno


def _stands_for(compacted: Segment, other: Segment) -> bool:
    last = compacted.last_seq
    return last is not None and other.segno < compacted.segno and compacted.first_seq <= other.first_seq <= last


def _are_whole(directory: Path, originals: list[Segment], compacted: Segment) -> bool:
    """Whether these have all transactions that the compacted segment stands for."""
    reached = compacted.first_seq - 1
    for segment in originals:
        if segment.first_seq == reached + 1:
            reached = extent(directory / file_name(segment), segment.size).last_seq
    return reached == compacted.last_seq


@dataclass(frozen=True, slots=True)
class Extent:
    """How far a segment reaches: bytes, and the number and version of the last transaction in them."""

    end: int
    last_seq: int
    version: int


def extent(path: Path, size: int, *, seq: int | None = None, version: int | None = None) -> Extent:
    """The frames of a segment up to transaction `seq`, and before the first that is later than `version` (µs).

    All checksums are verified. Corrupt, with file and byte, when a frame is damaged that must have been on disk.
    """
    data = mapped(path)
    header = logfile.read_header(data, str(path))
    if header is None:
        raise Corrupt(f"{path}: the segment's header at byte 0 is lost")
    end, last, newest, cut = logfile.HEADER_SIZE, header.first_seq - 1, 0, False
    for frame in logfile.frames(data, header):
        cut = (seq is not None and frame.seq > seq) or (version is not None and frame.version > version)
        if cut:
            break
        end, last, newest = frame.offset + frame.length, frame.seq, max(newest, frame.version)
    if header.last_seq is None:
        if not cut and last != seq and logfile.promise_beyond(data, header, end):
            raise Corrupt(f"{path}: the frame at byte {end} is damaged")
        return Extent(end, last, newest)
    if not cut and end != size:
        raise Corrupt(f"{path}: the frame at byte {end} is damaged")
    return Extent(end, last if cut else header.last_seq, newest)


def mapped(path: Path) -> mmap.mmap:
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
