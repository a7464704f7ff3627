"""Who this node is among the others: fixed for one run of the node process."""

from __future__ import annotations

from dataclasses import dataclass

from engine.replication.messages import PROTOCOL, Card


@dataclass(frozen=True, slots=True)
class Identity:
    """`session` is new with every start; `secret` is shared by all nodes of the cluster, `key` is this node's own
    public transport key. `started` is on the clock that the core is fed with."""

    uuid: str
    name: str
    cluster: str
    session: str
    secret: bytes
    key: str
    clustering_port: int = 0
    operations_port: int = 0
    software: str = ""
    platform: str = ""
    republish: bool = True
    started: float = 0.0

    def card(self, now: float) -> Card:
        return Card(
            protocol=PROTOCOL,
            cluster=self.cluster,
            uuid=self.uuid,
            name=self.name,
            session=self.session,
            clustering_port=self.clustering_port,
            operations_port=self.operations_port,
            software=self.software,
            platform=self.platform,
            uptime=(now - self.started) * 1000,
        )
