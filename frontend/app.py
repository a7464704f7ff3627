"""The Flask application of one node: the operations API, its health, its CORS headers and its errors.

`POST /` has two ways to the operations. Requests that need nothing of Flask are answered by a middleware in front of
it, at a fraction of the cost; those from browsers (with an Origin) go through the ordinary view. Both call `respond`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import flask
from werkzeug.exceptions import HTTPException

import engine
from frontend import wire
from frontend.authentication import Credentials
from frontend.errors import PRODUCT, Refused, fault
from frontend.operations import Operations

MAX_BODY = 1 << 30

#: Set by the server for connections over the node's own Unix socket, whose file only its owner can open.
LOCAL_SOCKET = "kennel.local_socket"

#: The name under which an application keeps its Operations, for whoever ends the process: their jobs need the node.
EXTENSION = "kennel"

_CORS_METHODS = "POST, GET, PUT, DELETE, PATCH, OPTIONS"
_CORS_HEADERS = "Accept, Content-Type, Authorization"

Environ = dict[str, Any]
StartResponse = Callable[[str, list[tuple[str, str]]], Any]
Headers = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Headers
    body: bytes


def create_app(node: engine.Node) -> flask.Flask:
    """The application that serves `node`; made in the process that uses it, since a node does not survive a fork."""
    app = flask.Flask("kenneldb", static_folder=None)
    operations = Operations(node)
    app.extensions[EXTENSION] = operations

    @app.post("/")
    def perform() -> flask.Response:
        answer = respond(operations, flask.request.environ)
        return flask.Response(answer.body, answer.status, answer.headers)

    @app.get("/health")
    def health() -> flask.Response:
        return flask.Response(f"{PRODUCT} is running.", headers={"Content-Type": "text/plain; charset=utf-8"})

    app.register_error_handler(HTTPException, _http_error)
    app.after_request(_server_header)
    if node.configuration.get("operationsApi.network.cors"):
        app.after_request(_cors(node.configuration.get("operationsApi.network.corsAccessList")))
    app.wsgi_app = _direct(operations, app.wsgi_app)  # type: ignore[method-assign]
    return app


def _direct(operations: Operations, flask_app: Callable[..., Iterable[bytes]]) -> Callable[..., Iterable[bytes]]:
    """A WSGI application that answers what needs no Flask, and hands on the rest."""

    def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] != "/" or environ["REQUEST_METHOD"] != "POST" or "HTTP_ORIGIN" in environ:
            return flask_app(environ, start_response)
        answer = respond(operations, environ)
        start_response(_STATUS_LINES[answer.status], answer.headers)
        return (answer.body,)

    return application


_STATUS_LINES = {status.value: f"{status.value} {status.phrase}" for status in HTTPStatus}


# -------------------------------------------------------------------------------------------------------- operations


def respond(operations: Operations, environ: Environ) -> Answer:
    """Run the operation that a request holds, and give the answer, whatever happens."""
    started = time.perf_counter()
    form = wire.DEFAULT
    try:
        form = wire.negotiate(environ.get("HTTP_ACCEPT") or "*/*")
        request = wire.decode(environ.get("CONTENT_TYPE", ""), _read_body(environ))
        body = form.encode(operations.perform(request, _credentials(environ)))
        status, headers = 200, list(form.headers)
    except Exception as error:
        refused = error if isinstance(error, Refused) else fault(error)
        status, headers, body = refused.status, [*form.headers, *refused.headers.items()], form.encode(refused.body)
    headers += [
        ("Content-Type", form.content_type),
        ("Server", PRODUCT),
        ("Server-Timing", f"db;dur={(time.perf_counter() - started) * 1000:.3f}"),
    ]
    if len(body) >= wire.COMPRESSION_THRESHOLD:
        body = _compressed(body, environ, headers)
    headers.append(("Content-Length", str(len(body))))
    return Answer(status, headers, body)


def _credentials(environ: Environ) -> Credentials:
    return Credentials(
        header=environ.get("HTTP_AUTHORIZATION", ""),
        address=environ.get("REMOTE_ADDR", ""),
        local_socket=environ.get(LOCAL_SOCKET) is True,
    )


def _read_body(environ: Environ) -> bytes:
    stream, length = environ["wsgi.input"], environ.get("CONTENT_LENGTH")
    if length:
        if not length.isdecimal():
            raise Refused(400, "Content-Length is not a number")
        if int(length) > MAX_BODY:
            raise Refused(413, "Request body is too large")
        body = stream.read(int(length))
        if len(body) < int(length):
            raise Refused(400, "Request body is shorter than its Content-Length")
        return bytes(body)
    if not environ.get("wsgi.input_terminated"):
        return b""
    body = stream.read(MAX_BODY + 1)
    if len(body) > MAX_BODY:
        raise Refused(413, "Request body is too large")
    return bytes(body)


def _compressed(body: bytes, environ: Environ, headers: Headers) -> bytes:
    """The body in the coding that the client likes best, with the headers that tell so."""
    headers.append(("Vary", "Accept-Encoding"))
    encoding = wire.negotiate_encoding(environ.get("HTTP_ACCEPT_ENCODING", ""))
    if encoding is None:
        return body
    headers.append(("Content-Encoding", encoding))
    return wire.compress(body, encoding)


# ------------------------------------------------------------------------------------------------------ all requests


def _http_error(error: HTTPException) -> flask.Response:
    """Flask's own errors in the form of the API; their headers (Allow) stay."""
    status = error.code or 500
    text = "Not found" if status == 404 else error.name.capitalize()
    headers = [(name, value) for name, value in error.get_headers() if name.lower() != "content-type"]
    return flask.Response(wire.encode_json({"error": text}), status, headers, content_type=wire.JSON)


def _server_header(response: flask.Response) -> flask.Response:
    response.headers["Server"] = PRODUCT
    return response


def _cors(access_list: Any) -> Callable[[flask.Response], flask.Response]:
    """What adds the CORS headers to answers; other origins than the listed ones get none."""
    listed = access_list.split(",") if isinstance(access_list, str) else access_list or ()
    allowed = {origin.strip() for origin in listed if isinstance(origin, str)} - {"*", ""}

    def add(response: flask.Response) -> flask.Response:
        origin = flask.request.headers.get("Origin")
        if not origin or (allowed and origin not in allowed):
            return response
        response.headers["Access-Control-Allow-Origin"] = origin
        response.vary.add("Origin")
        if flask.request.method == "OPTIONS":
            response.headers["Access-Control-Allow-Methods"] = _CORS_METHODS
            response.headers["Access-Control-Allow-Headers"] = _CORS_HEADERS
        return response

    return add
