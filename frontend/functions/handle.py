"""What the route files of a project get to work with: `routes(kennel)` is called with a Kennel."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import flask

from frontend.authentication import Credentials
from frontend.rows import complete

Perform = Callable[[dict[str, Any], Credentials], Any]
View = Callable[..., Any]


class Kennel:
    """The node, to the functions of one project. Within a request it knows the caller by the request's headers.

    What a request of either kind refuses is raised as frontend.errors.Refused, and becomes the answer unless the
    function catches it.
    """

    def __init__(self, perform: Perform, project: str) -> None:
        self.project = project
        self._perform = perform

    def request(self, operation: dict[str, Any]) -> Any:
        """The result of an operation, with the caller's credentials and rights."""
        return complete(self._perform(operation, Credentials.of(flask.request.environ)))

    def request_without_authentication(self, operation: dict[str, Any]) -> Any:
        """The result of an operation as super user, whoever the caller is."""
        return complete(self._perform(operation, Credentials(local_socket=True)))

    def authenticated(self, view: View) -> View:
        """Decorates a view that only callers with valid credentials may reach; others get 401."""

        @functools.wraps(view)
        def checked(*arguments: Any, **named: Any) -> Any:
            self.request({"operation": "user_info"})
            return view(*arguments, **named)

        return checked
