"""KennelDB measured against its peers, in the same run, on the same records.

    make bench                            the engine beside SQLite and LMDB, statements beside SQLite (pytest-benchmark)
    python -m bench.scale                 durable inserts beside the bare disk, several processes on one table
    python -m bench.growth                the same work on tables of 10,000 records and more, beside SQLite and LMDB
    python -m bench.instructions          instructions and cache misses of one piece of work, under valgrind
    python -m bench.churn                 how large files grow under endless updates, and how long writers wait
    python -m bench.disk                  bytes on disk beside SQLite and LMDB
    python -m bench.large                 a large table: loading, opening after a power cut, memory of a node
    python -m bench.http_load             a whole node under load over HTTP
    python -m bench.csv_load              a large CSV file into a whole node, and what memory that takes
    python -m bench.group_commit          a model of the group commit: what its costs allow

What they measure goes to bench/results/ together with the machine and the commit. Nothing here fails for being slow.
KENNEL_BENCH_RECORDS sets the size of the table (20000), KENNEL_BENCH_DIRECTORY where the data lies (a temporary
directory; figures for durable writes mean nothing on a file system in memory).
"""
