"""Neighbours in `system.hdb_nodes`: one row each, keyed by the node's name.

{"name": "south", "uuid": …, "removed": stamp, "ports": {"clustering": 9932, "operations_api": 9925},
 "subscriptions": [{"schema", "table", "publish", "subscribe", "stamp", "start_time", "joined", "table_id",
                        "reached"}]}
"""

from __future__ import annotations

from typing import Any

import msgspec

from engine.errors import Corrupt
from engine.replication.messages import Stream
from engine.replication.terms import Neighbour, Subscription

TABLE = "hdb_nodes"


class _Ports(msgspec.Struct):
    clustering: int | None = None
    operations_api: int | None = None


class _Subscription(msgspec.Struct):
    schema: str
    table: str
    publish: bool
    subscribe: bool
    stamp: int
    start_time: int | None = None
    joined: bool = False
    table_id: str | None = None
    reached: int = 0


class _Row(msgspec.Struct):
    name: str
    uuid: str
    removed: int
    ports: _Ports
    subscriptions: list[_Subscription]


def row_of(neighbour: Neighbour) -> dict[str, Any]:
    return {
        "name": neighbour.name,
        "uuid": neighbour.uuid,
        "removed": neighbour.removed,
        "ports": {"clustering": neighbour.clustering_port, "operations_api": neighbour.operations_port},
        "subscriptions": [
            {
                "schema": stream.schema,
                "table": stream.table,
                "publish": s.publish,
                "subscribe": s.subscribe,
                "stamp": s.stamp,
                "start_time": s.start_time,
                "joined": s.joined,
                "table_id": s.table_id,
                "reached": s.reached,
            }
            for stream, s in sorted(neighbour.subscriptions.items())
        ],
    }


def neighbour_of(row: dict[str, Any]) -> Neighbour:
    """Corrupt when the row is not one of ours."""
    try:
        kept = msgspec.convert(row, _Row)
    except msgspec.ValidationError as error:
        raise Corrupt(f"A row of system.{TABLE} is damaged: {error}") from error
    subscriptions = {
        Stream(s.schema, s.table): Subscription(
            s.publish, s.subscribe, s.stamp, s.start_time, s.joined, s.table_id, s.reached
        )
        for s in kept.subscriptions
    }
    ports = kept.ports
    return Neighbour(kept.name, kept.uuid, kept.removed, subscriptions, ports.clustering, ports.operations_api)
