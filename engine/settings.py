"""The settings a node has: name, default, and what a value must look like.

A row of `SETTINGS` is all there is to know about a setting; reading files, the environment and the command line is
`engine.configuration`'s part. Names are the camelCase paths of the configuration file joined by dots. Settings that
HarperDB has and that mean nothing here (its other cluster ports, for example) have rows too, so that published
guides and old files work as they stand.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LOG_LEVELS = ("notify", "fatal", "error", "warn", "info", "debug", "trace")

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_OCTETS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_NAME_BREAKERS = re.compile(r"[.,*>\s]")

Reader = Callable[[str, Any], Any]


class Refused(ValueError):
    """A value that a setting does not take; the text is complete."""


@dataclass(frozen=True)
class Setting:
    """One setting. `read(name, value)` gives the value as it is kept (text from a command line is cast) or raises
    Refused. A setting whose default is null takes null. A path may be relative to the root directory; one that
    `must_exist` is checked when a value is given for it."""

    name: str
    default: Any
    read: Reader
    is_path: bool = False
    must_exist: bool = False

    def accept(self, value: Any) -> Any:
        if isinstance(value, str) and value.strip().lower() in ("null", ""):
            value = None
        if value is None and self.default is None:
            return None
        return self.read(self.name, value)


def seconds(value: str | float) -> float:
    """The seconds in '30d', '12h', '30m', '45s' or a plain number; ValueError for anything else."""
    if isinstance(value, str) and value[-1:].lower() in _SECONDS:
        return float(value[:-1]) * _SECONDS[value[-1].lower()]
    return float(value)


def octets(value: str) -> int:
    """The bytes in '100K', '10M' or '1G'; KeyError or ValueError for anything else."""
    return int(value[:-1]) * _OCTETS[value[-1:].upper()]


# Readers.


def _boolean(name: str, value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    raise Refused(f"'{name}' must be a boolean")


def _number(name: str, value: Any) -> int | float:
    if isinstance(value, str):
        try:
            value = int(value) if re.fullmatch(r"[+-]?\d+", value.strip()) else float(value)
        except ValueError:
            raise Refused(f"'{name}' must be a number") from None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Refused(f"'{name}' must be a number")
    return value


def _integer(minimum: int, maximum: int | None = None) -> Reader:
    def read(name: str, value: Any) -> int:
        number = _number(name, value)
        if number != number or number < minimum:
            raise Refused(f"'{name}' must be greater than or equal to {minimum}")
        if maximum is not None and number > maximum:
            raise Refused(f"'{name}' must be less than or equal to {maximum}")
        if number != int(number):
            raise Refused(f"'{name}' must be an integer")
        return int(number)

    return read


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise Refused(f"'{name}' must be a string")
    return value


def _one_of(*choices: str) -> Reader:
    def read(name: str, value: Any) -> str:
        if value not in choices:
            raise Refused(f"'{name}' must be one of [{', '.join(choices)}]")
        return value

    return read


def _path(name: str, value: Any) -> str:
    text = _text(name, value)
    return str(Path(text).expanduser()) if text.startswith("~") else text


def _node_name(name: str, value: Any) -> str:
    text = _text(name, value)
    if _NAME_BREAKERS.search(text):
        raise Refused(f"'{name}' invalid, must not contain ., * or >")
    return text


def _duration(name: str, value: Any) -> str | float:
    try:
        if not isinstance(value, bool) and seconds(value) >= 0:
            return value
    except (TypeError, ValueError):
        pass  # refused below, with every other value that is no span of time
    raise Refused(f"'{name}' must be a number of seconds or a time span such as 1d, 12h, 30m or 45s")


def _quantity(units: str, available: str, example: str) -> Reader:
    def read(name: str, value: Any) -> str:
        text = str(value)
        if text[-1:].upper() not in units:
            raise Refused(f"Invalid {name} unit. Available units are {available}")
        if not re.fullmatch(r"\d+", text[:-1]):
            raise Refused(f"Invalid {name} value. Value should be a number followed by unit e.g. '{example}'")
        return text

    return read


def _from_json(value: Any) -> Any:
    """Arrays and objects come from a command line as JSON text."""
    if not isinstance(value, str) or value.lstrip()[:1] not in ("[", "{"):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


def _texts(name: str, value: Any) -> list[str | None]:
    value = _from_json(value)
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",")]
    if not isinstance(value, list) or not all(item is None or isinstance(item, str) for item in value):
        raise Refused(f"'{name}' must be an array")
    return value


def _routes(name: str, value: Any) -> list[dict[str, Any]]:
    value = _from_json(value)
    if not isinstance(value, list):
        raise Refused(f"'{name}' must be an array")
    return [_route(f"{name}[{number}]", route) for number, route in enumerate(value)]


def _route(name: str, route: Any) -> dict[str, Any]:
    if not isinstance(route, dict):
        raise Refused(f"'{name}' must be of type object")
    for member in ("host", "port"):
        if route.get(member) is None:
            raise Refused(f"'{name}.{member}' is required")
    return {"host": _text(f"{name}.host", route["host"]), "port": _port(f"{name}.port", route["port"])}


def _anything(name: str, value: Any) -> Any:
    return _from_json(value)


_port = _integer(0, 65535)
_count = _integer(1)
_milliseconds = _integer(1)
_size = _quantity("GMK", "G, M or K", "10M")
_interval = _quantity("DHM", "D, H or M (minutes)", "10D")


def _listener(prefix: str, port: int, keep_alive: int) -> list[Setting]:
    return [
        Setting(f"{prefix}.port", port, _port),
        Setting(f"{prefix}.securePort", None, _port),
        Setting(f"{prefix}.https", False, _boolean),
        Setting(f"{prefix}.host", None, _text),
        Setting(f"{prefix}.cors", True, _boolean),
        Setting(f"{prefix}.corsAccessList", [None], _texts),
        Setting(f"{prefix}.timeout", 120000, _milliseconds),
        Setting(f"{prefix}.keepAliveTimeout", keep_alive, _milliseconds),
        Setting(f"{prefix}.headersTimeout", 60000, _milliseconds),
    ]


def _statement_limits(prefix: str, timeout: int, memory: str) -> list[Setting]:
    return [
        Setting(f"{prefix}.timeout", timeout, _integer(0)),
        Setting(f"{prefix}.maxRows", 0, _integer(0)),
        Setting(f"{prefix}.maxMemory", memory, _size),
        Setting(f"{prefix}.maxDisk", "4G", _size),
    ]


def _certificates(prefix: str) -> list[Setting]:
    return [
        Setting(f"{prefix}.certificate", "keys/certificate.pem", _path, is_path=True, must_exist=True),
        Setting(f"{prefix}.certificateAuthority", "keys/ca.pem", _path, is_path=True, must_exist=True),
        Setting(f"{prefix}.privateKey", "keys/privateKey.pem", _path, is_path=True, must_exist=True),
    ]


_ROWS = [
    *_listener("operationsApi.network", 9925, 5000),
    Setting("operationsApi.network.domainSocket", "operations-server", _path, is_path=True),
    Setting("operationsApi.foreground", False, _boolean),
    Setting("operationsApi.nodeEnv", "production", _text),
    Setting("authentication.operationTokenTimeout", "1d", _duration),
    Setting("authentication.refreshTokenTimeout", "30d", _duration),
    Setting("authentication.authorizeLocal", False, _boolean),
    Setting("authentication.cacheTTL", 30000, _integer(0)),
    Setting("authentication.enableSessions", True, _boolean),
    *_certificates("tls"),
    Setting("http.workers", None, _count),
    Setting("http.threads", 8, _count),
    Setting("http.sessionAffinity", None, _text),
    Setting("http.compressionThreshold", 1200, _integer(0)),
    Setting("customFunctions.enabled", True, _boolean),
    *_listener("customFunctions.network", 9926, 5000),
    Setting("customFunctions.root", "custom_functions", _path, is_path=True, must_exist=True),
    Setting("customFunctions.nodeEnv", "production", _text),
    Setting("clustering.enabled", False, _boolean),
    Setting("clustering.nodeName", None, _node_name),
    Setting("clustering.user", None, _text),
    Setting("clustering.hubServer.cluster.name", "kennel", _text),
    Setting("clustering.hubServer.cluster.network.host", None, _text),
    Setting("clustering.hubServer.cluster.network.port", 9932, _port),
    Setting("clustering.hubServer.cluster.network.routes", [], _routes),
    Setting("clustering.hubServer.leafNodes.network.port", 9931, _port),
    Setting("clustering.hubServer.network.port", 9930, _port),
    Setting("clustering.leafServer.network.port", 9940, _port),
    Setting("clustering.leafServer.network.routes", [], _routes),
    Setting("clustering.leafServer.streams.maxAge", None, _integer(0)),
    Setting("clustering.leafServer.streams.maxBytes", None, _integer(0)),
    Setting("clustering.leafServer.streams.maxMsgs", None, _integer(0)),
    Setting("clustering.leafServer.streams.path", "clustering/leaf", _path, is_path=True, must_exist=True),
    Setting("clustering.logLevel", "error", _one_of("error", "warn", "info", "debug", "trace")),
    Setting("clustering.republishMessages", True, _boolean),
    Setting("clustering.databaseLevel", False, _boolean),
    *_certificates("clustering.tls"),
    Setting("clustering.tls.insecure", True, _boolean),
    Setting("clustering.tls.verify", True, _boolean),
    Setting("logging.level", "warn", _one_of(*LOG_LEVELS)),
    Setting("logging.auditLog", False, _boolean),
    Setting("logging.auditRetention", "3d", _duration),
    Setting("logging.file", True, _boolean),
    Setting("logging.stdStreams", False, _boolean),
    Setting("logging.root", "log", _path, is_path=True, must_exist=True),
    Setting("logging.rotation.enabled", False, _boolean),
    Setting("logging.rotation.compress", False, _boolean),
    Setting("logging.rotation.interval", None, _interval),
    Setting("logging.rotation.maxSize", None, _size),
    Setting("logging.rotation.path", "log", _path, is_path=True, must_exist=True),
    Setting("logging.auditAuthEvents.logFailed", False, _boolean),
    Setting("logging.auditAuthEvents.logSuccessful", False, _boolean),
    Setting("storage.path", "schema", _path, is_path=True, must_exist=True),
    Setting("storage.durability", "commit", _one_of("commit", "interval")),
    Setting("storage.syncInterval", 100, _milliseconds),
    Setting("storage.writeAsync", False, _boolean),
    Setting("storage.caching", True, _boolean),
    Setting("storage.compression", False, _boolean),
    Setting("storage.noReadAhead", True, _boolean),
    Setting("storage.prefetchWrites", True, _boolean),
    *_statement_limits("sql", 120000, "256M"),
    *_statement_limits("sql.jobs", 0, "512M"),
    Setting("bulk.fileRoots", [], _texts),
    Setting("bulk.urlPrivateNetworks", False, _boolean),
    Setting("bulk.jobRetention", "30d", _duration),
    Setting("schemas", None, _anything),
    Setting("localStudio.enabled", False, _boolean),
    Setting("ipc.network.port", 9383, _port),
]

SETTINGS: dict[str, Setting] = {row.name: row for row in _ROWS}

# The same setting under the name that another release of HarperDB gave it.
ALIASES: dict[str, str] = {
    "operationsApi.authentication.operationTokenTimeout": "authentication.operationTokenTimeout",
    "operationsApi.authentication.refreshTokenTimeout": "authentication.refreshTokenTimeout",
    "operationsApi.tls.certificate": "tls.certificate",
    "operationsApi.tls.certificateAuthority": "tls.certificateAuthority",
    "operationsApi.tls.privateKey": "tls.privateKey",
    "customFunctions.tls.certificate": "tls.certificate",
    "customFunctions.tls.certificateAuthority": "tls.certificateAuthority",
    "customFunctions.tls.privateKey": "tls.privateKey",
    "http.port": "customFunctions.network.port",
    "http.securePort": "customFunctions.network.securePort",
    "componentsRoot": "customFunctions.root",
}

# What stands above a section of a newly written file.
SECTION_NOTES: dict[str, str] = {
    "operationsApi": "The HTTP operations API. host: null listens on all interfaces. Times are in milliseconds.",
    "authentication": "Lifetimes of tokens: 1d, 12h, 30m, 45s.",
    "tls": "Used where https is true. Relative paths are relative to this directory.",
    "http": "Server processes (null: one per core) and threads in each.",
    "customFunctions": "The port on which the functions of your own are served.",
    "clustering": "Peers connect to hubServer.cluster.network.port; the other ports are accepted and unused.",
    "logging": "Levels: notify, fatal, error, warn, info, debug, trace.",
    "storage": "durability commit: an acknowledged write is on disk. interval: synced every syncInterval ms.",
    "sql": "What one statement may use. timeout in milliseconds; timeout or maxRows 0: no limit. sql.jobs: exports.",
    "bulk": "Where csv_file_load and export_local may read and write; empty: anywhere outside this directory.\n"
    "jobRetention: how long jobs that have ended are shown.",
}
