"""KennelDB measured against its peers, in the same run, on the same records.

    make bench                            the engine beside SQLite and LMDB, statements beside SQLite (pytest-benchmark)
    python -m bench.scale                 durable inserts beside the bare disk, several processes on one table
    python -m bench.http_load             a whole node under load over HTTP

What they measure goes to bench/results/ together with the machine and the commit. Nothing here fails for being slow.
KENNEL_BENCH_RECORDS sets the size of the table (20000), KENNEL_BENCH_DIRECTORY where the data lies (a temporary
directory; figures for durable writes mean nothing on a file system in memory).
"""
