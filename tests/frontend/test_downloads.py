"""csv_url_load, and what it refuses to reach."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from conftest import ADMIN, PASSWORD, Api, working
from test_jobs import outcome

import engine
from engine import configuration
from frontend.app import create_app
from frontend.authentication import create_first_user
from frontend.downloads import is_url

GOAT = {"schema": "farm", "table": "goat"}


class Files(BaseHTTPRequestHandler):
    """Serves a few paths, and keeps what it was asked."""

    asked: list[tuple[str, str | None]] = []

    def do_GET(self) -> None:
        self.asked.append((self.path, self.headers.get("X-Key")))
        port = self.server.server_address[1]
        answers: dict[str, tuple[int, dict[str, str], bytes]] = {
            "/goats.csv?x=1": (200, {"Content-Type": "text/csv; charset=utf-8"}, b"id,name\n7,S\xc3\xbc\n8,T\n"),
            "/page": (200, {"Content-Type": "text/html"}, b"<a>"),
            "/moved": (302, {"Location": "/goats.csv?x=1"}, b""),
            "/away": (302, {"Location": f"http://localhost:{port}/goats.csv?x=1"}, b""),
            "/round": (302, {"Location": "/round"}, b""),
            "/odd": (302, {"Location": "file:///etc/passwd"}, b""),
        }
        status, headers, body = answers.get(self.path, (404, {}, b""))
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture
def site() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Files)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    Files.asked.clear()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def open_farm(tmp_path: Path) -> Iterator[Api]:
    """The API over a node that may load from private networks."""
    with engine.open_node(tmp_path) as node:
        create_first_user(node, ADMIN, PASSWORD)
    configuration.change(tmp_path, {"bulk_urlPrivateNetworks": True})
    with engine.open_node(tmp_path) as node, working(node):
        api = Api(create_app(node))
        api.ok("create_table", **GOAT, hash_attribute="id")
        yield api


def test_a_file_is_loaded_from_where_its_url_leads(open_farm: Api, site: str) -> None:
    done = ("COMPLETE", "successfully loaded 2 of 2 records")
    assert outcome(open_farm, "csv_url_load", **GOAT, csv_url=f"{site}/moved") == done
    assert open_farm.ok("search_by_id", **GOAT, ids=[7], get_attributes=["name"]) == [{"name": "Sü"}]
    loaded = outcome(
        open_farm,
        "csv_url_load",
        **GOAT,
        action="upsert",
        csv_url=f"{site}/away",
        passthrough_headers={"X-Key": "secret"},
    )
    assert loaded == done
    assert Files.asked[-2:] == [("/away", "secret"), ("/goats.csv?x=1", None)]


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/none", "status code: 404, message: Not Found"),
        ("/page", "unsupported content type: text/html"),
        ("/round", "message: too many redirects"),
        ("/odd", "message: it leads to no valid url"),
    ],
)
def test_what_is_no_csv_file(open_farm: Api, site: str, path: str, reason: str) -> None:
    url = f"{site}{path}"
    assert outcome(open_farm, "csv_url_load", **GOAT, csv_url=url) == (
        "ERROR",
        f"CSV Load failed from URL: {url}, {reason}",
    )


def test_private_addresses_are_out_of_reach(farm: Api, site: str) -> None:
    port = site.rpartition(":")[2]
    for host in ("127.0.0.1", "localhost", "[::1]", "2130706433", "10.0.0.1", "169.254.169.254", "0.0.0.0"):
        url = f"http://{host}:{port}/goats.csv?x=1"
        status, message = outcome(farm, "csv_url_load", **GOAT, csv_url=url)
        assert status == "ERROR" and message.startswith(f"CSV Load failed from URL: {url}, message: ")
    assert Files.asked == []


@pytest.mark.parametrize(
    ("members", "text"),
    [
        ({}, "'csv_url' is required"),
        ({"csv_url": "not a url"}, "'csv_url' must be a valid url"),
        ({"csv_url": "file:///etc/passwd"}, "'csv_url' must be a valid url"),
        (
            {"csv_url": "http://a", "passthrough_headers": {"A": "b\r\nC: d"}},
            "'passthrough_headers.A' must be a header",
        ),
        (
            {"csv_url": "http://a", "action": "merge"},
            "Action is required and must be either insert, update, or upsert",
        ),
    ],
)
def test_what_is_refused_at_once(farm: Api, members: dict[str, Any], text: str) -> None:
    assert farm("csv_url_load", **GOAT, **members).error == (400, text)


@pytest.mark.parametrize("text", ["", "http://", "ftp://a/b", "http://[::1", "http://a:99999/", "//a/b"])
def test_texts_that_are_no_url(text: str) -> None:
    assert not is_url(text)
