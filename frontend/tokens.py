"""Bearer tokens: JWTs signed with the node's RSA key, and the refresh tokens from which new ones are made.

A token carries a stamp of its user's password and role: it dies with either. Of a user's refresh tokens only the latest
counts, whose hash is kept in the user's row.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import re
import time
from functools import cached_property
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey, generate_private_key

import engine
from frontend.authentication import USERS, Accounts, User
from frontend.errors import Refused

ALGORITHM = "RS256"
OPERATION = "operation"
REFRESH = "refresh"
KEY_FILE = ".jwtPrivate.key"

#: A hundred years, in seconds.
MAX_LIFETIME = 100 * 365 * 86400

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_TIMESPAN = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([smhdw]?)\s*")
_BAD_TIMESPAN = '"expiresIn" should be a number of seconds or string representing a timespan eg: "1d", "20h", 60'


class Tokens:
    """The tokens of a node."""

    def __init__(self, node: engine.Node, accounts: Accounts) -> None:
        self._node = node
        self._accounts = accounts

    def create(self, user: User, expires_in: Any = None) -> dict[str, str]:
        """A new operation token and a new refresh token, which ends the former refresh token."""
        lifetime = self._lifetime("operationTokenTimeout") if expires_in is None else seconds(expires_in)
        refresh = self._sign(user, REFRESH, self._lifetime("refreshTokenTimeout"))
        self._node.system(USERS).update([{"username": user.name, "refresh_token": _digest(refresh)}])
        return {"operation_token": self._sign(user, OPERATION, lifetime), "refresh_token": refresh}

    def renew(self, user: User) -> str:
        """Another operation token."""
        return self._sign(user, OPERATION, self._lifetime("operationTokenTimeout"))

    def owner(self, token: str, *, refresh: bool = False) -> User:
        """The user of an operation token; with `refresh` also of the latest refresh token. 401 when it is not good."""
        claims = self._claims(token)
        user = self._accounts.find(str(claims.get("username")))
        if user is None or not user.active or claims.get("stamp") != stamp(user) or "role" in claims:
            raise Refused(401, "invalid token")
        if claims.get("sub") == OPERATION or (refresh and self._is_latest(user, token, claims)):
            return user
        raise Refused(401, "invalid token")

    def refreshing(self, token: str) -> User:
        """The user of a refresh token and of no other kind."""
        user = self.owner(token, refresh=True)
        if not self.is_refresh(token):
            raise Refused(401, "invalid token")
        return user

    def is_refresh(self, token: str) -> bool:
        return self._claims(token).get("sub") == REFRESH

    def _is_latest(self, user: User, token: str, claims: dict[str, Any]) -> bool:
        kept = str(user.row.get("refresh_token") or "")
        return claims.get("sub") == REFRESH and hmac.compare_digest(kept, _digest(token))

    def _sign(self, user: User, subject: str, lifetime: float) -> str:
        now = int(time.time())
        claims = {
            "username": user.name,
            "super_user": user.grants.super_user,
            "stamp": stamp(user),
            "iat": now,
            "exp": now + int(lifetime),
            "sub": subject,
        }
        return jwt.encode(claims, self._key, algorithm=ALGORITHM)

    def _claims(self, token: str) -> dict[str, Any]:
        try:
            return jwt.decode(token, self._public_key, algorithms=[ALGORITHM], options={"require": ["exp", "sub"]})
        except jwt.ExpiredSignatureError:
            raise Refused(401, "token expired") from None
        except jwt.InvalidTokenError:
            raise Refused(401, "invalid token") from None

    def _lifetime(self, setting: str) -> float:
        return seconds(self._node.configuration.get(f"authentication.{setting}"))

    @cached_property
    def _key(self) -> RSAPrivateKey:
        return signing_key(self._node.root / "keys")

    @cached_property
    def _public_key(self) -> RSAPublicKey:
        return self._key.public_key()


def seconds(timespan: Any) -> float:
    """Seconds of a number of seconds, or of a text like "1d", "12h", "30m", "45s"; 400 otherwise."""
    if isinstance(timespan, str) and (found := _TIMESPAN.fullmatch(timespan)):
        timespan = float(found[1]) * _UNITS[found[2]]
    if isinstance(timespan, bool) or not isinstance(timespan, int | float) or not 0 <= timespan <= MAX_LIFETIME:
        raise Refused(400, _BAD_TIMESPAN)
    return timespan


def signing_key(directory: Path) -> RSAPrivateKey:
    """The RSA key kept in this directory; made on first use, once even when several processes come at the same time."""
    path = directory / KEY_FILE
    if not path.exists():
        _write_new_key(directory, path)
    key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    if not isinstance(key, RSAPrivateKey):
        raise engine.RootError(f"{path} does not hold an RSA key")
    return key


def _write_new_key(directory: Path, path: Path) -> None:
    directory.mkdir(mode=0o700, exist_ok=True)
    pem = generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    temporary = directory / f"{KEY_FILE}.{os.getpid()}"
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(pem)
        file.flush()
        os.fsync(file.fileno())
    with contextlib.suppress(FileExistsError):  # then another process was first, and its key is the node's
        os.link(temporary, path)
    temporary.unlink()


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def stamp(user: User) -> str:
    """What changes with the password or the role of a user."""
    known = f"{user.password_hash}\0{user.row.get('role')}"
    return hashlib.blake2b(known.encode(), digest_size=12).hexdigest()
