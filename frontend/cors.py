"""CORS: the headers that let pages of other origins use what is served here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flask

_METHODS = "POST, GET, PUT, DELETE, PATCH, OPTIONS"
_HEADERS = "Accept, Content-Type, Authorization"


def headers(access_list: Any) -> Callable[[flask.Response], flask.Response]:
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
            response.headers["Access-Control-Allow-Methods"] = _METHODS
            response.headers["Access-Control-Allow-Headers"] = _HEADERS
        return response

    return add
