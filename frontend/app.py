"""The Flask application of one node: the operations API, its health, its CORS headers and its errors.

`POST /` has two ways to the operations. Requests that need nothing of Flask are answered by a middleware in front of
it, at a fraction of the cost; those from browsers (with an Origin) go through the ordinary view. Both call `respond`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from itertools import chain
from typing import Any

import flask
from werkzeug.exceptions import HTTPException

import engine
from frontend import coding, cors, openapi, wire
from frontend.authentication import Credentials
from frontend.errors import PRODUCT, Refused, fault
from frontend.limits import while_connected
from frontend.operations import Operations
from frontend.rows import CHUNK, Download, Headed, Rows

MAX_BODY = 1 << 30

CONNECTION = "gunicorn.socket"

#: Set by a server that wants to be called once the body of a request has been read.
RECEIVED = "kennel.received"

Environ = dict[str, Any]
StartResponse = Callable[[str, list[tuple[str, str]]], Any]
Headers = list[tuple[str, str]]
Wsgi = Callable[..., Iterable[bytes]]


@dataclass(slots=True)
class Answer:
    """`body` is a sequence of one, or pieces that are made while they are sent."""

    status: int
    headers: Headers
    body: Iterable[bytes]


def create_app(node: engine.Node) -> flask.Flask:
    """The operations API of `node`; made in the process that uses it, since a node does not survive a fork."""
    return _operations_app(node, Operations(node))


def create_apps(node: engine.Node) -> tuple[flask.Flask, Wsgi]:
    """The operations API, and the custom functions of the node, which belong to a port of their own."""
    operations = Operations(node)
    return _operations_app(node, operations), operations.services.functions


def _operations_app(node: engine.Node, operations: Operations) -> flask.Flask:
    app = flask.Flask("kenneldb", static_folder=None)

    @app.post("/")
    def perform() -> flask.Response:
        answer = respond(operations, flask.request.environ)
        return flask.Response(answer.body, answer.status, answer.headers)

    @app.get("/health")
    def health() -> flask.Response:
        return flask.Response(f"{PRODUCT} is running.", headers={"Content-Type": "text/plain; charset=utf-8"})

    @app.get("/openapi.json")
    def openapi_document() -> flask.Response:
        return flask.Response(openapi.document(), content_type=wire.JSON)

    app.register_error_handler(HTTPException, _http_error)
    app.after_request(_server_header)
    if node.configuration.get("operationsApi.network.cors"):
        app.after_request(cors.headers(node.configuration.get("operationsApi.network.corsAccessList")))
    app.wsgi_app = _direct(operations, app.wsgi_app)  # type: ignore[method-assign]
    return app


def _direct(operations: Operations, flask_app: Wsgi) -> Wsgi:
    """A WSGI application that answers what needs no Flask, and hands on the rest."""

    def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] != "/" or environ["REQUEST_METHOD"] != "POST" or "HTTP_ORIGIN" in environ:
            return flask_app(environ, start_response)
        answer = respond(operations, environ)
        start_response(_STATUS_LINES[answer.status], answer.headers)
        return answer.body

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
        watch = while_connected(environ.get(CONNECTION))
        result, own = operations.perform(request, Credentials.of(environ), watch), ()
        if isinstance(result, Headed):
            result, own = result.body, result.headers
        if isinstance(result, list) and len(result) > CHUNK:
            result = Rows.of(result)
        if isinstance(result, Rows | Download):
            return _long_answer(operations, result, form, environ, started)
        body = form.encode(result)
        status, headers = 200, [*form.headers, *own]
    except Exception as error:
        refused = error if isinstance(error, Refused) else fault(error)
        status, headers, body = refused.status, [*form.headers, *refused.headers.items()], form.encode(refused.body)
    headers += [("Content-Type", form.content_type), *_common_headers(started)]
    if operations.compression_threshold is not None and len(body) >= operations.compression_threshold:
        encoding = _encoding(environ, headers)
        body = body if encoding is None else coding.compress(body, encoding)
    headers.append(("Content-Length", str(len(body))))
    return Answer(status, headers, (body,))


def _long_answer(
    operations: Operations, result: Rows | Download, form: wire.Format, environ: Environ, started: float
) -> Answer:
    """An answer in pieces. The first one is made here, so that what is wrong with the result still gets a status."""
    if isinstance(result, Rows):
        headers, pieces = [*form.headers, ("Content-Type", form.content_type)], form.stream(result)
    else:
        headers, pieces = [*result.headers], result.pieces
    headers += _common_headers(started)
    encoding = None if operations.compression_threshold is None else _encoding(environ, headers)
    return Answer(200, headers, Pieces(pieces if encoding is None else coding.compressed(pieces, encoding), result))


class Pieces:
    """A body that is made while it is sent; whatever cuts that short, `source` is closed."""

    def __init__(self, pieces: Iterator[bytes], source: Rows | Download) -> None:
        self._first = next(pieces, b"")
        self._rest = pieces
        self._source = source

    def __iter__(self) -> Iterator[bytes]:
        return chain((self._first,), self._rest)

    def close(self) -> None:
        self._source.close()


def _common_headers(started: float) -> Headers:
    return [("Server", PRODUCT), ("Server-Timing", f"db;dur={(time.perf_counter() - started) * 1000:.3f}")]


def _read_body(environ: Environ) -> bytes:
    body = _raw_body(environ)
    if (received := environ.get(RECEIVED)) is not None:
        received()
    encoding = environ.get("HTTP_CONTENT_ENCODING")
    return coding.decompress(body, encoding, MAX_BODY) if encoding else body


def _raw_body(environ: Environ) -> bytes:
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


def _encoding(environ: Environ, headers: Headers) -> str | None:
    """The coding that the client likes best, with the headers that tell so."""
    headers.append(("Vary", "Accept-Encoding"))
    encoding = coding.negotiate(environ.get("HTTP_ACCEPT_ENCODING", ""))
    if encoding is not None:
        headers.append(("Content-Encoding", encoding))
    return encoding


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
