"""One table's files, open in this process: its states, committing, upkeep.

Opening and closing are in opening.pyx, the encoding of what is committed in request.pyx, reading in snapshot.pyx, reading the
log in history.pyx. What the files hold is told where it is read: c/layout.h, btree.pyx, log.pyx, transaction.pyx, shared.pyx.
"""

import errno as errno_codes
import os
import time
from collections.abc import Callable, Sequence

from engine.btree cimport tree_get
from engine.checkpoint cimport account, begin_checkpoint, write_checkpoint
from engine.core cimport Core, op_is_sound
from engine.doorbell cimport Doorbell
from engine.freelist cimport trim
from engine.layout cimport kn_load32, kn_load64, kn_locator, kn_meta, kn_op
from engine.log cimport log_forget, log_map, op_at
from engine.nametree cimport Attributes, attributes_of, marks_of
from engine.opening cimport attach, detach, lay
from engine.pager cimport pager_map
from engine.posix cimport ENOENT, EUCLEAN
from engine.recovery cimport rebuild
from engine.request cimport (
    Origin, Request, request_to_advance, request_to_change_attribute, request_to_replicate, request_to_write, short_name,
)
from engine.shared cimport begin_read, read_published
from engine.sync cimport core_sync, core_write
from engine.transaction cimport (
    CONFLICT, DUPLICATE, GAP, INSERT, REMOVE, STALE_NAMES, TOO_LARGE, UPDATE, UPSERT, Batch, Intent,
)
from engine.vfs cimport AT_READ, failpoint
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from engine.errors import Busy, Closed, Conflict, Corrupt, InvalidRecord, raise_errno

CREATED = "__createdtime__"
UPDATED = "__updatedtime__"
OPERATIONS = {"insert": 1, "update": 2, "upsert": 3, "delete": 4, "create_attribute": 5, "drop_attribute": 6}
OPERATION_NAMES = {code: name for name, code in OPERATIONS.items()}
cdef enum:
    LOCK_MS = 20000

cdef dict INTENTS = {"insert": INSERT, "update": UPDATE, "upsert": UPSERT, "delete": REMOVE}


cdef class Store:
    """`indexed` limits indexing to these attributes (None: every attribute); `durability` is commit or interval; `label` is what
    errors call the table."""

    @staticmethod
    def create(directory: str, table_id: bytes) -> None:
        """Lays an empty table: its directory with the first log segment, durably."""
        lay(directory, table_id)

    def __cinit__(
        self, directory: str, table_id: bytes, *, primary_key: str = "id", durability: str = "commit", node_name: str = "", epoch: int = 0,
        timestamps: bool = True, indexed: frozenset[str] | None = None, doorbell: Doorbell | None = None, label: str = "",
    ) -> None:
        self.closed = True
        memset(&self.core, 0, sizeof(Core))
        self.directory, self.doorbell, self.primary_key = directory, doorbell, primary_key
        self.label = f"{label} ({directory})" if label else directory
        self.node_name = short_name(node_name, "node")
        self.core.node_name, self.core.node_name_length = <const char*>self.node_name, <int>len(self.node_name)
        self.core.epoch = epoch
        self.core.timestamps = self.timestamps = timestamps
        self.core.doorbell = doorbell.at if doorbell is not None else NULL
        self.durable_first = durability == "commit"
        self.not_indexed = (lambda name: False) if indexed is None else (lambda name: name not in indexed)
        self.skipped = frozenset((primary_key, CREATED, UPDATED) if timestamps else (primary_key,))
        self.shared = attach(&self.core, directory, table_id, &self.index_fd)
        self.closed = False

    def close(self) -> None:
        """Waits for calls of other threads that are under way. Views end with Closed."""
        if not self.closed:
            self.closed = True
            while self.calls > 0:
                time.sleep(0.001)
            detach(&self.core, self.shared, self.index_fd, self.directory)

    def __del__(self) -> None:
        """Tables that were dropped are forgotten, not closed: views may still be open on them."""
        self.close()

    def disown(self) -> None:
        """In the child of a fork: be closed, without touching the slots and locks, which are the parent's."""
        self.closed = True

    cdef int fail(self, int code) except -1:
        """Raises what a negative errno of the core means, naming the page of the index if one is damaged."""
        cdef uint32_t page = kn_load32(&self.core.shared.damaged)
        if code == -EUCLEAN and page != 0:
            raise Corrupt(f"{self.label}: page {page} of index.kbt is damaged; the index will be made anew from the log")
        raise_errno(code, self.label)

    cdef int need_open(self) except -1:
        if self.closed:
            raise Closed(f"{self.directory} is closed")
        return 0

    # ---- states ----

    cdef int begin(self, kn_meta* meta, bint at_head, uint32_t* slot) except -1:
        """Takes a reader slot at the visible (or applied) state and makes that state readable here."""
        self.need_open()
        slot[0] = self.shared.take_slot()
        begin_read(self.core.shared, slot[0], &self.core.shared.head if at_head or not self.durable_first
                   else &self.core.shared.visible, meta)
        failpoint(AT_READ)
        cdef int result = pager_map(&self.core.pager, meta.next_pgno)
        if result == 0 and (self.segments_mapped < meta.segno or self.removals != kn_load32(&self.core.shared.removals)):
            result = self.map_segments(meta.segno)
        if result < 0:
            self.shared.give_slot(slot[0])
            raise_errno(result, self.directory)
        if self.attributes is None or self.attributes.generation < meta.names_generation:
            try:
                self.load_attributes(meta)
            except BaseException:
                self.shared.give_slot(slot[0])
                raise
        return 0

    cdef int map_segments(self, uint32_t last) except? -1:
        """Maps the log as far as a view may need it, because the table may be dropped, and the names of its files gone,
        while the view is open. A negative errno when that has happened already."""
        cdef uint32_t removals = kn_load32(&self.core.shared.removals)
        cdef int result = log_map(&self.core.log, last) if last > 0 else 0
        if result == 0 and removals != self.removals and self.shared.taken == 1:
            self._forget_removed()
            self.removals, self.segments_mapped = removals, 0
        while result == 0 and self.segments_mapped < last:
            self.segments_mapped += 1
            result = log_map(&self.core.log, self.segments_mapped)
            if result == -ENOENT:       # compacted away, or a number that was never used
                result = 0
        return result

    def _forget_removed(self) -> None:
        """Lets go of segments that were unlinked, so that their space is freed. Only while nobody else in this process reads:
        they were unlinked when no view needed them, but a reader of the log may still be in the midst of one."""
        cdef uint32_t segno
        for segno in range(1, self.core.log.highest + 1):
            if self.core.log.base[segno] != NULL and not os.path.exists(os.path.join(self.directory, f"{segno:06}.log")):
                log_forget(&self.core.log, segno)

    cdef kn_meta published(self, bint durable) except *:
        """The state that is on disk, or what has been applied."""
        cdef kn_meta meta
        self.need_open()
        read_published(&self.core.shared.visible if durable else &self.core.shared.head, &meta)
        return meta

    @property
    def generation(self) -> int:
        """Sequence number of the last visible transaction: moves whenever a reader would see something new."""
        return self.published(self.durable_first).seq

    @property
    def is_behind(self) -> bool:
        """Whether a commit waits to be made durable."""
        cdef kn_meta head
        if self.closed:
            return False
        read_published(&self.core.shared.head, &head)
        return head.txn != kn_load64(&self.core.shared.synced_txn)

    @property
    def replay_bytes(self) -> int:
        """How much log a recovery would have to replay: what has come since the last checkpoint."""
        return 0 if self.closed else self.core.shared.appended - self.core.shared.checkpoint_appended

    @property
    def appended(self) -> int:
        """How much log all processes have written since the table was first opened on this kernel, and what was replayed then."""
        return 0 if self.closed else self.core.shared.appended

    @property
    def local_seq(self) -> int:
        """How many visible transactions this node has originated on this table."""
        return self.published(True).local_seq

    @property
    def epoch(self) -> int:
        """The epoch that local_seq counts in."""
        cdef kn_meta meta = self.published(True)
        return meta.local_epoch if meta.local_epoch else self.core.epoch

    def view(self) -> "StoreView":
        """The table as it is now, unchanging until the view is closed."""
        return StoreView(self)

    cdef int load_attributes(self, const kn_meta* meta) except -1:
        """Makes those of this state known; the caller holds a reader slot on it."""
        cdef int error = 0
        cdef Attributes attributes = attributes_of(&self.core.pager, meta, &error)
        if error < 0:
            self.fail(error)
        self.attributes = attributes
        return 0

    cdef int refresh_attributes(self) except -1:
        """Makes those of the head known, which a commit is judged against."""
        cdef kn_meta meta
        cdef uint32_t slot
        self.begin(&meta, True, &slot)
        try:
            self.load_attributes(&meta)
        finally:
            self.shared.give_slot(slot)
        return 0

    cdef Attributes known_attributes(self):
        if self.attributes is None:
            self.refresh_attributes()
        return self.attributes

    def attribute_names(self) -> list[str]:
        """User attributes in order of introduction."""
        cdef kn_meta meta
        cdef uint32_t slot
        self.begin(&meta, False, &slot)
        self.shared.give_slot(slot)
        return [name for name in self.attributes.names[: meta.next_attribute] if name is not None]

    cdef const kn_op* record(self, const kn_meta* meta, const unsigned char* key, int key_length) except? NULL:
        """The operation that holds the record of this primary key in a state on which the caller has a slot; NULL if none."""
        cdef kn_locator place
        cdef const uint8_t* found
        cdef int result = tree_get(&self.core.pager, &meta.primary, key, key_length, &found)
        if result < 0:
            self.fail(result)
        if found == NULL:
            return NULL
        memcpy(&place, found, sizeof(kn_locator))
        result = log_map(&self.core.log, place.segno)
        if result < 0:
            raise_errno(result, f"{self.label}: segment {place.segno:06}.log")
        cdef const kn_op* op = op_at(&self.core.log, place.segno, place.offset)
        if place.offset >= self.core.log.size[place.segno] or not op_is_sound(op, self.core.log.size[place.segno] - place.offset):
            raise Corrupt(f"{self.label}: the record at byte {place.offset} of segment {place.segno:06}.log is damaged")
        return op

    cdef const kn_op* record_of_entry(self, const kn_meta* meta, const unsigned char* key, int key_length) except NULL:
        """The same for a primary key that an index of this state names: Corrupt if there is none."""
        cdef const kn_op* op = self.record(meta, key, key_length)
        if op == NULL:
            raise Corrupt(f"{self.label}: an index has an entry without record")
        return op

    # ---- writing ----

    def write(
        self, kind: str, records: Sequence, *, user: str | None = None, at: "StoreView | None" = None,
        check_name: Callable[[str], None] | None = None, replicated: bool = True,
    ) -> tuple[list, list, int]:
        """One transaction: (written keys, skipped keys, version µs). `records` are dicts that hold their primary key, for
        delete the keys themselves. With `at`, Conflict if one of these records changed since that view.
        Unless `replicated`, it stays on this node."""
        cdef Intent intent = INTENTS[kind]
        cdef Request request
        cdef int verdict = STALE_NAMES
        keys = records if intent == REMOVE else [record[self.primary_key] for record in records]
        while verdict == STALE_NAMES:
            request = request_to_write(intent, records, keys, self.known_attributes(), self.skipped, check_name, self.not_indexed)
            if at is not None:
                request.expect(at)
            verdict = self.commit(request, OPERATIONS[kind], user, None, not replicated, True)
        if verdict == CONFLICT:
            raise Conflict("A record was changed by another request in the meantime")
        written, skipped = request.outcomes(keys)
        return written, skipped, request.version

    cdef int commit(self, Request request, int operation, user, Origin origin, bint unreplicated, bint sync) except -1:
        """Commits and, as `durability` says, syncs: the verdict. When that is STALE_NAMES, the names are known afterwards that the
        request has to be encoded with."""
        cdef Batch batch
        cdef bytes user_name = short_name(user or "", "user")
        cdef int verdict, result = 0
        self.need_open()
        memset(&batch, 0, sizeof(Batch))
        batch.operations, batch.count, batch.operation = request.at, request.count, operation
        batch.user, batch.user_length = <const char*>user_name, <int>len(user_name)
        batch.names_generation = request.generation
        batch.source = &origin.source if origin is not None else NULL
        batch.unreplicated = unreplicated
        batch.awaited = sync and self.durable_first
        self.calls += 1
        with nogil:
            verdict = core_write(&self.core, &batch, LOCK_MS, &result)
        self.calls -= 1
        if verdict == -EUCLEAN:
            self.fail(verdict)
        if result == -errno_codes.ETIMEDOUT:
            raise Busy(f"The write was not on disk within {LOCK_MS // 1000} seconds. It may still take effect.")
        if verdict < 0 or result < 0:
            raise_errno(verdict if verdict < 0 else result, "The table")
        if verdict == TOO_LARGE:
            raise InvalidRecord("A record is larger than 16 MiB, or the request larger than 64 MiB, once encoded")
        if verdict == STALE_NAMES:
            self.refresh_attributes()
        request.version = batch.version
        return verdict

    def sync(self) -> None:
        """Makes every commit so far durable and visible."""
        cdef kn_meta head = self.published(False)
        cdef int result
        self.calls += 1
        with nogil:
            result = core_sync(&self.core, head.txn, LOCK_MS)
        self.calls -= 1
        if result < 0:
            raise_errno(result, "The table")

    def create_attribute(self, name: str, user: str | None = None) -> bool:
        """False when the table has it already."""
        return self.change_attribute(name, True, OPERATIONS["create_attribute"], user)

    def drop_attribute(self, name: str, user: str | None = None) -> bool:
        """False when the table does not have it."""
        return self.change_attribute(name, False, OPERATIONS["drop_attribute"], user)

    cdef bint change_attribute(self, str name, bint wanted, int operation, user) except -1:
        """Introduces or withdraws an attribute; False when the head has it, or lacks it, already."""
        cdef Request request
        cdef int verdict = STALE_NAMES
        self.refresh_attributes()
        while verdict == STALE_NAMES:
            if (name in self.attributes.numbers) == wanted:
                if self.durable_first:      # an answer that was read from head leaves when head is on disk
                    self.sync()
                return False
            request = request_to_change_attribute(name, wanted, self.attributes, self.not_indexed)
            verdict = self.commit(request, operation, user, None, False, True)
        self.refresh_attributes()
        return True

    # ---- replication ----

    def apply(self, changes: Sequence, *, origin: bytes, origin_name: str, epoch: int, origin_seq: int,
              version: int, user: str | None, operation: str, sync: bool = True) -> str:
        """Applies a transaction of another node exactly once: "applied", "duplicate" or "gap". `changes` are
        (kind "put"|"delete", key, record | None, version µs, created µs); records hold user attributes. Without `sync` it is
        not durable before the next sync."""
        cdef int verdict = STALE_NAMES
        source = Origin(origin, origin_name, epoch, origin_seq, version)
        while verdict == STALE_NAMES:
            self.replicate(changes, source, user, OPERATIONS.get(operation, 0), sync, &verdict)
        return {DUPLICATE: "duplicate", GAP: "gap"}.get(verdict, "applied")

    def merge(self, changes: Sequence, *, origin: bytes, origin_name: str, epoch: int) -> int:
        """Rows of a snapshot: each wins over what is here if its version is later. Returns how many did."""
        cdef Request request
        cdef int verdict = STALE_NAMES
        newest = max((change[3] for change in changes), default=0)
        source = Origin(origin, origin_name, epoch, 0, newest)
        while verdict == STALE_NAMES:
            request = self.replicate(changes, source, None, 0, True, &verdict)
        return request.won()

    cdef Request replicate(self, changes, Origin source, user, int operation, bint sync, int* verdict):
        request = request_to_replicate(changes, self.known_attributes(), self.skipped, self.not_indexed)
        verdict[0] = self.commit(request, operation, user, source, False, sync)
        return request

    def advance(self, *, origin: bytes, origin_name: str, epoch: int, origin_seq: int) -> None:
        """From now on, transactions of this origin up to origin_seq count as applied."""
        self.advance_to(origin_seq, Origin(origin, origin_name, epoch, 0, 0))

    def renew_epoch(self, epoch: int) -> None:
        """This node's transactions count from 1 again, in a new epoch."""
        self.advance_to(epoch, None)

    cdef int advance_to(self, uint64_t to, Origin source) except -1:
        cdef int verdict = STALE_NAMES
        while verdict == STALE_NAMES:
            verdict = self.commit(request_to_advance(to, self.known_attributes()), 0, None, source, False, True)
        return 0

    def applied(self) -> dict[tuple[bytes, int], int]:
        """(origin node id, epoch) -> the last transaction of it that is applied here without a gap before it."""
        cdef kn_meta meta
        cdef uint32_t slot
        cdef int error = 0
        self.begin(&meta, False, &slot)
        try:
            marks = marks_of(&self.core.pager, &meta, &error)
            if error < 0:
                self.fail(error)
            return marks
        finally:
            self.shared.give_slot(slot)

    # ---- upkeep ----

    def reclaim_slots(self) -> int:
        """Frees the snapshots of processes that died."""
        self.need_open()
        return self.shared.reclaim_slots()

    def counters(self) -> dict[str, int]:
        """commits and syncs of all processes since the table was first opened on this kernel; pages of the index in use and
        allocated; free pages lost until the next rebuild."""
        cdef kn_meta meta = self.published(False)
        return {
            "commits": self.core.shared.commits, "syncs": self.core.shared.syncs, "pages": meta.next_pgno,
            "allocated_pages": self.core.shared.index_pages, "leaked_pages": meta.leaked,
            "free_pages": meta.young_tail - meta.young_head + meta.old_tail - meta.old_head + meta.chained,
            "log_segment": meta.segno, "log_end": meta.log_end, "log_bytes": self.core.shared.log_bytes,
            "appended": self.core.shared.appended,
        }

    def checkpoint(self, log_bytes: int = 0) -> bool:
        """Makes a checkpoint if at least so much log has come since the last; returns whether it did. Only for whoever
        holds the node's maintenance lock."""
        cdef kn_meta meta = self.published(False)
        cdef uint32_t slot
        cdef int result
        grown = self.core.shared.appended - self.core.shared.checkpoint_appended
        if meta.txn == self.core.shared.checkpoint or grown < log_bytes:
            return False
        slot = self.shared.take_slot()
        self.calls += 1
        try:
            with nogil:
                result = begin_checkpoint(&self.core, slot, &meta, LOCK_MS)
                if result == 0:
                    result = write_checkpoint(&self.core, slot, self.index_fd, &meta)
            if result < 0:
                self.fail(result)
            return True
        finally:
            self.shared.give_slot(slot)
            self.calls -= 1

    def rebuild(self) -> bool:
        """Makes the index anew from the log if a page of it was found damaged; returns whether it was. Others may have the table
        open, and read on; writers wait. Corrupt when the log is damaged, too. Only for whoever holds the node's maintenance
        lock."""
        self.need_open()
        if not kn_load32(&self.core.shared.damaged):
            return False
        self.calls += 1
        try:
            result = rebuild(&self.core, self.directory)
        finally:
            self.calls -= 1
        if result < 0:
            self.fail(result)
        self.sync()
        self.checkpoint()
        return True

    def trim(self) -> int:
        """Gives blocks of free pages of the index back to the file system: how many holes that made. For an idle table; only
        for whoever holds the node's maintenance lock."""
        cdef int holes
        self.need_open()
        self.calls += 1
        with nogil:
            holes = trim(&self.core.pager, LOCK_MS)
        self.calls -= 1
        if holes < 0:
            raise_errno(holes, self.directory)
        return holes

    def lost_pages(self) -> int:
        """How many pages of the index are neither in a tree nor free. Corrupt when one is both. Writers wait meanwhile."""
        cdef uint32_t lost
        cdef int result
        self.need_open()
        self.calls += 1
        with nogil:
            result = account(&self.core, &lost, LOCK_MS)
        self.calls -= 1
        if result < 0:
            raise_errno(result, f"{self.label}: the list of free pages")
        return lost

    def check(self) -> None:
        """Walks every tree of the visible state and compares every index with the records; Corrupt names what is wrong."""
        view = self.view()
        try:
            view.check()
        finally:
            view.close()


from engine.snapshot import StoreView  # noqa: E402  (the two modules name each other)
