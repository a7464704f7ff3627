"""The operations of the API as one table, and the one way a request takes through it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import engine
from frontend.authentication import ANONYMOUS, Accounts, Credentials, User
from frontend.errors import Refused, refusal
from frontend.functions.service import Functions
from frontend.jobs import Jobs, Order, Outcome
from frontend.limits import Limits, Watch
from frontend.operations import (
    backups,
    bulk,
    cluster,
    configuration,
    describe,
    exports,
    functions,
    history,
    jobs,
    logs,
    purges,
    records,
    registration,
    restart,
    roles,
    schemas,
    search,
    sessions,
    sql,
    status,
    system,
    tokens,
    users,
)
from frontend.operations.dispatch import carry_out
from frontend.operations.row import Call, Operation, Services, word_for
from frontend.permissions import Rule
from frontend.sessions import Sessions
from frontend.tokens import Tokens

if TYPE_CHECKING:
    from frontend.work import Job

_MODULES = (
    *(schemas, describe, records, search, sql, bulk, exports, purges, backups, jobs),
    *(
        users,
        roles,
        tokens,
        sessions,
        status,
        history,
        logs,
        configuration,
        system,
        restart,
        registration,
        functions,
        cluster,
    ),
)

#: Every operation by its name.
TABLE: dict[str, Operation] = {row.name: row for module in _MODULES for row in module.OPERATIONS}


class Operations:
    """The operations on one node."""

    def __init__(self, node: engine.Node) -> None:
        accounts = Accounts(node)
        functions = Functions(node.configuration, self.perform)
        limits, job_limits = (Limits.of(node.configuration, section) for section in ("sql", "sql.jobs"))
        self.services = Services(
            node, accounts, Tokens(node, accounts), Sessions(node, accounts), Jobs(node), functions, limits, job_limits
        )
        #: Bytes from which on bodies are compressed for those who like it; None never.
        self.compression_threshold: int | None = node.configuration.get("http.compressionThreshold") or None

    def perform(self, request: Any, credentials: Credentials, watch: Watch | None = None) -> Any:
        """The result of a request, ready to be encoded. Everything that goes wrong is raised as Refused.

        `watch` is called now and then by what may take long, and raises when nobody waits for it any more.
        """
        name = request.get("operation") if isinstance(request, dict) else None
        if name is None or name == "":
            raise Refused(400, "Request body must include an 'operation' property.")
        operation = TABLE.get(name) if isinstance(name, str) else None
        word = word_for(str(name), request)
        try:
            user = self._identify(operation, request, credentials)
            if operation is None:
                raise Refused(400, f"Operation '{name}' not found")
            return carry_out(
                Call(self.services, operation, request, credentials, user, word, self.services.limits, watch)
            )
        except Refused:
            raise
        except Exception as error:
            raise refusal(error, word, operation.absent if operation else 404) from error

    def work(self, order: Order, job: Job) -> Outcome:
        """Do what a job was ordered to do, with what its user may do by now."""
        operation = TABLE.get(order.operation)
        user = self.services.accounts.find(order.user)
        if operation is None or operation.work is None or user is None or not user.active:
            raise Refused(400, "There is no such job, or no such user any more.")
        call = Call(
            self.services, operation, {}, Credentials(), user, order.word, self.services.job_limits,
            lambda: job.progress("searching"), order.members,
        )  # fmt: skip
        return operation.work(call, job)

    def _identify(self, operation: Operation | None, request: dict[str, Any], credentials: Credentials) -> User:
        if credentials.token is not None:
            return self.services.tokens.owner(credentials.token, refresh=operation is not None and operation.renews)
        if credentials.cookies and not credentials.header:
            owner = self.services.sessions.owner(credentials.cookies)
            if owner is not None:
                return owner
        user = self.services.accounts.identify(credentials)
        if user is None and (operation is None or operation.permission.rule is not Rule.PUBLIC):
            raise Refused(401, "Must login")
        return user or ANONYMOUS
