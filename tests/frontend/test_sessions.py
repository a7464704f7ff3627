"""Sessions by cookie, and the statuses that an administrator sets."""

from __future__ import annotations

from http.cookies import SimpleCookie
from pathlib import Path

import pytest
from conftest import ADMIN, PASSWORD, Api, Reply

import engine
from engine import configuration
from frontend import sessions
from frontend.app import create_app
from frontend.authentication import create_first_user

WHO = b'{"operation":"user_info"}'


def logged_in(api: Api, **environ: str) -> SimpleCookie:
    body = f'{{"operation":"login","username":"{ADMIN}","password":"{PASSWORD}"}}'
    reply = api.as_nobody().send(body.encode(), environ=environ)
    assert (reply.status, reply.body) == (200, {"message": "Login successful"})
    return SimpleCookie(reply.headers["Set-Cookie"])


def with_cookie(api: Api, cookie: SimpleCookie, body: bytes = WHO) -> Reply:
    value = cookie[sessions.COOKIE].value
    return api.as_nobody().send(body, environ={"HTTP_COOKIE": f"other=1; {sessions.COOKIE}={value}"})


def test_a_cookie_stands_for_the_user_until_logout(api: Api) -> None:
    cookie = logged_in(api)
    morsel = cookie[sessions.COOKIE]
    assert morsel["httponly"] and morsel["samesite"] == "Strict" and morsel["path"] == "/" and not morsel["secure"]
    assert logged_in(api, **{"wsgi.url_scheme": "https"})[sessions.COOKIE]["secure"]
    assert with_cookie(api, cookie).body["username"] == ADMIN
    ended = with_cookie(api, cookie, b'{"operation":"logout"}')
    assert ended.body == {"message": "Logout successful"} and "Max-Age=0" in ended.headers["Set-Cookie"]
    assert with_cookie(api, cookie).error == (401, "Must login")
    assert api.as_nobody()("logout").status == 200


def test_sessions_die_with_the_password_and_after_their_time(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    api.ok("add_user", username="kim", password="pw", role="super_user", active=True)
    reply = api.as_nobody()("login", username="kim", password="pw")
    cookie = SimpleCookie(reply.headers["Set-Cookie"])
    assert with_cookie(api, cookie).body["username"] == "kim"
    api.ok("alter_user", username="kim", password="new")
    assert with_cookie(api, cookie).error == (401, "Must login")
    cookie, now = logged_in(api), sessions._now()
    monkeypatch.setattr(sessions, "_now", lambda: now + 31 * 86_400_000)
    assert with_cookie(api, cookie).error == (401, "Must login")


def test_wrong_logins_and_credentials_beside_a_cookie(api: Api) -> None:
    nobody = api.as_nobody()
    for username, password in ((ADMIN, "no"), ("eve", PASSWORD)):
        assert nobody("login", username=username, password=password).error == (401, "Login failed")
    assert nobody("login").error == (400, "'username' is required. 'password' is required")
    headers = {"Cookie": f"{sessions.COOKIE}={logged_in(api)[sessions.COOKIE].value}"}
    assert api.as_user("eve", "x").send(WHO, headers).error == (401, "Login failed")


def test_nobody_reads_sessions_and_they_can_be_switched_off(tmp_path: Path) -> None:
    with engine.open_node(tmp_path) as node:
        create_first_user(node, ADMIN, PASSWORD)
        api = Api(create_app(node))
        cookie = logged_in(api)
        table = {"schema": "system", "table": "hdb_session"}
        assert api("search_by_value", **table, search_attribute="id", search_value="*").status == 403
        assert api("sql", sql="SELECT * FROM system.hdb_session").status == 403
    configuration.change(tmp_path, {"authentication_enableSessions": False})
    with engine.open_node(tmp_path) as node:
        api = Api(create_app(node))
        assert with_cookie(api, cookie).error == (401, "Must login")
        assert api.as_nobody()("login", username=ADMIN, password=PASSWORD).status == 400


def test_logins_are_logged_when_asked_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with engine.open_node(tmp_path) as node:
        create_first_user(node, ADMIN, PASSWORD)
    configuration.change(tmp_path, {f"logging_auditAuthEvents_{name}": True for name in ("logFailed", "logSuccessful")})
    with engine.open_node(tmp_path) as node:
        api = Api(create_app(node))
        api.as_user("eve", "wrong password").send(WHO)
        api.send(WHO)
    lines = [record.getMessage() for record in caplog.records]
    assert lines == ["failed login as 'eve' from 127.0.0.1", f"login as '{ADMIN}' from 127.0.0.1"]


def test_statuses_are_set_read_and_cleared(api: Api) -> None:
    assert api.ok("get_status") == [] and api.ok("get_status", id="maintenance") == {}
    stored = api.ok("set_status", id="maintenance", status="until noon")
    assert (stored["id"], stored["status"]) == ("maintenance", "until noon") and stored["__createdtime__"]
    assert api.ok("set_status", status="fine")["id"] == "primary"
    assert [row["id"] for row in api.ok("get_status")] == ["primary", "maintenance"]
    assert api.ok("clear_status", id="maintenance") == {"message": True}
    assert api.ok("get_status", id="maintenance") == {}
    assert api("set_status", id="x", status="y").error == (
        400,
        "'id' must be one of [primary, maintenance, availability]",
    )
    assert api("set_status", status="").error == (400, "'status' is not allowed to be empty")
    assert api("set_status", id="availability", status="Perhaps").error == (
        400,
        'Status "availability" only accepts these values: Available, Unavailable',
    )
    assert api("set_status", status="x" * 513).status == 400
    assert api.ok("set_status", id="availability", status="Unavailable")["status"] == "Unavailable"
