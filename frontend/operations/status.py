"""Operations on what an administrator has noted about the state of the node: texts under a few fixed names."""

from __future__ import annotations

from typing import Any

from frontend.errors import Refused
from frontend.operations.members import Invalid, Member, one_of, text
from frontend.operations.row import Call, Operation
from frontend.permissions import SUPER_USER

STATUSES = "hdb_status"
NAMES = ("primary", "maintenance", "availability")
AVAILABILITY = ("Available", "Unavailable")
LONGEST = 512  # characters

Row = dict[str, Any]


def set_status(call: Call) -> Row:
    if call["id"] == "availability" and call["status"] not in AVAILABILITY:
        raise Refused(400, f'Status "availability" only accepts these values: {", ".join(AVAILABILITY)}')
    table = call.node.system(STATUSES)
    table.upsert([{"id": call["id"], "status": call["status"]}], user=call.user.name)
    return table.get(call["id"]) or {}


def get_status(call: Call) -> Row | list[Row]:
    table = call.node.system(STATUSES)
    return table.get_many(NAMES) if call["id"] is None else table.get(call["id"]) or {}


def clear_status(call: Call) -> dict[str, bool]:
    call.node.system(STATUSES).delete([call["id"]], user=call.user.name)
    return {"message": True}


def _status(value: Any, label: str) -> str:
    given = text(value, label)
    if len(given) > LONGEST:
        raise Invalid(f"'{label}' length must be less than or equal to {LONGEST} characters long")
    return given


_ID = Member("id", one_of(*NAMES), default=NAMES[0])

OPERATIONS = (
    Operation("set_status", set_status, SUPER_USER, (_ID, Member("status", _status, required=True))),
    Operation("get_status", get_status, SUPER_USER, (Member("id", one_of(*NAMES)),)),
    Operation("clear_status", clear_status, SUPER_USER, (_ID,)),
)
