"""get_backup: an archive of a schema, or of some of its tables, sent while it is made."""

from __future__ import annotations

from urllib.parse import quote

from engine.backup import backup
from frontend.operations.members import SCHEMA, Member, array, name
from frontend.operations.row import Call, Operation
from frontend.permissions import SUPER_USER
from frontend.rows import Download


def get_backup(call: Call) -> Download:
    asked = [*(call["tables"] or ()), *([call["table"]] if call["table"] is not None else ())]
    pieces = backup(call.node, call["schema"], list(dict.fromkeys(asked)))
    # Names are printable ASCII; what a quoted string cannot hold goes as in a URL.
    file_name = quote(call["schema"], safe=" !#$&'()+,-.;=@[]^_{}~")
    headers = (
        ("Content-Type", "application/octet-stream"),
        ("Content-Disposition", f'attachment; filename="{file_name}"'),
    )
    return Download(headers, pieces, pieces.close)


OPERATIONS = (
    Operation(
        "get_backup",
        get_backup,
        SUPER_USER,
        (SCHEMA, Member("table", name), Member("tables", array(name))),
    ),
)
