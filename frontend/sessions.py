"""Sessions of browsers: what `login` begins, a cookie names and `logout` ends.

A session is a row of system.hdb_session {id (a hash of the cookie), user, stamp, ends (ms)}, so every worker knows it.
It dies with the password or the role of its user. Other sites cannot use the cookie: it is for requests of the same
site only, a body that a form can send is no operation, and answers never allow credentials to other origins.
"""

from __future__ import annotations

import hashlib
import secrets
import time

import engine
from frontend.authentication import Accounts, User
from frontend.tokens import seconds, stamp

SESSIONS = "hdb_session"
COOKIE = "hdb-session"
FORGOTTEN = 100  # sessions that are over and removed at a time


class Sessions:
    """The sessions of a node. One lasts as long as a refresh token."""

    def __init__(self, node: engine.Node, accounts: Accounts) -> None:
        self._node = node
        self._accounts = accounts
        self.enabled = node.configuration.get("authentication.enableSessions") is True
        self._lifetime = round(seconds(node.configuration.get("authentication.refreshTokenTimeout")))

    def begin(self, user: User, *, secure: bool) -> str:
        """Begin a session; gives the value of the header Set-Cookie. `secure`: the client must not send it in clear."""
        self._forget_old()
        cookie = secrets.token_urlsafe(32)
        row = {"id": _digest(cookie), "user": user.name, "stamp": stamp(user), "ends": _now() + self._lifetime * 1000}
        self._node.system(SESSIONS).insert([row])
        return _header(cookie, self._lifetime, secure)

    def owner(self, cookies: str) -> User | None:
        """The user of the session that a Cookie header names, None when there is none, or it is over."""
        cookie = _named(cookies)
        if not cookie or not self.enabled:
            return None
        row = self._node.system(SESSIONS).get(_digest(cookie))
        if row is None or row["ends"] <= _now():
            return None
        user = self._accounts.find(row["user"])
        return user if user is not None and user.active and stamp(user) == row["stamp"] else None

    def end(self, cookies: str, *, secure: bool) -> str:
        """End the session that a Cookie header names, if any; gives the value of Set-Cookie that has it forgotten."""
        if cookie := _named(cookies):
            self._node.system(SESSIONS).delete([_digest(cookie)])
        return _header("", 0, secure)

    def _forget_old(self) -> None:
        table = self._node.system(SESSIONS)
        if "ends" in table.attribute_names():
            over = [row["id"] for row in table.search("ends", "less_than", _now(), limit=FORGOTTEN, columns=["id"])]
            if over:
                table.delete(over)


def _header(cookie: str, lifetime: int, secure: bool) -> str:
    ending = "; Secure" if secure else ""
    return f"{COOKIE}={cookie}; Path=/; Max-Age={lifetime}; HttpOnly; SameSite=Strict{ending}"


def _named(cookies: str) -> str:
    for part in cookies.split(";"):
        name, _, value = part.strip().partition("=")
        if name == COOKIE:
            return value
    return ""


def _digest(cookie: str) -> str:
    return hashlib.sha256(cookie.encode()).hexdigest()


def _now() -> int:
    return time.time_ns() // 1_000_000
