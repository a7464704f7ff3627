"""Verifying the log of one table, from its files alone, and against the primary index.

Damage is what cannot have come from any crash: a frame that is not whole although a later one says that it was on
disk, a sound frame with an unsound operation, transactions that are missing between two segments. Anything else that
is odd is a note.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from engine import keys, logfile
from engine.errors import KennelError
from engine.segmentfiles import file_name, mapped, segment_files, segment_header
from engine.segments import Segment, split
from engine.store import StoreView

PAGE = 4096


@dataclass(frozen=True, slots=True)
class Finding:
    path: Path
    offset: int
    text: str
    is_damage: bool = True

    def __str__(self) -> str:
        return f"{self.path.name}, byte {self.offset}: {self.text}"


@dataclass(slots=True)
class LogCheck:
    """What was found in the log of a table. With a view, up to the last transaction that it sees."""

    directory: Path
    view: StoreView | None
    findings: list[Finding] = field(default_factory=list)
    segments: int = 0
    transactions: int = 0
    operations: int = 0
    _positions: dict[int, int] = field(default_factory=dict)  # segment number -> place in the log
    _awaited: dict[bytes, Finding] = field(default_factory=dict)  # keys without a record, whose deletion must follow
    _current: int = 0
    _compares: bool = True

    @property
    def damage(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.is_damage]

    @property
    def notes(self) -> list[Finding]:
        return [finding for finding in self.findings if not finding.is_damage]

    @property
    def summary(self) -> str:
        return f"log: {self.transactions} transactions, {self.operations} operations in {self.segments} segments"

    def run(self) -> LogCheck:
        live, replaced = split(self._headers())
        self.segments = len(live)
        self._positions = {segment.segno: place for place, segment in enumerate(live)}
        self._compares = self.view is not None and not replaced and not self.damage
        for segment in replaced:
            self._note(self._path(segment), 0, "a compacted segment stands for it; it is removed when nobody reads it")
        self._walk(live)
        if self._compares and not self.damage:
            self._finish_comparison()
        self._look_at_other_files()
        return self

    # --- segments

    def _headers(self) -> list[Segment]:
        found = []
        for path in sorted(segment_files(self.directory)):
            try:
                header = segment_header(path)
            except KennelError as error:
                self._damage(path, 0, error.message.removeprefix(str(path)).lstrip(": "))
                continue
            if header is None:
                continue
            if header.table_id.hex() != self.directory.name.replace("-", "") or int(path.stem) != header.segno:
                self._damage(path, 0, f"this is segment {header.segno} of table {header.table_id.hex()}")
                continue
            size = path.stat().st_size
            found.append(Segment(header.segno, header.first_seq, header.last_seq, size, header.created))
        return sorted(found, key=lambda segment: (segment.first_seq, -segment.segno))

    def _walk(self, live: list[Segment]) -> None:
        reached = 0
        for segment in live:
            if self.view is not None and segment.first_seq > self.view.seq:
                break
            path = self._path(segment)
            if segment.first_seq <= reached:
                self._note(path, 0, "never came into the log: what it holds was not acknowledged")
                continue
            if segment.first_seq != reached + 1:
                self._damage(
                    path, 0, f"the transactions {reached + 1} to {segment.first_seq - 1} before it are missing"
                )
            reached = self._walk_segment(segment, path)
        if self.view is not None and reached < self.view.seq:
            missing = f"the log ends with transaction {reached}, the table with {self.view.seq}"
            self.findings.append(Finding(self.directory, 0, missing))

    def _walk_segment(self, segment: Segment, path: Path) -> int:
        """The number of the last transaction that the segment stands for."""
        data = mapped(path)
        header = logfile.read_header(data, str(path))
        assert header is not None
        end, reached = logfile.HEADER_SIZE, segment.first_seq - 1
        for frame in logfile.frames(data, header):
            if self.view is not None and frame.seq > self.view.seq:
                return reached
            self.transactions += 1
            for operation in logfile.operations(data, frame):
                self.operations += 1
                if operation is None:
                    self._damage(path, frame.offset, f"an operation of transaction {frame.seq} is damaged")
                elif self._compares:
                    self._compare(operation, segment, path)
            end, reached = frame.offset + frame.length, frame.seq
        if segment.last_seq is not None:
            if end != segment.size:
                self._damage(path, end, "the frame is damaged")
            return segment.last_seq
        if self.view is None or reached < self.view.seq:
            self._look_behind(data, header, path, end)
        return reached

    def _look_behind(self, data: logfile.Buffer, header: logfile.Header, path: Path, end: int) -> None:
        promise = logfile.promise_beyond(data, header, end)
        if promise:
            self._damage(path, end, f"the frame is damaged; the one at byte {promise} says that it was on disk")
        elif not logfile.is_zero(data, end, len(data)):
            self._note(path, end, "what follows was never acknowledged")

    # --- against the primary index

    def _compare(self, operation: logfile.Operation, segment: Segment, path: Path) -> None:
        """The index must point to this operation, or to one further on, unless a deletion follows."""
        assert self.view is not None
        if operation.superseded or operation.kind not in ("put", "delete"):
            return
        here = (self._positions[segment.segno], operation.offset)
        segno, offset = self.view.place_of(operation.key)
        there = (self._positions.get(segno, -1), offset)
        shown = repr(keys.decode(operation.key))
        if operation.kind == "delete":
            self._awaited.pop(operation.key, None)
            if segno and there < here:
                self._damage(path, operation.offset, f"the record {shown} was deleted, and is still in the index")
        elif segno == 0:
            self._awaited[operation.key] = Finding(path, operation.offset, f"the record {shown} is not in the index")
        elif there == here:
            self._current += 1
        elif there < here:
            self._damage(path, operation.offset, f"the index has an earlier state of the record {shown}")

    def _finish_comparison(self) -> None:
        assert self.view is not None
        self.findings += self._awaited.values()
        if self._current != self.view.count():
            text = f"the index has {self.view.count()} records, the log {self._current}"
            self.findings.append(Finding(self.directory / "index.kbt", 0, text))

    # --- other files

    def _look_at_other_files(self) -> None:
        for path in sorted(self.directory.iterdir()):
            if path.suffix == ".new":
                self._note(path, 0, "left unfinished; the next segment of this number replaces it")
            elif path.suffix == ".stale":
                self._note(path, 0, "set aside by a recovery: nothing in it was acknowledged")
        index = self.directory / "index.kbt"
        if index.exists():
            self._look_at_checkpoints(index)

    def _look_at_checkpoints(self, index: Path) -> None:
        with index.open("rb") as file:
            pages = [file.read(PAGE) for _ in range(2)]
        for number, page in enumerate(pages):
            try:
                seq = logfile.checkpoint_seq(page)
            except ValueError:
                self._note(index, number * PAGE, "this checkpoint is not whole, and not used")
                continue
            if seq is not None:
                self._note(index, number * PAGE, f"checkpoint after transaction {seq}")

    # --- inside

    def _path(self, segment: Segment) -> Path:
        return self.directory / file_name(segment)

    def _damage(self, path: Path, offset: int, text: str) -> None:
        self.findings.append(Finding(path, offset, text))

    def _note(self, path: Path, offset: int, text: str) -> None:
        self.findings.append(Finding(path, offset, text, is_damage=False))


def check_log(directory: Path, view: StoreView | None = None) -> LogCheck:
    """Everything about a table's log; with a view of the table also whether its primary index is that of the log."""
    return LogCheck(directory, view).run()
