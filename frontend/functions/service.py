"""All projects behind one port: a WSGI application that hands `/<project>/…` to the project."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import flask

from engine.configuration import Configuration
from frontend import cors, wire
from frontend.errors import PRODUCT
from frontend.functions.handle import Perform
from frontend.functions.loading import NotLoaded, load, unload
from frontend.functions.projects import Projects

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
Served = flask.Flask | NotLoaded

log = logging.getLogger(__name__)


class Functions:
    """The projects of a node, as one process serves them. Safe for threads."""

    def __init__(self, configuration: Configuration, perform: Perform) -> None:
        self.projects = Projects(Path(configuration.get("customFunctions.root")))
        self._cors = None
        if configuration.get("customFunctions.network.cors"):
            self._cors = cors.headers(configuration.get("customFunctions.network.corsAccessList"))
        self._perform = perform
        self._loading = threading.RLock()
        self._state: tuple[int, int] | None = None
        self._served: dict[str, Served] = {}

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request."""
        path = environ["PATH_INFO"]
        if path == "/health":
            return _answer(start_response, "200 OK", "text/plain; charset=utf-8", f"{PRODUCT} is running.".encode())
        project = path.removeprefix("/").partition("/")[0]
        served = self._current().get(project)
        if served is None:
            return _error(start_response, "404 Not Found", "Not found")
        if isinstance(served, NotLoaded):
            text = f"The project '{project}' cannot be served; custom_functions_status tells why."
            return _error(start_response, "500 Internal Server Error", text)
        environ["SCRIPT_NAME"] = f"{environ.get('SCRIPT_NAME', '')}/{project}"
        environ["PATH_INFO"] = path[len(project) + 1 :] or "/"
        return served(environ, start_response)

    def problems(self) -> dict[str, str]:
        """Why projects cannot be served, by project."""
        return {project: str(served) for project, served in self._current().items() if isinstance(served, NotLoaded)}

    def _current(self) -> dict[str, Served]:
        if self.projects.state() == self._state:
            return self._served
        with self._loading:
            state = self.projects.state()  # another thread may have loaded what is newer than what was seen above
            if state != self._state:
                self._load()
                self._state = state
            return self._served

    def _load(self) -> None:
        former, self._served = self._served, {name: self._loaded(name) for name in self.projects.names()}
        for served in former.values():
            if isinstance(served, flask.Flask):
                unload(served)

    def _loaded(self, project: str) -> Served:
        try:
            app = load(self.projects, project, self._perform)
        except NotLoaded as problem:
            log.warning("the project '%s' cannot be served: %s", project, problem, exc_info=problem.__cause__)
            return problem
        if self._cors is not None:
            app.after_request(self._cors)
        return app


def _error(start_response: StartResponse, status: str, text: str) -> Iterable[bytes]:
    return _answer(start_response, status, wire.JSON, wire.encode_json({"error": text}))


def _answer(start_response: StartResponse, status: str, kind: str, body: bytes) -> Iterable[bytes]:
    start_response(status, [("Content-Type", kind), ("Content-Length", str(len(body)))])
    return [body]
