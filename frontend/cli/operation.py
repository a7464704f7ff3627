"""kennel OPERATION key=value …: any operation of the API on the local node, as super user."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine.configuration import Configuration
from engine.process import CannotStart, Exit
from frontend import client, pidfile
from frontend.cli import output
from frontend.cli import root as roots


def perform(name: str, given: Sequence[str]) -> int | None:
    """Run an operation and print its reply; None, and nothing printed, when there is no such operation."""
    parameters, members = separated(given)
    root = roots.only_root(parameters)
    as_json = members.pop("json", False) is True
    if pidfile.holder(root) is None:
        if not _is_operation(name):
            return None
        raise CannotStart(Exit.STOPPED, "KennelDB must be running to perform this operation")
    status, reply = _ask(root, {"operation": name, **members})
    if status == 200:
        output.show(reply, as_json=as_json)
        return Exit.OK
    text = reply.get("error", reply) if isinstance(reply, dict) else reply
    if text == f"Operation '{name}' not found":
        return None
    print(f"kennel: {text}", file=sys.stderr)
    return Exit.FAILED


def separated(given: Sequence[str]) -> tuple[list[str], dict[str, Any]]:
    """The `--PARAM value` pairs, and the members of the operation."""
    parameters: list[str] = []
    members: dict[str, Any] = {}
    rest = iter(given)
    for argument in rest:
        name, equals, value = argument.partition("=")
        if argument.startswith("--"):
            parameters += [argument] if equals else [argument, *itertools.islice(rest, 1)]
        elif equals and name:
            members[name] = _value(value)
        else:
            raise CannotStart(Exit.USAGE, f"'{argument}' is not understood; members are given as key=value")
    return parameters, members


def _value(text: str) -> Any:
    """JSON where it is JSON, otherwise the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _ask(root: Path, body: dict[str, Any]) -> tuple[int, Any]:
    socket_path = client.domain_socket(Configuration.load(root))
    if not socket_path.exists():
        raise CannotStart(Exit.STOPPED, "No domain socket found, unable to perform this operation")
    status, reply = client.request(socket_path, "POST", "/", json.dumps(body).encode())
    try:
        return status, json.loads(reply)
    except ValueError:
        return status, reply.decode(errors="replace")


def _is_operation(name: str) -> bool:
    from frontend.operations import TABLE

    return name in TABLE
