"""Routes: where other nodes of the cluster listen, and when to try them again."""

from __future__ import annotations

import random
from typing import NamedTuple

from engine.configuration import Configuration

SETTINGS = ("clustering.hubServer.cluster.network.routes", "clustering.leafServer.network.routes")


class Route(NamedTuple):
    host: str
    port: int

    @property
    def address(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"tcp://{host}:{self.port}"


def routes_of(configuration: Configuration) -> tuple[Route, ...]:
    """The node's own routes, each once, in the order of the configuration; those to leaf servers count as well."""
    given = [route for setting in SETTINGS for route in configuration.get(setting) or ()]
    return tuple(dict.fromkeys(Route(route["host"], route["port"]) for route in given if route["port"]))


class Backoff:
    """Growing pauses between attempts, with some chance in them so that nodes do not dial in step."""

    def __init__(self, first: float, longest: float) -> None:
        self._first = first
        self._longest = longest
        self._next = first

    def pause(self) -> float:
        """Seconds to wait before the next attempt."""
        pause = self._next * random.uniform(0.5, 1.0)
        self._next = min(self._next * 2, self._longest)
        return pause

    def reset(self) -> None:
        self._next = self._first
