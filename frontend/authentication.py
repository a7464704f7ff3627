"""Who sends a request: users and roles in the system tables, passwords, and the cache of credentials found right.

Users are rows of system.hdb_user {username, password (an argon2id hash), role (a role's id), active, refresh_token (a
hash)}, roles are rows of system.hdb_role {id, role (its name), permission}. What is cached here is bound to the last
commit of both tables, so that a change by any process counts from the next request on.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import ipaddress
import logging
import secrets
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import argon2

import engine
from engine.logs import NOTIFY
from frontend.errors import Refused
from frontend.grants import NOTHING, Grants, compile_grants
from frontend.throttle import FailedLogins

log = logging.getLogger(__name__)

USERS = "hdb_user"
ROLES = "hdb_role"
SUPER_USER_ROLE = "super_user"
CLUSTER_USER_ROLE = "cluster_user"

#: Set by the server for connections over the node's own Unix socket, whose file only its owner can open.
LOCAL_SOCKET = "kennel.local_socket"

#: Verified headers kept per process.
MAX_VERIFIED = 4096

_BUILT_IN_ROLES = (
    {"id": SUPER_USER_ROLE, "role": SUPER_USER_ROLE, "permission": {"super_user": True}},
    {"id": CLUSTER_USER_ROLE, "role": CLUSTER_USER_ROLE, "permission": {"cluster_user": True}},
)

# OWASP's choice for argon2id: 19 MiB, two passes, one lane. Two at a time bound what a flood of logins can take.
_HASHER = argon2.PasswordHasher(time_cost=2, memory_cost=19456, parallelism=1)
_HASHING = threading.BoundedSemaphore(2)


@dataclass(slots=True)  # not frozen, which would make it three times as dear; one is made for every request
class Credentials:
    """What a request says about its sender. `header` is the raw value of Authorization, `cookies` of Cookie."""

    header: str = ""
    address: str = ""
    local_socket: bool = False
    cookies: str = ""
    secure: bool = False  # whether it came over TLS

    @classmethod
    def of(cls, environ: Mapping[str, Any]) -> Credentials:
        """Those of a request, as WSGI has it."""
        return cls(
            header=environ.get("HTTP_AUTHORIZATION", ""),
            address=environ.get("REMOTE_ADDR", ""),
            local_socket=environ.get(LOCAL_SOCKET) is True,
            cookies=environ.get("HTTP_COOKIE", ""),
            secure=environ.get("wsgi.url_scheme") == "https",
        )

    @property
    def token(self) -> str | None:
        """The bearer token, None when the header is of another kind."""
        scheme, _, token = self.header.partition(" ")
        return token.strip() if scheme.lower() == "bearer" else None


@dataclass(frozen=True, slots=True)
class User:
    """A user as the last commit left it. `row` and `role` are the stored rows; neither leaves the process as it is."""

    name: str
    active: bool = True
    grants: Grants = NOTHING
    role: Mapping[str, Any] | None = None
    row: Mapping[str, Any] = field(default_factory=dict)

    @property
    def password_hash(self) -> str:
        return str(self.row.get("password", ""))


ANONYMOUS = User(name="")


def hash_password(password: str) -> str:
    with _HASHING:
        return _HASHER.hash(password)


def matches(password_hash: str, password: str) -> bool:
    """Whether the password is the one of the hash. Takes as long when the hash is no hash at all."""
    with _HASHING:
        try:
            return _HASHER.verify(password_hash or _nobodys_hash(), password) and bool(password_hash)
        except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
            return False


@lru_cache(maxsize=1)
def _nobodys_hash() -> str:
    return _HASHER.hash(secrets.token_hex(16))


def create_built_in_roles(node: engine.Node) -> None:
    """Write the roles super_user and cluster_user, unless they are there."""
    node.system(ROLES).insert([dict(role) for role in _BUILT_IN_ROLES])


def create_first_user(node: engine.Node, username: str, password: str) -> bool:
    """Make a super user, as at install. False, and nothing changed, when the user exists."""
    create_built_in_roles(node)
    row = {"username": username, "password": hash_password(password), "role": SUPER_USER_ROLE, "active": True}
    return bool(node.system(USERS).insert([row]).written)


@dataclass(slots=True)
class _Known:
    """The users that were read since a commit of their tables."""

    commits: tuple[int, int]
    users: dict[str, User] = field(default_factory=dict)
    super_user: User | None = None


class Accounts:
    """The users and roles of a node, and the check of credentials against them. Safe from many threads."""

    def __init__(self, node: engine.Node) -> None:
        self._node = node
        self._users = node.system(USERS)
        self._roles = node.system(ROLES)
        self._known = _Known((-1, -1))
        self._key = secrets.token_bytes(32)
        self._verified: dict[bytes, tuple[str, str]] = {}
        self._failed = FailedLogins()
        self._authorize_local = node.configuration.get("authentication.authorizeLocal") is True
        self._log_failed = node.configuration.get("logging.auditAuthEvents.logFailed") is True
        self._log_successful = node.configuration.get("logging.auditAuthEvents.logSuccessful") is True

    # ------------------------------------------------------------------------------------------------ identification

    def identify(self, credentials: Credentials) -> User | None:
        """The sender of a request with Basic credentials or none; None when unknown; 401 when they are wrong."""
        scheme, _, encoded = credentials.header.partition(" ")
        if scheme.lower() == "basic":
            return self._basic(credentials, encoded)
        if scheme:
            return None
        if credentials.local_socket or (self._authorize_local and _is_loopback(credentials.address)):
            return self.first_super_user()
        return None

    def login(self, username: str, password: str, address: str) -> User:
        """The user of these credentials; 401 when they are wrong or the user is inactive, 429 after many wrong ones.

        Takes its time, and as much for unknown users.
        """
        self._failed.check(username, address)
        user = self.find(username)
        if not matches(user.password_hash if user else "", password) or user is None:
            self._failed.add(username, address)
            if self._log_failed:
                log.log(NOTIFY, "failed login as %r from %s", username, address)
            raise Refused(401, "Login failed")
        if not user.active:
            raise Refused(401, "Cannot complete request: User is inactive")
        if self._log_successful:
            log.log(NOTIFY, "login as %r from %s", username, address)
        return user

    def _basic(self, credentials: Credentials, encoded: str) -> User | None:
        digest = hashlib.blake2b(credentials.header.encode(), key=self._key, digest_size=32).digest()
        verified = self._verified.get(digest)
        if verified is not None:
            user = self.find(verified[0])
            if user is not None and user.active and user.password_hash == verified[1]:
                return user
        username, password = _decode_basic(encoded)
        if not username and not password:
            return None
        user = self.login(username, password, credentials.address)
        if len(self._verified) >= MAX_VERIFIED:
            self._verified = {}
        self._verified[digest] = (user.name, user.password_hash)
        return user

    # ------------------------------------------------------------------------------------------------ users and roles

    def find(self, name: str) -> User | None:
        """The user of this name, as the last commit left it."""
        known = self._current()
        user = known.users.get(name)
        if user is None and (row := self._users.get(name)) is not None:
            user = known.users[name] = self._user(row)
        return user

    def users(self) -> list[User]:
        """All users by name."""
        return [self._user(row) for row in self._users.search("username", "starts_with", "")]

    def roles(self) -> list[dict[str, Any]]:
        """The stored roles in the order of their ids."""
        with self._roles.view() as view:
            return list(view.scan(view.primary_key))

    def role(self, name_or_id: str) -> dict[str, Any] | None:
        """The role of this id, else of this name."""
        found = self._roles.get(name_or_id)
        return found or next(iter(self.roles_named(name_or_id)), None)

    def roles_named(self, name: str) -> list[dict[str, Any]]:
        return [role for role in self.roles() if role.get("role") == name]

    def first_super_user(self) -> User | None:
        """The oldest active super user, as whom requests over the local socket run."""
        known = self._current()
        if known.super_user is None:
            users = [user for user in self.users() if user.active and user.grants.super_user]
            known.super_user = min(users, key=lambda user: user.row.get("__createdtime__", 0), default=None)
        return known.super_user

    def _current(self) -> _Known:
        commits = (_last_commit(self._users), _last_commit(self._roles))
        known = self._known
        if known.commits != commits:
            # What another thread puts into the former one is at most too new for it, never too old.
            known = self._known = _Known(commits)
        return known

    def _user(self, row: Mapping[str, Any]) -> User:
        role = self._roles.get(row["role"]) if isinstance(row.get("role"), str) else None
        return User(
            name=row["username"],
            active=row.get("active") is True,
            grants=compile_grants(role.get("permission")) if role else NOTHING,
            role=role,
            row=row,
        )


def _last_commit(table: engine.Table) -> int:
    return table.feed.head


def _decode_basic(encoded: str) -> tuple[str, str]:
    """Name and password; the name ends at the first colon."""
    try:
        raw = base64.b64decode(encoded.strip(), validate=True)
    except (binascii.Error, ValueError):
        raise Refused(401, "Login failed") from None
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    username, _, password = text.partition(":")
    return username, password


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
