"""Operations that make bearer tokens."""

from __future__ import annotations

from frontend.authentication import ANONYMOUS, User
from frontend.errors import Refused
from frontend.operations.members import Member, anything, text
from frontend.operations.row import Call, Operation
from frontend.permissions import EVERYBODY, PUBLIC


def create_authentication_tokens(call: Call) -> dict[str, str]:
    return call.tokens.create(_caller(call), call["expires_in"])


def refresh_operation_token(call: Call) -> dict[str, str]:
    sent = call["refresh_token"]
    if sent is not None:
        return {"operation_token": call.tokens.renew(call.tokens.refreshing(sent))}
    bearer = call.credentials.token
    if bearer is None or not call.tokens.is_refresh(bearer):
        raise Refused(400, "'refresh_token' is required")
    return {"operation_token": call.tokens.renew(call.user)}


def _caller(call: Call) -> User:
    """The user of the request's own username and password, else the one who is logged in."""
    username, password = call["username"], call["password"]
    if username is None and password is None:
        if call.user is ANONYMOUS:
            raise Refused(401, "Must login")
        return call.user
    if username is None or password is None:
        raise Refused(401, "invalid credentials")
    try:
        return call.accounts.login(username, password, call.credentials.address)
    except Refused as problem:
        if problem.status != 401:
            raise
        raise Refused(401, "invalid credentials") from problem


OPERATIONS = (
    Operation(
        "create_authentication_tokens",
        create_authentication_tokens,
        PUBLIC,
        (Member("username", text), Member("password", text), Member("expires_in", anything)),
    ),
    Operation(
        "refresh_operation_token",
        refresh_operation_token,
        EVERYBODY,
        (Member("refresh_token", text),),
        renews=True,
    ),
)
