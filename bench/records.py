"""The data set: a primary key, eight scalar attributes and one object; the same for all contenders, from one seed.

`score` is spread evenly, so that a range over it holds a known share of the table; `breed` has 100 values; `email` is
unique; `name` holds a syllable at its middle which no index helps to find.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from typing import Any

Record = dict[str, Any]

USUAL = 100_000  # figures of larger tables have pages of their own
COUNT = int(os.environ.get("KENNEL_BENCH_RECORDS", "20000"))
SCALARS = ("name", "breed", "age", "weight", "score", "adopted", "born", "email")
OBJECT = "owner"
HIGHEST_SCORE = 1_000_000
SYLLABLE = "zaq"  # in the names of one record in a hundred

_SEED = 4
_BATCH = 1000
_SYLLABLES = ("ba", "do", "ki", "lu", "mo", "na", "pe", "ri", "so", "tu")
_CITIES = ("Bergen", "Denver", "Lyon", "Osaka", "Porto", "Quito", "Turin", "Utrecht")


def record(key: int) -> Record:
    """The record of a key, always the same."""
    draw = random.Random(_SEED * 1_000_003 + key)
    middle = SYLLABLE if draw.randrange(100) == 0 else draw.choice(_SYLLABLES)
    name = draw.choice(_SYLLABLES) + draw.choice(_SYLLABLES) + middle + draw.choice(_SYLLABLES)
    return {
        "id": key,
        "name": f"{name.title()} {draw.randrange(10_000)}",
        "breed": f"breed {draw.randrange(100):02}",
        "age": draw.randrange(20),
        "weight": draw.randrange(20, 900) / 10,
        "score": draw.randrange(HIGHEST_SCORE),
        "adopted": draw.random() < 0.5,
        "born": f"20{draw.randrange(10, 26)}-{draw.randrange(1, 13):02}-{draw.randrange(1, 29):02}",
        "email": f"{name}.{key}@kennel.example",
        "owner": {"name": f"{draw.choice(_SYLLABLES)} {draw.choice(_SYLLABLES)}", "city": draw.choice(_CITIES)},
    }


def batches() -> Iterator[list[Record]]:
    """All records of the table, some at a time."""
    for first in range(0, COUNT, _BATCH):
        yield batch(first, min(_BATCH, COUNT - first))


def batch(first: int, count: int) -> list[Record]:
    """The records of `count` keys from `first` on."""
    return [record(key) for key in range(first, first + count)]


def shuffled_keys(count: int) -> list[int]:
    """The keys below `count` in an order that no cache can guess."""
    keys = list(range(count))
    random.Random(_SEED).shuffle(keys)
    return keys


def without_times(found: Record | None) -> Record | None:
    """A record as it was inserted: KennelDB adds two times of its own."""
    return found and {name: value for name, value in found.items() if not name.startswith("__")}
