"""The bodies of cluster operations, checked: what the callers sent, as values, or HarperDB's text of what is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from engine.errors import InvalidRequest
from engine.replication.messages import Stream

MAX_NAME = 250


@dataclass(frozen=True, slots=True)
class Request:
    """One subscription of a request: `given` is the object as it was sent, for the reply."""

    stream: Stream
    publish: bool
    subscribe: bool
    start_time: int | None
    given: Mapping[str, Any]

    @property
    def live(self) -> bool:
        return self.publish or self.subscribe

    def shown(self) -> dict[str, Any]:
        """The subscription as replies show it, in their order, with the word for schemas that the request used."""
        word = "schema" if "schema" in self.given or "database" not in self.given else "database"
        shown = {
            word: self.stream.schema,
            "table": self.stream.table,
            "publish": self.publish,
            "subscribe": self.subscribe,
        }
        return shown | ({"start_time": self.given["start_time"]} if self.start_time is not None else {})


def node_name(body: Mapping[str, Any], prefix: str = "") -> str:
    """The node_name of a request."""
    name = body.get("node_name")
    if name is None:
        raise InvalidRequest(f"'{prefix}node_name' is required")
    if not isinstance(name, str):
        raise InvalidRequest(f"'{prefix}node_name' must be a string")
    if not name or len(name) > MAX_NAME or any(letter in ".,*>" or letter.isspace() for letter in name):
        raise InvalidRequest(f"'{prefix}node_name' invalid, must not contain ., * or >")
    return name


def subscriptions(body: Mapping[str, Any], prefix: str = "", least: int = 1) -> list[Request]:
    """The subscriptions of a request; of several for one table the last one counts."""
    given = body.get("subscriptions")
    if given is None:
        raise InvalidRequest(f"'{prefix}subscriptions' is required")
    if not isinstance(given, list | tuple):
        raise InvalidRequest(f"'{prefix}subscriptions' must be an array")
    if len(given) < least:
        raise InvalidRequest(f"'{prefix}subscriptions' must contain at least {least} items")
    requests = [_subscription(item, f"{prefix}subscriptions[{place}]") for place, item in enumerate(given)]
    return list({request.stream: request for request in requests}.values())


def connections(body: Mapping[str, Any]) -> list[tuple[str, list[Request]]]:
    """The connections of configure_cluster: a node name and its subscriptions each."""
    given = body.get("connections")
    if given is None:
        raise InvalidRequest("'connections' is required")
    if not isinstance(given, list | tuple):
        raise InvalidRequest("'connections' must be an array")
    checked = []
    for place, item in enumerate(given):
        if not isinstance(item, Mapping):
            raise InvalidRequest(f"'connections[{place}]' must be of type object")
        prefix = f"connections[{place}]."
        checked.append((node_name(item, prefix), subscriptions(item, prefix)))
    return checked


def flag(body: Mapping[str, Any], name: str) -> bool:
    value = body.get(name, False)
    if not isinstance(value, bool):
        raise InvalidRequest(f"'{name}' must be a boolean")
    return value


def seconds(body: Mapping[str, Any], name: str, default: float) -> float:
    """A time limit that is given in milliseconds."""
    value = body.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidRequest(f"'{name}' must be a number")
    if value < 1:
        raise InvalidRequest(f"'{name}' must be greater than or equal to 1")
    return value / 1000


def _subscription(item: Any, place: str) -> Request:
    if not isinstance(item, Mapping):
        raise InvalidRequest(f"'{place}' must be of type object")
    word = "database" if "database" in item and "schema" not in item else "schema"
    schema = _text(item.get(word, "data"), f"{place}.{word}")
    table = item.get("table")
    if table is None:
        raise InvalidRequest(f"'{place}.table' is required")
    if schema.lower() == "system":
        raise InvalidRequest(f"'{place}' invalid {word} name, 'system' name is reserved")
    return Request(
        stream=Stream(schema, _text(table, f"{place}.table")),
        publish=_boolean(item, "publish", place),
        subscribe=_boolean(item, "subscribe", place),
        start_time=_start_time(item.get("start_time"), place),
        given=item,
    )


def _text(value: Any, place: str) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise InvalidRequest(f"'{place}' must be a string")
    if not 0 < len(value) <= MAX_NAME or "/" in value or "`" in value or not value.isprintable():
        raise InvalidRequest(f"'{place}' is not a valid name")
    return value


def _boolean(item: Mapping[str, Any], name: str, place: str) -> bool:
    value = item.get(name)
    if value is None:
        raise InvalidRequest(f"'{place}.{name}' is required")
    if not isinstance(value, bool):
        raise InvalidRequest(f"'{place}.{name}' must be a boolean")
    return value


def _start_time(value: Any, place: str) -> int | None:
    """Microseconds of an ISO 8601 time; one without an offset is UTC."""
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(value)
        moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
        return max(0, round(moment.timestamp() * 1_000_000))
    except (TypeError, ValueError, OverflowError):
        raise InvalidRequest(f"'{place}.start_time' must be in ISO 8601 date format") from None
