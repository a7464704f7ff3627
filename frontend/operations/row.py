"""A row of the table of operations, and one call of an operation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import engine
from frontend.authentication import Accounts, Credentials, User
from frontend.functions.service import Functions
from frontend.jobs import Jobs, Outcome
from frontend.limits import Limits, Watch
from frontend.operations.members import Member
from frontend.permissions import Permission
from frontend.sessions import Sessions
from frontend.tokens import Tokens

if TYPE_CHECKING:
    from frontend.work import Job


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of the API: everything that dispatch, validation, permission and documentation need.

    `run` gives the result: a list or dict, or a text that becomes `{"message": text}`.
    `absent` is the status for schemas and tables that do not exist; `joiner` stands between several problems;
    `renews` tells that a refresh token is good enough to call it. `work` is what the node process does when `run` has
    made a job of the request.
    """

    name: str
    run: Callable[[Call], Any]
    permission: Permission
    members: tuple[Member, ...] = ()
    absent: int = 404
    joiner: str = ". "
    only_first_problem: bool = False
    renews: bool = False
    work: Callable[[Call, Job], Outcome] | None = None


@dataclass(frozen=True, slots=True)
class Services:
    """What operations work with, once per process."""

    node: engine.Node
    accounts: Accounts
    tokens: Tokens
    sessions: Sessions
    jobs: Jobs
    functions: Functions
    limits: Limits
    job_limits: Limits


@dataclass(slots=True)
class Call:
    """A request on its way through an operation. `members` holds the checked values by member name.

    `limits` are those of a statement, `watch` raises when its result is not wanted any more.
    """

    services: Services
    operation: Operation
    request: dict[str, Any]
    credentials: Credentials
    user: User
    word: str
    limits: Limits
    watch: Watch | None = None
    members: dict[str, Any] = field(default_factory=dict)
    statement: Any = None  # the prepared SQL, which the permission check needs before it runs

    def __getitem__(self, member: str) -> Any:
        return self.members[member]

    def __contains__(self, label: str) -> bool:
        return label in self.request

    @property
    def node(self) -> engine.Node:
        return self.services.node

    @property
    def accounts(self) -> Accounts:
        return self.services.accounts

    @property
    def tokens(self) -> Tokens:
        return self.services.tokens

    @property
    def sessions(self) -> Sessions:
        return self.services.sessions

    @property
    def jobs(self) -> Jobs:
        return self.services.jobs

    @property
    def functions(self) -> Functions:
        return self.services.functions

    @property
    def table(self) -> engine.Table:
        """The table that the request names; NoSuchSchema, NoSuchTable."""
        return self.node.table(self.members["schema"], self.members["table"])

    @property
    def names_its_target(self) -> bool:
        """Whether the schema and the table that the operation is about could be read from the request."""
        return all(self.members[name] is not None for name in ("schema", "table") if name in self.members)


def word_for(operation: str, request: dict[str, Any]) -> str:
    """What a message calls a schema: the word of the request, else that of the operation's name, else "database"."""
    if "database" in request:
        return "database"
    return "schema" if "schema" in request or "schema" in operation else "database"
