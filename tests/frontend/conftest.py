"""A node, its application, and a client that speaks in operations."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import argon2
import pytest
from flask import Flask

import engine
from engine import control
from frontend import authentication
from frontend.app import create_app
from frontend.authentication import create_first_user
from frontend.work import Work

ADMIN, PASSWORD = "admin", "secret: with a colon"


def basic(username: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()


@dataclass(frozen=True)
class Reply:
    status: int
    body: Any
    headers: Any

    @property
    def error(self) -> tuple[int, str]:
        return self.status, self.body["error"]


@dataclass(frozen=True)
class Api:
    """Calls operations as one user: `api("insert", schema=…)` gives the Reply, `api.ok(…)` the body of a 200."""

    app: Flask
    authorization: str | None = basic(ADMIN, PASSWORD)

    def __call__(self, operation: str, **members: Any) -> Reply:
        return self.send(json.dumps({"operation": operation, **members}).encode())

    def ok(self, operation: str, **members: Any) -> Any:
        reply = self(operation, **members)
        assert reply.status == 200, reply
        return reply.body

    def send(self, body: bytes, headers: dict[str, str] | None = None, environ: Any = None) -> Reply:
        sent = {"Content-Type": "application/json", **(headers or {})}
        if self.authorization is not None:
            sent.setdefault("Authorization", self.authorization)
        answer = self.app.test_client(use_cookies=False).post(
            "/", data=body, headers=sent, environ_overrides=environ or {}
        )
        content = answer.get_data()
        body_is_json = answer.headers["Content-Type"] == "application/json" and "Content-Encoding" not in answer.headers
        return Reply(answer.status_code, json.loads(content) if body_is_json else content, answer.headers)

    def as_user(self, username: str, password: str = "pw") -> Api:
        return replace(self, authorization=basic(username, password))

    def bearing(self, token: str) -> Api:
        return replace(self, authorization=f"Bearer {token}")

    def as_nobody(self) -> Api:
        return replace(self, authorization=None)


@pytest.fixture(autouse=True)
def quick_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Passwords are hashed as ever, only with less effort."""
    monkeypatch.setattr(authentication, "_HASHER", argon2.PasswordHasher(time_cost=1, memory_cost=64, parallelism=1))


@pytest.fixture
def node(tmp_path: Path) -> Iterator[engine.Node]:
    with engine.open_node(tmp_path / "node") as node:
        create_first_user(node, ADMIN, PASSWORD)
        yield node


@contextmanager
def working(node: engine.Node) -> Iterator[Work]:
    """What the node process does for the API, without a process: it takes jobs over the control socket."""
    work = Work(node)
    server = control.Server(node.root, {"routes_changed": lambda body: None, **work.operations()})
    threading.Thread(target=server.serve, daemon=True).start()
    try:
        yield work
        assert work.wait(60)
    finally:
        server.close()
        work.close()


@pytest.fixture
def api(node: engine.Node) -> Iterator[Api]:
    with working(node):
        yield Api(create_app(node))


@pytest.fixture
def farm(api: Api) -> Api:
    """The API over a node with a few goats."""
    api.ok("create_schema", schema="farm")
    api.ok("create_table", schema="farm", table="goat", hash_attribute="id")
    api.ok("create_table", schema="farm", table="secret", hash_attribute="id")
    goats = [
        {"id": 1, "name": "Ivy", "age": 3, "coat": "grey"},
        {"id": 2, "name": "Bo", "age": 5, "coat": "white"},
        {"id": 3, "name": "Livia", "age": 3},
    ]
    api.ok("insert", schema="farm", table="goat", records=goats)
    return api


@pytest.fixture
def member(farm: Api) -> Callable[[dict[str, Any]], Api]:
    """Makes a user with a permission document, and gives the API as that user."""
    numbers = iter(range(1000))

    def make(permission: dict[str, Any]) -> Api:
        name = f"kim{next(numbers)}"
        farm.ok("add_role", role=name, permission=permission)
        farm.ok("add_user", username=name, password="pw", role=name, active=True)
        return farm.as_user(name)

    return make


def on_goats(*rights: str, attributes: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    """A permission document with these rights on farm.goat."""
    flags: dict[str, Any] = {right: right in rights for right in ("read", "insert", "update", "delete")}
    return {"farm": {"tables": {"goat": {**flags, "attribute_permissions": attributes}}}}


def attribute(name: str, *rights: str) -> dict[str, Any]:
    return {"attribute_name": name, **{right: right in rights for right in ("read", "insert", "update")}}
