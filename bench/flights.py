"""Flights, the planes that flew them and the airports they went to: three tables to be joined, always the same."""

from __future__ import annotations

import random
import sqlite3

import engine

FLIGHTS, PLANES, AIRPORTS = 3_000, 2_000, 1_400
DESTINATIONS = 100  # airports that any flight goes to

Record = dict[str, object]

_SEED = 7
_MAKERS = ("AIRBUS", "BOEING", "BOMBARDIER", "CESSNA", "EMBRAER", "MCDONNELL DOUGLAS")


def tables() -> dict[str, list[Record]]:
    """Records by table; the first attribute is the primary key."""
    draw = random.Random(_SEED)
    airports: list[Record] = [
        {
            "faa": f"A{number:04}",
            "name": f"Airport {number}",
            "lat": draw.uniform(20, 60),
            "lon": draw.uniform(-120, -70),
            "alt": draw.randrange(5_000),
        }
        for number in range(AIRPORTS)
    ]
    planes: list[Record] = [
        {
            "tailnum": f"N{number:05}",
            "year": draw.randrange(1970, 2014),
            "manufacturer": draw.choice(_MAKERS),
            "model": f"{draw.randrange(100, 800)}-{draw.randrange(10)}",
            "seats": draw.randrange(20, 400),
        }
        for number in range(PLANES)
    ]
    flights: list[Record] = [
        {
            "id": number,
            "month": draw.randrange(1, 13),
            "day": draw.randrange(1, 29),
            "carrier": draw.choice(("AA", "B6", "DL", "EV", "UA", "WN")),
            "tailnum": planes[draw.randrange(PLANES)]["tailnum"],
            "origin": draw.choice(("A0001", "A0002", "A0003")),
            "dest": airports[draw.randrange(DESTINATIONS)]["faa"],
            "dep_delay": draw.randrange(-20, 200),
            "distance": draw.randrange(80, 5_000),
        }
        for number in range(FLIGHTS)
    ]
    return {"flight": flights, "plane": planes, "airport": airports}


def fill_kennel(node: engine.Node) -> None:
    for table, records in tables().items():
        node.create_table("bench", table, primary_key=next(iter(records[0]))).insert(records)


def fill_sqlite(connection: sqlite3.Connection) -> None:
    for table, records in tables().items():
        key, *others = records[0]
        kind = "INTEGER" if isinstance(records[0][key], int) else "TEXT"
        connection.execute(f"CREATE TABLE {table} ({key} {kind} PRIMARY KEY, {', '.join(others)})")
        places = ", ".join(f":{name}" for name in records[0])
        connection.executemany(f"INSERT INTO {table} VALUES ({places})", records)
        for name in others:
            connection.execute(f"CREATE INDEX {table}_{name} ON {table} ({name})")
