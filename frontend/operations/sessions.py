"""Operations that begin and end the session of a browser."""

from __future__ import annotations

from frontend.errors import Refused
from frontend.operations.members import Member, text
from frontend.operations.row import Call, Operation
from frontend.permissions import PUBLIC
from frontend.rows import Headed


def login(call: Call) -> Headed:
    if not call.sessions.enabled:
        raise Refused(400, "Sessions are switched off by 'authentication.enableSessions'.")
    user = call.accounts.login(call["username"], call["password"], call.credentials.address)
    cookie = call.sessions.begin(user, secure=call.credentials.secure)
    return Headed({"message": "Login successful"}, (("Set-Cookie", cookie),))


def logout(call: Call) -> Headed:
    cookie = call.sessions.end(call.credentials.cookies, secure=call.credentials.secure)
    return Headed({"message": "Logout successful"}, (("Set-Cookie", cookie),))


OPERATIONS = (
    Operation(
        "login", login, PUBLIC, (Member("username", text, required=True), Member("password", text, required=True))
    ),
    Operation("logout", logout, PUBLIC),
)
