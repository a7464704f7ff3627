"""What the tests of simulated clusters say over and over."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from simulator import SimNode, Simulator


def subscription(table: str = "dog", publish: bool = True, subscribe: bool = True, **more: Any) -> dict[str, Any]:
    return {"schema": "dev", "table": table, "publish": publish, "subscribe": subscribe, **more}


def link(simulator: Simulator, *pairs: tuple[SimNode, SimNode]) -> None:
    """Route the first of each pair to the second, and wait until all are linked."""
    for dialler, listener in pairs:
        simulator.route(dialler, listener)
    assert simulator.run_until(lambda: all(are_linked(a, b) and are_linked(b, a) for a, b in pairs))


def are_linked(node: SimNode, peer: SimNode) -> bool:
    return node.core is not None and peer.data.id in node.core.sessions


def rows(node: SimNode, table: str = "dog") -> dict[Any, Any]:
    return node.data.table("dev", table).rows()


def has_rows(*nodes: SimNode, table: str = "dog") -> Callable[[], bool]:
    """Whether the nodes have the table, with equal rows."""

    def same() -> bool:
        if any(("dev", table) not in node.data.tables for node in nodes):
            return False
        return all(rows(node, table) == rows(nodes[0], table) for node in nodes)

    return same


def settled(simulator: Simulator, *nodes: SimNode, table: str = "dog") -> Callable[[], bool]:
    return lambda: simulator.settled(table, nodes)


def notes(simulator: Simulator) -> str:
    return "\n".join(sorted(note for node in simulator.nodes.values() for note in node.notes)[-80:])


def faults(nodes: Iterable[SimNode]) -> list[str]:
    return [note for node in nodes for note in node.notes if "fault of its own" in note]
