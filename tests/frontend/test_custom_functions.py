"""Custom functions: the files of projects, and how they are served."""

from __future__ import annotations

import base64
import io
import json
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from conftest import Api, basic, on_goats, working
from werkzeug.test import Client

import engine
from frontend.app import create_apps
from frontend.authentication import create_first_user

ROUTES = """
from flask import Blueprint, request
from ..helpers import words

def routes(kennel):
    blueprint = Blueprint("goats", __name__)

    @blueprint.get("/goats")
    def goats():
        return kennel.request({"operation": "sql", "sql": "SELECT id, name FROM farm.goat ORDER BY id"})

    @blueprint.get("/count")
    def count():
        rows = kennel.request_without_authentication({"operation": "sql", "sql": "SELECT COUNT(*) AS n FROM farm.goat"})
        return {"greeting": words.GREETING, "n": rows[0]["n"], "half": 1.0}

    @blueprint.post("/echo")
    @kennel.authenticated
    def echo():
        return request.get_json()

    @blueprint.get("/fault")
    def fault():
        raise ZeroDivisionError("secret detail")

    return blueprint
"""


@dataclass(frozen=True)
class Site:
    """The two ports of a node: the operations API, and its functions."""

    api: Api
    functions: Any

    def get(self, path: str, authorization: str | None = None) -> tuple[int, Any]:
        headers = {"Authorization": authorization} if authorization else {}
        answer = Client(self.functions).get(path, headers=headers)
        is_json = (answer.content_type or "").startswith("application/json")
        return answer.status_code, json.loads(answer.data) if is_json else answer.data

    def set(self, project: str, file: str, content: str, kind: str = "routes") -> None:
        members = {"project": project, "type": kind, "file": file, "function_content": content}
        self.api.ok("set_custom_function", **members)

    def reload(self) -> None:
        self.api.ok("restart_service", service="custom_functions")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with engine.open_node(tmp_path / "node") as node, working(node):
        create_first_user(node, "admin", "secret: with a colon")
        operations, functions = create_apps(node)
        api = Api(operations)
        node.create_table("farm", "goat").insert([{"id": 1, "name": "Ivy"}, {"id": 2, "name": "Bo"}])
        yield Site(api, functions)


@pytest.fixture
def goats(site: Site) -> Site:
    site.api.ok("add_custom_function_project", project="goats")
    site.set("goats", "words", 'GREETING = "Meh"\n', "helpers")
    site.set("goats", "goats", ROUTES)
    site.reload()
    return site


# -------------------------------------------------------------------------------------------------------------- files


def test_a_project_is_made_looked_at_and_dropped(site: Site) -> None:
    api = site.api
    assert api.ok("get_custom_functions") == {}
    done = api.ok("add_custom_function_project", project="dogs")
    assert done == {"message": "Successfully created custom function project: dogs"}
    assert api.ok("get_custom_functions") == {
        "dogs": {"routes": ["examples"], "helpers": ["__init__"], "static": 1},
    }
    file = {"project": "dogs", "type": "routes", "file": "r"}
    assert api.ok("set_custom_function", **file, function_content="x = 'ü'\n") == {
        "message": "Successfully updated custom function: r.py"
    }
    assert api.ok("get_custom_function", **file) == {"message": "x = 'ü'\n"}
    assert api.ok("drop_custom_function", **file) == {"message": "Successfully deleted custom function: r.py"}
    assert api("drop_custom_function", **file).error == (400, "File does not exist")
    assert api("add_custom_function_project", project="dogs").error == (400, "Project already exists")
    assert api.ok("install_node_modules", projects=["dogs"]) == {"dogs": {"npm_output": None, "npm_error": None}}
    assert api.ok("drop_custom_function_project", project="dogs") == {"message": "Successfully deleted project: dogs"}
    missing = "Project does not exist. Create one using 'add_custom_function_project'"
    assert api("drop_custom_function_project", project="dogs").error == (400, missing)


@pytest.mark.parametrize("name", ["..", ".", "a/b", "a.b", "", "ü", "a\n", "a\0", "../x"])
def test_names_never_leave_the_project(site: Site, name: str) -> None:
    site.api.ok("add_custom_function_project", project="dogs")
    project = "Project name can only contain alphanumeric, dash and underscores characters"
    file = "File name can only contain alphanumeric, dash and underscore characters"
    if not name:
        project, file = "'project' is not allowed to be empty", "'file' is not allowed to be empty"
    assert site.api("add_custom_function_project", project=name).error == (400, project)
    assert site.api("get_custom_function", project="dogs", type="routes", file=name).error == (400, file)
    refused = site.api("get_custom_function", project="dogs", type="../..", file="r")
    assert refused.error == (400, "'type' must be one of [helpers, routes]")


def test_links_do_not_lead_out_of_a_project(site: Site, tmp_path: Path) -> None:
    site.api.ok("add_custom_function_project", project="dogs")
    (tmp_path / "secret.py").write_text("secret")
    directory = Path(site.api.ok("custom_functions_status")["directory"]) / "dogs" / "routes"
    (directory / "out.py").symlink_to(tmp_path / "secret.py")
    file = {"project": "dogs", "type": "routes", "file": "out"}
    assert site.api("get_custom_function", **file).error == (400, "File does not exist")
    assert site.api("set_custom_function", **file, function_content="").error == (400, "File does not exist")
    assert (tmp_path / "secret.py").read_text() == "secret"


def test_a_project_moves_as_a_package(goats: Site) -> None:
    packed = goats.api.ok("package_custom_function_project", project="goats", skip_node_modules=True)
    assert packed["project"] == "goats" and Path(packed["file"]).read_bytes() == base64.b64decode(packed["payload"])
    for project in ("copy", "goats"):
        done = goats.api.ok("deploy_custom_function_project", project=project, payload=packed["payload"])
        assert done == {"message": f"Successfully deployed project: {project}"}
    goats.reload()
    assert goats.get("/copy/count")[1]["n"] == 2
    assert goats.api.ok("get_custom_functions")["copy"] == goats.api.ok("get_custom_functions")["goats"]


def tar_of(*members: tuple[str, bytes, str]) -> str:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, content, link in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            if link:
                info.type, info.linkname = tarfile.SYMTYPE, link
            archive.addfile(info, io.BytesIO(content))
    return base64.b64encode(out.getvalue()).decode()


@pytest.mark.parametrize(
    "payload",
    [
        "no base64",
        base64.b64encode(b"no tar").decode(),
        tar_of(),
        tar_of(("../out.py", b"x", "")),
        tar_of(("routes/link.py", b"", "/etc/passwd")),
        tar_of(("routes/link.py", b"", "../../../x")),
    ],
    ids=["no base64", "no tar", "empty", "climbs out", "absolute link", "link that climbs out"],
)
def test_bad_packages_change_nothing(goats: Site, payload: str) -> None:
    before = goats.api.ok("get_custom_functions")
    refused = goats.api("deploy_custom_function_project", project="goats", payload=payload)
    text = "Packaged project must be base64-encoded tar file of project directory"
    assert refused.error == (400, text)
    directory = Path(goats.api.ok("custom_functions_status")["directory"])
    assert goats.api.ok("get_custom_functions") == before
    assert not [path for path in directory.iterdir() if path.name.startswith((".draft", ".gone"))]


# ------------------------------------------------------------------------------------------------------------ serving


def test_functions_act_as_the_caller_or_as_the_node(goats: Site, site: Site) -> None:
    assert goats.get("/goats/count") == (200, {"greeting": "Meh", "n": 2, "half": 1})
    assert goats.get("/goats/goats") == (401, {"error": "Must login"})
    assert goats.get("/goats/goats", basic("admin", "wrong")) == (401, {"error": "Login failed"})
    admin = basic("admin", "secret: with a colon")
    assert goats.get("/goats/goats", admin) == (200, [{"id": 1, "name": "Ivy"}, {"id": 2, "name": "Bo"}])
    goats.api.ok("add_role", role="writer", permission=on_goats("insert"))
    goats.api.ok("add_user", username="kim", password="pw", role="writer", active=True)
    status, body = goats.get("/goats/goats", basic("kim", "pw"))
    assert status == 403 and body["unauthorized_access"][0]["required_table_permissions"] == ["read"]


def test_authenticated_views_need_credentials(goats: Site) -> None:
    client = Client(goats.functions)
    assert client.post("/goats/echo", json={"a": 1}).status_code == 401
    headers = {"Authorization": basic("admin", "secret: with a colon")}
    assert client.post("/goats/echo", json={"a": 1}, headers=headers).json == {"a": 1}


def test_static_files_and_what_is_not_there(goats: Site) -> None:
    assert goats.get("/health") == (200, b"KennelDB is running.")
    assert b"<p>goats</p>" in goats.get("/goats/static/index.html")[1]
    assert goats.get("/goats/static/../routes/goats.py")[0] == 404
    for path in ("/goats/no", "/goats/count/", "/no/count", "/", "//", "/goats/static/"):
        assert goats.get(path)[0] == 404, path
    assert goats.get("/goats/") == (200, {"project": "goats"})


def test_changes_are_served_after_a_reload_everywhere(goats: Site) -> None:
    assert goats.get("/goats/count")[1]["greeting"] == "Meh"
    goats.set("goats", "words", 'GREETING = "Mäh"\n', "helpers")
    assert goats.get("/goats/count")[1]["greeting"] == "Meh"
    goats.reload()
    assert goats.get("/goats/count")[1]["greeting"] == "Mäh"


def test_who_waited_for_a_load_does_not_load_what_is_older(goats: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    functions = goats.functions
    state, seen, loads = functions.projects.state, threading.Event(), []
    goats.get("/herd/goats")
    functions.projects.reload()

    def watched_state() -> tuple[int, int]:
        found = state()
        seen.set()
        return found

    monkeypatch.setattr(functions.projects, "state", watched_state)
    monkeypatch.setattr(functions, "_load", lambda: loads.append(state()))
    with functions._loading:
        waiting = threading.Thread(target=functions.problems)
        waiting.start()
        assert seen.wait(20)
        functions.projects.reload()
        functions.problems()
    waiting.join(20)
    assert len(loads) == 1


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("def routes(kennel:\n", "routes/broken.py: '(' was never closed (line 1)"),
        ("import no_such_module\n", "routes/broken.py: ModuleNotFoundError: No module named 'no_such_module'"),
        ("raise SystemExit(3)\n", "routes/broken.py: SystemExit: 3"),
        ("x = 1\n", "routes/broken.py: it has no function routes(kennel)"),
        ("def routes(kennel): pass\n", "routes/broken.py: routes(kennel) must return a flask.Blueprint"),
    ],
)
def test_a_broken_project_fails_alone_and_says_why(goats: Site, content: str, reason: str) -> None:
    goats.api.ok("add_custom_function_project", project="dogs")
    goats.set("dogs", "broken", content)
    goats.reload()
    status, body = goats.get("/dogs/anything")
    assert (status, body["error"]) == (500, "The project 'dogs' cannot be served; custom_functions_status tells why.")
    assert goats.get("/goats/count")[0] == 200
    assert goats.api.ok("custom_functions_status")["problems"] == {"dogs": reason}
    goats.api.ok("drop_custom_function", project="dogs", type="routes", file="broken")
    goats.reload()
    assert goats.get("/dogs/") == (200, {"project": "dogs"})
    assert "problems" not in goats.api.ok("custom_functions_status")


def test_a_fault_in_a_function_is_told_without_detail(goats: Site) -> None:
    text = "There was an error processing your request. Check logs and try again."
    assert goats.get("/goats/fault") == (500, {"error": text})


def test_pages_of_other_origins_may_use_functions(goats: Site) -> None:
    answer = Client(goats.functions).get("/goats/count", headers={"Origin": "https://example.com"})
    assert answer.headers["Access-Control-Allow-Origin"] == "https://example.com"
    preflight = Client(goats.functions).options("/goats/count", headers={"Origin": "https://example.com"})
    assert preflight.status_code == 200 and "POST" in preflight.headers["Access-Control-Allow-Methods"]
