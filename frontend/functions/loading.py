"""A project as a Flask application of its own, so that nothing in it can come into another's way.

The directory of the project is a package of a name that is used once: its files import each other relatively
(`from ..helpers import dogs`), and those of an earlier load are never met again.
"""

from __future__ import annotations

import importlib
import itertools
import sys
import types
from pathlib import Path
from typing import Any

import flask
from flask.json.provider import JSONProvider
from werkzeug.exceptions import HTTPException

from frontend import wire
from frontend.errors import Refused, fault
from frontend.functions.handle import Kennel, Perform
from frontend.functions.projects import STATIC, Projects

ENTRY = "routes"  # the function that a route file has

_numbers = itertools.count(1)


class NotLoaded(Exception):
    """A project that cannot be served; the text says why."""


def load(projects: Projects, project: str, perform: Perform) -> flask.Flask:
    """The application of a project, whose paths begin after its name. NotLoaded."""
    directory = projects.directory(project)
    package = types.ModuleType(f"kennel_function_{next(_numbers)}")
    package.__path__ = [str(directory)]
    sys.modules[package.__name__] = package
    importlib.invalidate_caches()
    app = _application(package.__name__, directory)
    kennel = Kennel(perform, project)
    for file in projects.files(project, "routes"):
        if file == "__init__":
            continue
        try:
            app.register_blueprint(_blueprint(f"{package.__name__}.routes.{file}", kennel), name=file)
        except BaseException as error:  # whatever a file does, only its project suffers
            unload(app)
            if isinstance(error, KeyboardInterrupt):
                raise
            raise NotLoaded(f"routes/{file}.py: {_explanation(error)}") from error
    return app


def unload(app: flask.Flask) -> None:
    """Forget the modules of a project that is not served any more."""
    for name in [name for name in sys.modules if name == app.import_name or name.startswith(f"{app.import_name}.")]:
        del sys.modules[name]


def _blueprint(module_name: str, kennel: Kennel) -> flask.Blueprint:
    entry = getattr(importlib.import_module(module_name), ENTRY, None)
    if not callable(entry):
        raise NotLoaded(f"it has no function {ENTRY}(kennel)")
    made = entry(kennel)
    if not isinstance(made, flask.Blueprint):
        raise NotLoaded(f"{ENTRY}(kennel) must return a flask.Blueprint")
    return made


def _explanation(error: BaseException) -> str:
    if isinstance(error, SyntaxError):
        return f"{error.msg} (line {error.lineno})"
    return str(error) if isinstance(error, NotLoaded) else f"{type(error).__name__}: {error}"


def _application(name: str, directory: Path) -> flask.Flask:
    static = directory / STATIC
    app = flask.Flask(
        name, root_path=str(directory), static_folder=str(static), static_url_path=f"/{STATIC}", template_folder=None
    )
    app.json = _Json(app)
    app.register_error_handler(Exception, _failure)
    return app


def _failure(error: Exception) -> Any:
    """Errors in the form of the API. Those of the project's own making go to the log."""
    if isinstance(error, HTTPException):
        return {"error": error.description or error.name}, error.code or 500
    refused = error if isinstance(error, Refused) else fault(error)
    return refused.body, refused.status, refused.headers


class _Json(JSONProvider):
    """JSON as the operations API writes it."""

    def dumps(self, obj: Any, **kwargs: Any) -> str:
        return wire.encode_json(obj).decode()

    def loads(self, s: str | bytes, **kwargs: Any) -> Any:
        return wire.decode(wire.JSON, s.encode() if isinstance(s, str) else s)
