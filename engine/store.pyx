"""One table's files, open in this process: attaching or recovering, encoding writes, committing.

Reading is in view.pyx, reading the log in history.pyx. What the files hold is told where it is read: c/layout.h, btree.pyx,
log.pyx, transaction.pyx, shared.pyx.

Opening. A flock on the table's directory lets one process at a time open or close the table. If others have it open, or the
last one has closed it, what is there is simply attached to (shared.pyx); else the trees of the last checkpoint are brought
to the end of the log, or made anew from it (recovery.pyx).
"""

import errno as errno_codes
import fcntl
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from engine.btree cimport tree_get
from engine.cursor cimport Cursor, cursor_key, cursor_next, cursor_seek
from engine.freelist cimport trim
from engine.pager cimport pager_map, pager_open
from engine.checkpoint cimport account, begin_checkpoint, seal, write_checkpoint
from engine.core cimport FIRST_ATTRIBUTE, Core, core_close, op_is_sound
from engine.doorbell cimport Doorbell
from engine.keys cimport encode_key
from engine.layout cimport kn_load32, kn_load64, kn_locator, kn_meta, kn_op
from engine.log cimport log_forget, log_map, log_open, log_prepare, op_at, segment_size
from engine.posix cimport ENOENT, EUCLEAN
from engine.record cimport encode_record
from engine.recovery cimport rebuild, recover
from engine.shared cimport Coordination, begin_read, lock, read_published, unlock
from engine.sync cimport core_sync
from engine.transaction cimport (
    ADVANCE, CONFLICT, DONE, DUPLICATE, GAP, INSERT, INTRODUCE, REMOVE, REPLICATE_PUT, REPLICATE_REMOVE, STALE_NAMES,
    TOO_LARGE, UPDATE, UPSERT, WITHDRAW, Batch, Intent, Operation, Source, core_commit,
)
from engine.vfs cimport AT_READ, failpoint
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from engine.errors import (
    Busy, Closed, Conflict, Corrupt, DiskFull, InvalidName, InvalidRecord, KennelError, ReadOnlyTable, RootError,
)
from engine.files import failure

CREATED = "__createdtime__"
UPDATED = "__updatedtime__"
FORMAT_NOT_INDEXED = 1
OPERATIONS = {"insert": 1, "update": 2, "upsert": 3, "delete": 4, "create_attribute": 5, "drop_attribute": 6}
OPERATION_NAMES = {code: name for name, code in OPERATIONS.items()}
cdef enum:
    LOCK_MS = 20000
    MAX_NAME = 256

cdef dict INTENTS = {"insert": INSERT, "update": UPDATE, "upsert": UPSERT, "delete": REMOVE}


def raise_errno(code: int, what: str) -> None:
    """Turns a negative errno of the core into the error that the API promises."""
    if code in (-errno_codes.ENOSPC, -errno_codes.EDQUOT):
        raise DiskFull("There is no space left on the device")
    if code == -errno_codes.ETIMEDOUT:
        raise Busy(f"{what} is busy, try again later")
    if code == -errno_codes.EROFS:
        raise ReadOnlyTable(f"{what} is read-only since the disk failed to keep a write")
    if code == -errno_codes.EIO:
        raise Corrupt(f"{what} could not be read or written: {os.strerror(-code)}")
    if code == -errno_codes.EUCLEAN:
        raise Corrupt(f"{what}: the index is damaged")
    if code == -errno_codes.ENOMEM:
        raise MemoryError
    raise KennelError(f"{what}: {os.strerror(-code)}")


cdef bytes _short(str name, str what):
    """The name as the names tree keeps it."""
    cdef bytes encoded = name.encode()
    if len(encoded) > MAX_NAME:
        raise InvalidName(f"The name of a{'n' if what == 'attribute' else ''} {what} may have {MAX_NAME} bytes, not {len(encoded)}")
    return encoded


cdef class _Encoded:
    """The operations of a batch and the bytes they point to."""

    cdef Operation* at
    cdef int count
    cdef list kept

    def __cinit__(self, int room) -> None:
        self.at = <Operation*>calloc(room if room else 1, sizeof(Operation))
        if self.at == NULL:
            raise MemoryError
        self.kept = []

    def __dealloc__(self) -> None:
        free(self.at)

    cdef Operation* add(self, Intent intent, bytes key, bytes body):
        cdef Operation* operation = self.at + self.count
        self.count += 1
        self.kept.append(key)
        operation.intent = intent
        operation.key, operation.key_length = <const uint8_t*>(<char*>key), <uint32_t>len(key)
        if body is not None:
            self.kept.append(body)
            operation.body, operation.body_length = <const uint8_t*>(<char*>body), <uint32_t>len(body)
        return operation


cdef class Store:
    """`indexed` limits indexing to these attributes (None: every attribute); `durability` is commit or interval; `label` is what
    errors call the table."""

    @staticmethod
    def create(directory: str, table_id: bytes) -> None:
        """Lays an empty table: its directory with the first log segment, durably."""
        cdef Core core
        cdef int result
        cdef bytes path = os.fsencode(directory)
        try:
            os.makedirs(directory, mode=0o700, exist_ok=True)
        except OSError as error:
            raise failure(Path(directory), error) from error
        memset(&core, 0, sizeof(Core))
        result = log_open(&core.log, path, <const uint8_t*>(<char*>table_id))
        if result == 0:
            result = log_prepare(&core.log, 1, segment_size(0))
        core_close(&core)
        if result < 0:
            raise_errno(result, directory)

    def __cinit__(
        self, directory: str, table_id: bytes, *, primary_key: str = "id", durability: str = "commit", node_name: str = "", epoch: int = 0,
        timestamps: bool = True, indexed: frozenset[str] | None = None, doorbell: Doorbell | None = None, label: str = "",
    ) -> None:
        self.closed = True
        self.index_fd = -1
        memset(&self.core, 0, sizeof(Core))
        self.directory, self.doorbell, self.primary_key = directory, doorbell, primary_key
        self.label = f"{label} ({directory})" if label else directory
        self.node_name = _short(node_name, "node")
        self.core.node_name, self.core.node_name_length = <const char*>self.node_name, <int>len(self.node_name)
        self.core.epoch = epoch
        self.core.timestamps = self.timestamps = timestamps
        self.core.doorbell = doorbell.at if doorbell is not None else NULL
        self.durable_first = durability == "commit"
        self.not_indexed = (lambda name: False) if indexed is None else (lambda name: name not in indexed)
        self.skipped = frozenset((primary_key, CREATED, UPDATED) if timestamps else (primary_key,))
        self.names, self.numbers, self.names_known = [], {}, False
        self._open(os.fsencode(directory), table_id)

    def _open(self, bytes path, bytes table_id) -> None:
        cdef int result = log_open(&self.core.log, path, <const uint8_t*>(<char*>table_id))
        if result < 0:
            raise_errno(result, self.directory)
        try:
            directory_fd = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise RootError(f"{self.directory} does not exist") from error
        except OSError as error:
            raise failure(Path(self.directory), error) from error
        try:
            fcntl.flock(directory_fd, fcntl.LOCK_EX)
            self.index_fd = os.open("index.kbt", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600, dir_fd=directory_fd)
            self.shared = Coordination(os.path.join(self.directory, "shared.shm"), self.index_fd)
            self.core.shared = self.shared.at
            result = pager_open(&self.core.pager, self.index_fd, self.core.shared)
            if result < 0:
                raise_errno(result, self.directory)
            if self.shared.fresh:
                recover(&self.core, self.index_fd, self.directory, self.shared)
                self.shared.ready()
            self.shared.share()
            self.closed = False
        except OSError as error:
            raise failure(Path(self.directory), error) from error
        finally:
            os.close(directory_fd)
            if self.closed:
                self._release()

    def _release(self) -> None:
        core_close(&self.core)
        if self.shared is not None:
            self.shared.close()
            self.core.shared = NULL
        if self.index_fd >= 0:
            os.close(self.index_fd)
            self.index_fd = -1

    def close(self) -> None:
        """Waits for calls of other threads that are under way. Views end with Closed."""
        if not self.closed:
            self.closed = True
            while self.calls > 0:
                time.sleep(0.001)
            try:
                self._seal_if_last()
            finally:
                self._release()

    def _seal_if_last(self) -> None:
        """The last process that has the table open leaves it so that the next one can tell whether all is as it was. If that
        cannot be done, the next one recovers the table."""
        cdef kn_meta head, visible
        cdef int result
        try:
            directory_fd = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:     # dropped; or out of descriptors
            return
        try:
            fcntl.flock(directory_fd, fcntl.LOCK_EX)
            if not self.shared.is_last() or self.core.shared.poisoned or self.core.shared.damaged:
                return
            read_published(&self.core.shared.head, &head)
            read_published(&self.core.shared.visible, &visible)
            with nogil:
                result = pager_map(&self.core.pager, head.next_pgno)
                if result == 0:
                    result = seal(&self.core, &visible)
                if result == 0 and head.txn != visible.txn:
                    result = seal(&self.core, &head)
            if result == 0:
                self.shared.mark_closed()
        finally:
            os.close(directory_fd)

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

    # ---- states ----

    cdef int begin(self, kn_meta* meta, bint at_head, uint32_t* slot) except -1:
        """Takes a reader slot at the visible (or applied) state and makes that state readable here."""
        if self.closed:
            raise Closed(f"{self.directory} is closed")
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
        if not self.names_known or self.names_generation < meta.names_generation:
            try:
                self.load_names(meta)
            except KennelError:
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

    @property
    def generation(self) -> int:
        """Sequence number of the last visible transaction: moves whenever a reader would see something new."""
        cdef kn_meta meta
        if self.closed:
            raise Closed(f"{self.directory} is closed")
        read_published(&self.core.shared.visible if self.durable_first else &self.core.shared.head, &meta)
        return meta.seq

    @property
    def names_version(self) -> int:
        """Moves whenever an attribute appears or goes, as far as readers see."""
        cdef kn_meta meta
        if self.closed:
            raise Closed(f"{self.directory} is closed")
        read_published(&self.core.shared.visible if self.durable_first else &self.core.shared.head, &meta)
        return meta.names_generation

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
    def local_seq(self) -> int:
        """How many visible transactions this node has originated on this table."""
        cdef kn_meta meta
        if self.closed:
            raise Closed(f"{self.directory} is closed")
        read_published(&self.core.shared.visible, &meta)
        return meta.local_seq

    @property
    def epoch(self) -> int:
        """The epoch that local_seq counts in."""
        cdef kn_meta meta
        if self.closed:
            raise Closed(f"{self.directory} is closed")
        read_published(&self.core.shared.visible, &meta)
        return meta.local_epoch if meta.local_epoch else self.core.epoch

    def view(self) -> "StoreView":
        """The table as it is now, unchanging until the view is closed."""
        return StoreView(self)

    cdef int load_names(self, const kn_meta* meta) except -1:
        """Reads the attribute names of this state; the caller holds a reader slot on it."""
        cdef Cursor cursor
        cdef int length
        cdef const uint8_t* key
        cdef list names = [None] * meta.next_attribute
        numbers: dict = {}
        cursor_seek(&cursor, &self.core.pager, &meta.names, b"A", 1)
        while cursor.valid:
            key = cursor_key(&cursor, &length)
            if key[0] != c"A":
                break
            number = <uint32_t>key[1] << 24 | key[2] << 16 | key[3] << 8 | key[4]
            name = key[5:length].decode()
            names[number] = name
            numbers[name] = number
            cursor_next(&cursor)
        if cursor.error < 0:
            self.fail(cursor.error)
        self.names, self.numbers = names, numbers
        self.names_generation, self.names_known = meta.names_generation, True
        return 0

    def _refresh_names(self) -> None:
        """Reads the names from head, which is what a commit is judged against."""
        cdef kn_meta meta
        cdef uint32_t slot
        self.begin(&meta, True, &slot)
        try:
            self.load_names(&meta)
        finally:
            self.shared.give_slot(slot)

    def attribute_names(self) -> list[str]:
        """User attributes in order of introduction."""
        cdef kn_meta meta
        cdef uint32_t slot
        self.begin(&meta, False, &slot)
        self.shared.give_slot(slot)
        return [name for name in self.names[: meta.next_attribute] if name is not None]

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
        cdef _Encoded encoded
        if not self.names_known:
            self._refresh_names()
        keys = records if intent == REMOVE else [record[self.primary_key] for record in records]
        while True:
            generation = self.names_generation
            encoded = self._encode(intent, records, keys, check_name)
            if at is not None:
                self._expect(encoded, at)
            verdict, version = self._commit(encoded, OPERATIONS[kind], user, generation, None, not replicated)
            if verdict != STALE_NAMES:
                break
            self._refresh_names()
        if verdict == CONFLICT:
            raise Conflict("A record was changed by another request in the meantime")
        return self._outcomes(encoded, keys, version)

    def _outcomes(self, _Encoded encoded, keys: Sequence, version: int) -> tuple[list, list, int]:
        cdef int first = encoded.count - <int>len(keys)
        cdef int index
        written, skipped = [], []
        for index in range(len(keys)):
            (written if encoded.at[first + index].outcome == DONE else skipped).append(keys[index])
        return written, skipped, version

    def _encode(self, Intent intent, records, keys, check_name) -> _Encoded:
        """New attributes come first, so that the operations on records are the last len(keys)."""
        cdef dict numbers = self.numbers
        cdef _Encoded encoded
        if intent == REMOVE:
            encoded = _Encoded(len(keys))
            for key in keys:
                encoded.add(intent, encode_key(key), None)
            return encoded
        skip = self.skipped
        fresh = self._new_names(records, skip)
        encoded = _Encoded(len(keys) + len(fresh))
        if fresh:
            numbers = dict(numbers)
            self._introduce(encoded, numbers, fresh, check_name)
        for key, record in zip(keys, records, strict=True):
            encoded.add(intent, encode_key(key), encode_record(record, numbers, skip))
        return encoded

    def _new_names(self, records, skip) -> list[str]:
        """What records call their unknown attributes, which may not even be text yet."""
        cdef dict numbers = self.numbers
        cdef dict fresh = {}
        cdef dict record
        for record in records:
            for name in record:
                if name not in numbers and name not in skip:
                    fresh[name] = None
        return list(fresh)

    def _introduce(self, _Encoded encoded, numbers: dict[str, int], fresh: list, check_name) -> None:
        for name in fresh:
            if check_name is not None:
                check_name(name)  # first, since formats other than JSON have keys that are no text
            _short(name, "attribute")
        number = len(self.names) if self.names else FIRST_ATTRIBUTE
        for name in fresh:
            numbers[name] = number
            flags = FORMAT_NOT_INDEXED if self.not_indexed(name) else 0
            encoded.add(INTRODUCE, name.encode(), number.to_bytes(4, "little") + flags.to_bytes(4, "little"))
            number += 1

    def _expect(self, _Encoded encoded, at) -> None:
        """Each record must still be the one that the view saw; only the first operation on a key can tell."""
        cdef Operation* operation
        cdef int index
        seen = set()
        for index in range(encoded.count):
            operation = encoded.at + index
            if operation.intent == INTRODUCE:
                continue
            key = <bytes>operation.key[:operation.key_length]
            if key in seen:
                continue
            seen.add(key)
            operation.expected_segno, operation.expected_offset = at.place_of(key)

    def _commit(self, _Encoded encoded, int operation, user, uint64_t generation, _Origin origin,
                bint unreplicated=False, bint sync=True) -> tuple[int, int]:
        """Commits and, as `durability` says, syncs: (verdict, version µs)."""
        cdef Batch batch
        cdef bytes user_name = _short(user or "", "user")
        cdef int verdict, result = 0
        if self.closed:
            raise Closed(f"{self.directory} is closed")
        memset(&batch, 0, sizeof(Batch))
        batch.operations, batch.count, batch.operation = encoded.at, encoded.count, operation
        batch.user, batch.user_length = <const char*>user_name, <int>len(user_name)
        batch.names_generation = generation
        batch.source = &origin.source if origin is not None else NULL
        batch.unreplicated = unreplicated
        self.calls += 1
        with nogil:
            verdict = core_commit(&self.core, &batch, LOCK_MS)
            if sync and self.durable_first and verdict >= 0 and verdict != STALE_NAMES and verdict != TOO_LARGE:
                result = core_sync(&self.core, batch.txn, LOCK_MS)
        self.calls -= 1
        if verdict == -EUCLEAN:
            self.fail(verdict)
        if result == -errno_codes.ETIMEDOUT:
            raise Busy(f"The write was not on disk within {LOCK_MS // 1000} seconds. It may still take effect.")
        if verdict < 0 or result < 0:
            raise_errno(verdict if verdict < 0 else result, "The table")
        if verdict == TOO_LARGE:
            raise InvalidRecord("A record is larger than 16 MiB, or the request larger than 64 MiB, once encoded")
        return verdict, batch.version

    def _settle(self) -> None:
        """An answer that was read from head leaves when head is on disk."""
        if self.durable_first:
            self.sync()

    def sync(self) -> None:
        """Makes every commit so far durable and visible."""
        cdef kn_meta meta
        cdef int result
        if self.closed:
            raise Closed(f"{self.directory} is closed")
        read_published(&self.core.shared.head, &meta)
        self.calls += 1
        with nogil:
            result = core_sync(&self.core, meta.txn, LOCK_MS)
        self.calls -= 1
        if result < 0:
            raise_errno(result, "The table")

    def create_attribute(self, name: str, user: str | None = None) -> bool:
        """False when the table has it already."""
        cdef _Encoded encoded
        while True:
            self._refresh_names()
            if name in self.numbers:
                self._settle()
                return False
            encoded = _Encoded(1)
            self._introduce(encoded, dict(self.numbers), [name], None)
            verdict, _ = self._commit(encoded, OPERATIONS["create_attribute"], user, self.names_generation, None)
            if verdict != STALE_NAMES:
                self._refresh_names()
                return True

    def drop_attribute(self, name: str, user: str | None = None) -> bool:
        """False when the table does not have it."""
        cdef _Encoded encoded
        while True:
            self._refresh_names()
            if name not in self.numbers:
                self._settle()
                return False
            encoded = _Encoded(1)
            encoded.add(WITHDRAW, name.encode(), self.numbers[name].to_bytes(4, "little") + bytes(4))
            verdict, _ = self._commit(encoded, OPERATIONS["drop_attribute"], user, self.names_generation, None)
            if verdict != STALE_NAMES:
                self._refresh_names()
                return True

    # ---- replication ----

    def apply(self, changes: Sequence, *, origin: bytes, origin_name: str, epoch: int, origin_seq: int,
              version: int, user: str | None, operation: str, sync: bool = True) -> str:
        """Applies a transaction of another node exactly once: "applied", "duplicate" or "gap". `changes` are
        (kind "put"|"delete", key, record | None, version µs, created µs); records hold user attributes. Without `sync` it is
        not durable before the next sync."""
        verdict = self._replicate(changes, _Origin(origin, origin_name, epoch, origin_seq, version), user,
                                  OPERATIONS.get(operation, 0), sync)[0]
        return {DUPLICATE: "duplicate", GAP: "gap"}.get(verdict, "applied")

    def merge(self, changes: Sequence, *, origin: bytes, origin_name: str, epoch: int) -> int:
        """Rows of a snapshot: each wins over what is here if its version is later. Returns how many did."""
        cdef _Encoded encoded
        cdef int index
        newest = max((change[3] for change in changes), default=0)
        encoded = self._replicate(changes, _Origin(origin, origin_name, epoch, 0, newest), None, 0)[1]
        won = 0
        for index in range(encoded.count):
            if encoded.at[index].intent != INTRODUCE and encoded.at[index].outcome == DONE:
                won += 1
        return won

    def advance(self, *, origin: bytes, origin_name: str, epoch: int, origin_seq: int) -> None:
        """From now on, transactions of this origin up to origin_seq count as applied."""
        cdef _Encoded encoded
        while True:
            encoded = _Encoded(1)
            encoded.add(ADVANCE, b"", None).version = origin_seq
            source = _Origin(origin, origin_name, epoch, 0, 0)
            verdict, _ = self._commit(encoded, 0, None, self.names_generation, source)
            if verdict != STALE_NAMES:
                return
            self._refresh_names()

    def renew_epoch(self, epoch: int) -> None:
        """This node's transactions count from 1 again, in a new epoch."""
        cdef _Encoded encoded
        verdict = STALE_NAMES
        while verdict == STALE_NAMES:
            self._refresh_names()
            encoded = _Encoded(1)
            encoded.add(ADVANCE, b"", None).version = epoch
            verdict, _ = self._commit(encoded, 0, None, self.names_generation, None)

    def _replicate(self, changes, _Origin origin, user, operation, sync=True) -> tuple[int, object]:
        cdef _Encoded encoded
        cdef Operation* added
        skip = self.skipped
        if not self.names_known:
            self._refresh_names()
        while True:
            generation = self.names_generation
            numbers = dict(self.numbers)
            fresh = self._new_names([change[2] for change in changes if change[2] is not None], skip)
            encoded = _Encoded(len(changes) + len(fresh))
            self._introduce(encoded, numbers, fresh, None)
            for kind, key, record, version, created in changes:
                body = encode_record(record, numbers, skip) if kind == "put" else None
                added = encoded.add(REPLICATE_PUT if kind == "put" else REPLICATE_REMOVE, encode_key(key), body)
                added.version, added.created = version, created
            verdict, _ = self._commit(encoded, operation, user, generation, origin, False, sync)
            if verdict != STALE_NAMES:
                return verdict, encoded
            self._refresh_names()

    def applied(self) -> dict[tuple[bytes, int], int]:
        """(origin node id, epoch) -> the last transaction of it that is applied here without a gap before it."""
        cdef kn_meta meta
        cdef uint32_t slot
        cdef Cursor cursor
        cdef const uint8_t* key
        cdef const uint8_t* mark
        cdef uint8_t mark_key[3]
        cdef uint64_t sequence
        cdef int length, result
        vector = {}
        self.begin(&meta, False, &slot)
        try:
            cursor_seek(&cursor, &self.core.pager, &meta.names, b"O", 1)
            while cursor.valid:
                key = cursor_key(&cursor, &length)
                if key[0] != c"O":
                    break
                mark_key[0], mark_key[1], mark_key[2] = c"M", key[1], key[2]
                result = tree_get(&self.core.pager, &meta.names, mark_key, 3, &mark)
                if result < 0:
                    self.fail(result)
                sequence = 0
                if mark != NULL:
                    memcpy(&sequence, mark, 8)
                vector[<bytes>key[3:19], int.from_bytes(<bytes>key[19:23], "big")] = sequence
                cursor_next(&cursor)
            if cursor.error < 0:
                self.fail(cursor.error)
        finally:
            self.shared.give_slot(slot)
        return vector

    # ---- upkeep ----

    def reclaim_slots(self) -> int:
        """Frees the snapshots of processes that died."""
        if self.closed:
            raise Closed(f"{self.directory} is closed")
        return self.shared.reclaim_slots()

    def counters(self) -> dict[str, int]:
        """commits and syncs of all processes since the table was first opened on this kernel; pages of the index in use and
        allocated; free pages lost until the next rebuild."""
        cdef kn_meta meta
        if self.closed:
            raise Closed(f"{self.directory} is closed")
        read_published(&self.core.shared.head, &meta)
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
        cdef kn_meta meta
        cdef uint32_t slot
        cdef int result
        if self.closed:
            raise Closed(f"{self.directory} is closed")
        read_published(&self.core.shared.head, &meta)
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
        if self.closed:
            raise Closed(f"{self.directory} is closed")
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
        if self.closed:
            raise Closed(f"{self.directory} is closed")
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
        if self.closed:
            raise Closed(f"{self.directory} is closed")
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


cdef class _Origin:
    """The source of a replicated transaction and the bytes it points to."""

    cdef Source source
    cdef bytes name

    def __cinit__(self, node: bytes, name: str, epoch: int, sequence: int, version: int) -> None:
        self.name = _short(name, "node")
        memcpy(self.source.node, <const char*>node, 16)
        self.source.epoch, self.source.sequence, self.source.version = epoch, sequence, version
        self.source.name, self.source.name_length = <const char*>self.name, <int>len(self.name)


from engine.snapshot import StoreView  # noqa: E402  (the two modules name each other)
