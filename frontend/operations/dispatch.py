"""The way of a call through its operation: members, permission, validation, and then the work itself."""

from __future__ import annotations

from typing import Any

from frontend.errors import Refused
from frontend.operations.members import read
from frontend.operations.row import Call
from frontend.permissions import authorize


def carry_out(call: Call) -> Any:
    """The result of a call whose members have not been read yet. Refused, or whatever the operation raises."""
    operation = call.operation
    call.members, problems = read(operation.members, call.request)
    # Permission comes before validation, unless it depends on what the request fails to say.
    if not problems or call.names_its_target or not operation.permission.needs_target:
        authorize(call)
    if problems:
        raise Refused(400, problems[0] if operation.only_first_problem else operation.joiner.join(problems))
    result = operation.run(call)
    return {"message": result} if isinstance(result, str) else result
