"""read_log."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import Api

import engine


@pytest.fixture
def logged(node: engine.Node, api: Api) -> Api:
    directory = Path(node.configuration.get("logging.root"))
    directory.mkdir(exist_ok=True)
    lines = [
        {
            "timestamp": f"2026-11-24T16:26:0{second}.000Z",
            "thread": "http/1",
            "level": "error" if second % 2 else "warn",
            "tags": [],
            "message": f"m{second}",
        }
        for second in range(6)
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (directory / "kennel.log").write_text(text[:-40] + "\n[]\nnot json\n")
    return api


def messages(api: Api, **members: Any) -> list[str]:
    return [line["message"] for line in api.ok("read_log", **members)]


def test_lines_are_chosen_by_level_time_and_place(logged: Api) -> None:
    assert messages(logged) == ["m0", "m1", "m2", "m3", "m4"]
    assert messages(logged, level="error") == ["m1", "m3"]
    assert messages(logged, order="desc", limit=2) == ["m4", "m3"]
    assert messages(logged, order="desc", start=1, limit="2") == ["m3", "m2"]
    assert messages(logged, start=3, limit=1) == ["m3"]
    assert messages(logged, start=3, limit=2**64) == messages(logged, order="desc", limit=2**64)[1::-1] == ["m3", "m4"]
    assert messages(logged, **{"from": "2026-11-24T16:26:02Z", "to": "2026-11-24T17:26:03+01:00"}) == ["m2", "m3"]
    assert messages(logged, **{"from": 1795537563000}) == ["m3", "m4"]
    assert messages(logged, until="2001-01-02") == []
    assert messages(logged, log_name="hdb.log", limit=1) == ["m0"]


def test_a_log_without_a_line_yet_is_empty(api: Api) -> None:
    assert api.ok("read_log") == []


@pytest.mark.parametrize(
    ("members", "text"),
    [
        ({"level": "loud"}, "'level' must be one of [notify, fatal, error, warn, info, debug, trace]"),
        ({"order": "up"}, "'order' must be one of [asc, desc]"),
        ({"from": "no date"}, "'from' date 'no date' is invalid."),
        ({"to": []}, "'until' date '[]' is invalid."),
        ({"limit": 0}, "'limit' must be greater than or equal to 1"),
        ({"start": -1}, "'start' must be greater than or equal to 0"),
        ({"log_name": "../../etc/passwd"}, "'log_name' '../../etc/passwd' is invalid."),
        ({"log_name": "install.log"}, "'log_name' 'install.log' does not exist."),
    ],
)
def test_what_read_log_refuses(logged: Api, members: dict[str, Any], text: str) -> None:
    assert logged("read_log", **members).error == (400, text)
