"""Laying, opening and closing the files of a table.

A flock on the table's directory lets one process at a time open or close the table. If others have it open, or the last one
has closed it, what is there is simply attached to (shared.pyx); else the trees of the last checkpoint are brought to the end
of the log, or made anew from it (recovery.pyx).
"""

import fcntl
import os
from pathlib import Path

from engine.checkpoint cimport seal
from engine.core cimport core_close
from engine.layout cimport kn_meta
from engine.log cimport log_open, log_prepare, segment_size
from engine.pager cimport pager_map, pager_open
from engine.recovery cimport recover
from engine.shared cimport read_published
from libc.stdint cimport uint8_t
from libc.string cimport memset

from engine.errors import RootError, raise_errno
from engine.files import failure


cdef int lay(str directory, bytes table_id) except -1:
    """An empty table: its directory with the first log segment, durably."""
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
    return 0


cdef Coordination attach(Core* core, str directory, bytes table_id, int* index_fd):
    """Opens the files of a table for `core`, recovered if need be. On an error, nothing stays open."""
    cdef Coordination shared = None
    cdef bytes path = os.fsencode(directory)
    cdef int result = log_open(&core.log, path, <const uint8_t*>(<char*>table_id))
    index_fd[0] = -1
    if result < 0:
        raise_errno(result, directory)
    try:
        directory_fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise RootError(f"{directory} does not exist") from error
    except OSError as error:
        raise failure(Path(directory), error) from error
    attached = False
    try:
        fcntl.flock(directory_fd, fcntl.LOCK_EX)
        index_fd[0] = os.open("index.kbt", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600, dir_fd=directory_fd)
        shared = Coordination(os.path.join(directory, "shared.shm"), index_fd[0])
        core.shared, core.pid, core.started = shared.at, shared.pid, shared.started
        result = pager_open(&core.pager, index_fd[0], core.shared)
        if result < 0:
            raise_errno(result, directory)
        if shared.fresh:
            recover(core, index_fd[0], directory, shared)
            shared.ready()
        shared.share()
        attached = True
    except OSError as error:
        raise failure(Path(directory), error) from error
    finally:
        os.close(directory_fd)
        if not attached:
            release(core, shared, index_fd[0])
    return shared


cdef int release(Core* core, Coordination shared, int index_fd) except -1:
    core_close(core)
    if shared is not None:
        shared.close()
        core.shared = NULL
    if index_fd >= 0:
        os.close(index_fd)
    return 0


cdef int _seal_if_last(Core* core, Coordination shared) except -1:
    """The last process that has the table open leaves it so that the next one can tell whether all is as it was. If that
    cannot be done, the next one recovers the table."""
    cdef kn_meta head, visible
    cdef int result
    if not shared.is_last() or core.shared.poisoned or core.shared.damaged:
        return 0
    read_published(&core.shared.head, &head)
    read_published(&core.shared.visible, &visible)
    with nogil:
        result = pager_map(&core.pager, head.next_pgno)
        if result == 0:
            result = seal(core, &visible)
        if result == 0 and head.txn != visible.txn:
            result = seal(core, &head)
    if result == 0:
        shared.mark_closed()
    return 0


cdef int detach(Core* core, Coordination shared, int index_fd, str directory) except -1:
    """Closes the files. The directory's flock is held until that is done: of two processes that leave together, one has to
    find that it is the last."""
    try:
        directory_fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:     # dropped; or out of descriptors, and then the next one recovers the table
        directory_fd = -1
    try:
        if directory_fd >= 0:
            fcntl.flock(directory_fd, fcntl.LOCK_EX)
            _seal_if_last(core, shared)
    finally:
        release(core, shared, index_fd)
        if directory_fd >= 0:
            os.close(directory_fd)
    return 0
