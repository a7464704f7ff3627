/* Every structure that lies in a file or in memory shared between processes. Little endian, packed by hand;
 * the sizes are asserted below because they are formats. layout.pxd repeats the names for Cython. */
#ifndef KENNEL_LAYOUT_H
#define KENNEL_LAYOUT_H

#include <pthread.h>
#include <stdint.h>

#define KN_FORMAT 1u       /* of segments */
#define KN_INDEX_FORMAT 4u /* of index.kbt and shared.shm, which are made anew from the log when theirs is another */

/* ---- index.kbt: pages ------------------------------------------------------------------------------------------
 * A page is 4 KiB: this header, an array of u16 cell offsets growing up to `lower`, cells growing down to `upper`.
 *   leaf cell    klen u16 | key | value (value_size bytes, one size per tree)
 *   branch cell  child u32 | entries below u64 | klen u16 | key      the first key of a branch page is empty
 * `unused` counts bytes of removed cells between `upper` and the end. Pages 0 and 1 are the checkpoint slots. */
#define KN_PAGE_SIZE 4096
#define KN_FIRST_PAGE 2

typedef struct {
    uint32_t pgno;
    uint8_t level; /* 0 = leaf */
    uint8_t value_size;
    uint16_t count;
    uint64_t txn; /* the transaction that created this copy of the page */
    uint16_t lower, upper, unused;
    uint16_t after; /* of a leaf: where the entry that was inserted last ends, as an index; 0 = not known */
    uint32_t crc; /* of the rest of the page; 0 = none yet */
    uint32_t reserved2;
} kn_page;

typedef struct {
    uint32_t root; /* 0 = empty tree */
    uint16_t height;
    uint16_t value_size; /* KN_NOT_INDEXED in the directory: this attribute has no index */
    uint64_t entries;
} kn_tree;

#define KN_NOT_INDEXED 0xFFFF

/* ---- the state of a table after one transaction ------------------------------------------------------------------ */
typedef struct {
    uint64_t txn;       /* number of this state, one more with every publication; also the id of the pages it made */
    uint64_t seq;       /* sequence number of the last transaction in the log */
    uint64_t version;   /* hybrid clock, microseconds: the largest version given or applied */
    uint64_t local_seq; /* last origin_seq given to a transaction of this node, in local_epoch */
    uint64_t names_generation; /* moves when an attribute, user or origin is introduced or dropped */
    uint32_t local_epoch;
    uint32_t segno, log_end; /* where the next frame goes */
    uint32_t next_pgno, next_attribute;
    uint32_t next_user, next_origin;
    uint32_t ready; /* chains of free pages, by their top page, 0 = none: freelist.pyx; so are `after` and `waiting` */
    kn_tree primary;    /* enc(pk) -> kn_locator */
    kn_tree tombstones; /* enc(pk) -> kn_tombstone */
    kn_tree names;      /* attributes, users, origins, applied vector: transaction.pyx */
    kn_tree directory;  /* attribute number u32 big endian -> kn_tree */
    uint64_t young_head, young_tail, old_head, old_tail; /* free-page ring positions */
    uint64_t chained; /* free pages in the chains */
    uint64_t leaked;  /* free pages lost for want of memory */
    uint32_t taken, after, waiting;
    uint32_t crc; /* of everything before it, in a published state */
} kn_meta;

typedef struct {
    uint32_t segno, offset, length;
} kn_locator;

typedef struct {
    uint64_t version;
    uint32_t segno, offset;
} kn_tombstone;

typedef struct { /* pages 0 and 1 of index.kbt */
    char magic[4]; /* KNCP */
    uint32_t format;
    uint8_t table_id[16];
    uint64_t device, inode; /* of index.kbt: a copy of the file is no checkpoint, it was not copied at one instant */
    kn_meta meta;
    uint32_t crc; /* of everything before it */
    uint32_t reserved;
} kn_checkpoint;

/* ---- log segments ------------------------------------------------------------------------------------------------ */
#define KN_SEGMENT_HEADER 4096

typedef struct {
    char magic[4]; /* KNLG */
    uint16_t format, flags;
    uint8_t table_id[16];
    uint64_t segno, first_seq, salt, created;
    uint64_t last_seq; /* of a compacted segment: it stands for all segments of first_seq … last_seq */
    uint32_t crc;      /* of everything before it */
    uint32_t reserved;
} kn_segment;

enum { KN_COMPACTED = 1 }; /* flag of a segment that holds what was left of others, whole and on disk before its first use */

typedef struct { /* 8-byte aligned; one frame is one transaction */
    uint32_t length; /* with this header and the padding; 0 = no more frames in this segment */
    uint32_t crc;    /* of everything after this member, seeded with the salt of the segment */
    uint64_t seq, version, origin_seq;
    uint64_t synced; /* byte offset in this segment known to be on disk when this was written */
    uint16_t origin; /* table-local number; 0 = this node */
    uint16_t user;   /* table-local number; 0 = none */
    uint8_t operation, flags;
    uint16_t reserved;
    uint32_t operations;
    uint32_t epoch; /* of the origin */
} kn_frame;

enum { KN_PUT = 1, KN_DELETE = 2, KN_ATTRIBUTE = 3, KN_DROP_ATTRIBUTE = 4, KN_USER = 5, KN_ORIGIN = 6, KN_MARK = 7 };
enum { KN_SUPERSEDED = 1 }; /* flag of an operation that lost against a later version: in the log, not in the trees */

typedef struct __attribute__((packed)) { /* followed by the key and the body, and by the next one at any address */
    uint32_t crc; /* of everything after this member, key and body included */
    uint8_t kind, flags;
    uint16_t key_length;
    uint32_t body_length;
    uint32_t previous_segno, previous_offset; /* the operation that this one replaces; 0 = none */
    uint16_t origin; /* whose version it is, for ties */
    uint16_t reserved;
    uint64_t version, created;
} kn_op;

/* ---- shared.shm --------------------------------------------------------------------------------------------------- */
#define KN_READERS 1024
#define KN_RING 16384
#define KN_IDLE UINT64_MAX

typedef struct {
    uint32_t pgno, hole; /* hole: its blocks were given back to the file system */
    uint64_t born, freed;
} kn_free_page;

#define KN_CHAIN 0xFE /* level of a page of a chain */
#define KN_CHAINED 168

typedef struct { /* a page of a chain of free pages */
    kn_page page;
    uint32_t next;  /* page of the chain; 0 = the last */
    uint32_t after; /* in the top page of a chain: the top page of the chain to go on with */
    uint32_t count, reserved;
    kn_free_page entry[KN_CHAINED];
} kn_chain;

typedef struct {
    uint64_t txn; /* oldest transaction that this reader needs; KN_IDLE when it reads nothing */
    uint32_t pid; /* 0 = free slot */
    uint32_t reserved;
    uint64_t started; /* start time of the process, so that a reused pid does not count */
    uint64_t padding[5];
} kn_reader;

#define KN_SEATS 32
#define KN_SEAT_ROOM 1976

/* A small write that waits for whoever leads the next sync; seats.pyx tells who may do what in which state. */
enum { KN_EMPTY = 0, KN_SUBMITTED = 1, KN_JUDGED = 2, KN_SERVED = 3 };

typedef struct {
    uint32_t state;
    uint32_t pid; /* whose it is; its bit in `seats_taken` tells whether it is anybody's */
    uint64_t started;
    uint64_t names_generation;
    uint32_t expected_segno, expected_offset;
    uint16_t key_length, body_length, user_length;
    uint8_t intent, operation, unreplicated, reserved[7];
    uint64_t txn, version; /* the answer: as in Batch */
    int32_t verdict, outcome;
    uint8_t bytes[KN_SEAT_ROOM]; /* key, body, user */
} __attribute__((aligned(64))) kn_seat;

typedef struct {
    uint64_t generation; /* slot generation & 1 holds the latest */
    uint64_t padding[7];
    kn_meta slot[2];
} __attribute__((aligned(64))) kn_published;

typedef struct {
    char magic[8]; /* KNSHARED */
    uint32_t format, ready;
    uint64_t boot[2], device, inode, pid_namespace;
    pthread_mutex_t writer __attribute__((aligned(64)));
    pthread_mutex_t syncer __attribute__((aligned(64)));
    kn_published head;    /* applied */
    kn_published visible; /* on disk: what readers may use */
    uint64_t synced_txn __attribute__((aligned(64))); /* number of the visible state */
    uint64_t checkpoint, pending_checkpoint; /* states whose pages must stay; 0 = none */
    uint64_t recovered;    /* the state that recovery started from; what it says of holes may be out of date */
    uint64_t first;        /* state after that one; no page in use is of between */
    uint32_t poisoned;     /* errno of the fdatasync that failed; the table is read-only */
    uint32_t reader_limit; /* slots ever used: scans stop there */
    uint64_t index_pages;  /* pages allocated in index.kbt */
    uint64_t commits, syncs, skips; /* counters; of writes in seats that were no commits */
    uint64_t synced_arrivals;       /* commits and skips that the last sync has covered */
    uint32_t sync_word;      /* futex of those whose transactions the running sync covers: moves when it has ended */
    uint32_t checkpoint_page; /* which of the two slots holds it */
    uint32_t index_failed;    /* errno of the sync of index.kbt that failed: no more checkpoints */
    uint64_t appended, checkpoint_appended; /* bytes of log, with those that recovery replayed; and when the checkpoint was made */
    uint64_t log_bytes;       /* size of all segments */
    uint32_t next_segno;      /* segment number never used before */
    uint32_t removals;        /* moves when segments were unlinked */
    uint64_t syncing_txn;     /* last transaction that the running sync, or the latest, covers */
    uint32_t queue_word;      /* futex of those who wait for the next sync: moves when one begins and when one has ended */
    uint32_t company;         /* writes that the last sync covered, or one more than came while it ran */
    uint32_t sync_took;       /* µs that it took */
    uint32_t crowded;         /* so many syncs are to come before a leader gives his core away again */
    uint64_t sealed;          /* pages of states up to this one have checksums */
    uint32_t damaged;         /* a page of the index that was found damaged; 0 = none */
    uint32_t sleepers;        /* who sleeps at sync_word or queue_word, with those that died there */
    uint64_t index_inode;
    uint32_t crc; /* of everything else, set by the last process that closes the table; 0 = it is open, or was not closed */
    uint64_t seats_taken __attribute__((aligned(64))); /* a bit for each seat */
    uint64_t submitted; /* likewise: those whose state is KN_SUBMITTED */
    uint64_t serving;   /* the transaction that is made of seats under the writer mutex; 0 = none */
    uint32_t litter;    /* such a transaction was not published, and whole frames may lie behind the end of the log */
    kn_seat seats[KN_SEATS];
    kn_reader readers[KN_READERS] __attribute__((aligned(64)));
    kn_free_page young[KN_RING], old[KN_RING];
} kn_shared;

typedef struct { /* <root>/node.shm: one word that moves with every commit on the node */
    char magic[8]; /* KNDOORBL */
    uint32_t word, waiters;
} kn_doorbell;

_Static_assert(sizeof(kn_page) == 32, "page header");
_Static_assert(sizeof(kn_tree) == 16, "tree");
_Static_assert(sizeof(kn_meta) == 200, "meta");
_Static_assert(sizeof(kn_frame) == 56, "frame header");
_Static_assert(sizeof(kn_op) == 40, "operation header");
_Static_assert(sizeof(kn_segment) <= 128 && sizeof(kn_frame) <= 128, "what log_blot zeroes");
_Static_assert(sizeof(kn_chain) <= KN_PAGE_SIZE, "page of a chain");
_Static_assert(sizeof(kn_reader) == 64, "reader slot");
_Static_assert(sizeof(kn_seat) == 2048, "seat");

#endif
