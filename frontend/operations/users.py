"""Operations on users. What they answer never holds a password, a hash or a token."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from frontend.authentication import USERS, User, hash_password
from frontend.errors import Refused
from frontend.grants import RIGHTS, TIMES
from frontend.operations.members import Check, Invalid, Member, anything
from frontend.operations.row import Call, Operation
from frontend.permissions import EVERYBODY, SUPER_USER, super_user

SYSTEM_TABLES = (
    *("hdb_table", "hdb_attribute", "hdb_schema", "hdb_user", "hdb_role"),
    *("hdb_job", "hdb_license", "hdb_info", "hdb_nodes", "hdb_temp"),
)


def user_info(call: Call) -> dict[str, Any]:
    return _shown(call.user, dict(call.user.role) if call.user.role else None)


def list_users(call: Call) -> list[dict[str, Any]]:
    users = sorted(call.accounts.users(), key=lambda user: user.name)
    return [_shown(user, _with_system_tables(user)) for user in users]


def add_user(call: Call) -> str:
    username = call["username"]
    role = _role_id(call, call["role"], f"{call['role']} role not found")
    row = {
        "username": username,
        "password": hash_password(call["password"]),
        "role": role,
        "active": call["active"],
    }
    if not call.node.system(USERS).insert([row], user=call.user.name).written:
        raise Refused(409, f"User {username} already exists")
    return f"{username} successfully added"


def alter_user(call: Call) -> dict[str, Any]:
    username = call["username"]
    change = _change(call)
    user = call.accounts.find(username)
    if user is not None and _loses_power(call, change):
        _refuse_for_last_super_user(call, user)
    result = call.node.system(USERS).update([{"username": username, **change}], user=call.user.name)
    return {
        "message": f"updated {len(result.written)} of 1 records",
        "new_attributes": [],
        "txn_time": result.version / 1000,
        "update_hashes": result.written,
        "skipped_hashes": result.skipped,
    }


def drop_user(call: Call) -> str:
    username = call["username"]
    user = call.accounts.find(username)
    if user is None:
        raise Refused(404, f"User {username} does not exist")
    _refuse_for_last_super_user(call, user)
    call.node.system(USERS).delete([username], user=call.user.name)
    return f"{username} successfully deleted"


def _change(call: Call) -> dict[str, Any]:
    """The attributes that alter_user sets."""
    change: dict[str, Any] = {}
    password, role, active = call["password"], call["role"], call["active"]
    if not password and not role and active in (None, ""):
        raise Refused(400, "nothing to update, must supply active, role or password to update")
    if password:
        if not isinstance(password, str) or not password.strip():
            raise Refused(400, "password cannot be an empty string")
        change["password"] = hash_password(password)
        change["refresh_token"] = None
    if active not in (None, ""):
        if not isinstance(active, bool):
            raise Refused(400, "active must be true or false")
        change["active"] = active
    if role == "":
        raise Refused(400, "If role is specified, it cannot be empty.")
    if role is not None:
        change["role"] = _role_id(call, role, f"Update failed.  Requested '{role}' role not found.")
    return change


def _role_id(call: Call, name: Any, not_found: str) -> str:
    found = call.accounts.roles_named(name) if isinstance(name, str) else []
    if len(found) > 1:
        raise Refused(
            409,
            f"Multiple {name} roles found.  Roles must have unique 'role' value. Please update and try again.",
        )
    if not found:
        raise Refused(404, not_found)
    return str(found[0]["id"])


def _loses_power(call: Call, change: dict[str, Any]) -> bool:
    if change.get("active") is False:
        return True
    role = call.accounts.role(change["role"]) if "role" in change else None
    return role is not None and role["permission"].get("super_user") is not True


def _refuse_for_last_super_user(call: Call, user: User) -> None:
    if not (user.active and user.grants.super_user):
        return
    others = (other for other in call.accounts.users() if other.name != user.name)
    if not any(other.active and other.grants.super_user for other in others):
        raise Refused(409, f"User {user.name} is the last active super user")


def _shown(user: User, role: dict[str, Any] | None) -> dict[str, Any]:
    times = {name: user.row[name] for name in TIMES if name in user.row}
    return {"active": user.active, "username": user.name, "role": role, **times}


def _with_system_tables(user: User) -> dict[str, Any] | None:
    """The user's role with the rights on the system tables spelled out, which no one can change."""
    if user.role is None:
        return None
    rights = {right: right == "read" and user.grants.super_user for right in RIGHTS}
    tables = {name: {**rights, "attribute_permissions": []} for name in SYSTEM_TABLES}
    permission = {**user.role.get("permission", {}), "system": {"tables": tables}}
    return {**user.role, "permission": permission}


# ----------------------------------------------------------------------------------------------------------- members


def _filled(capitalised: str) -> Check:
    def check(value: Any, label: str) -> str:
        if not isinstance(value, str):
            raise Invalid(f"{capitalised} must be a string")
        if not value:
            raise Invalid(f"{capitalised} can't be blank")
        return value

    return check


def _active(value: Any, label: str) -> bool:
    if not isinstance(value, bool):
        raise Invalid("Active must be a boolean")
    return value


def _username(value: Any, label: str) -> str:
    if not isinstance(value, str) or not value:
        raise Invalid("username is required")
    return value


def blankless(name: str, check: Callable[[Any, str], Any] | None = None) -> Member:
    """A required member in the manner of the older validators: null counts as missing."""
    capitalised = name.capitalize()
    return Member(
        name,
        check or _filled(capitalised),
        required=True,
        absent=f"{capitalised} can't be blank",
        null_is_absent=True,
    )


OPERATIONS = (
    Operation("user_info", user_info, EVERYBODY),
    Operation("list_users", list_users, super_user("listUsersExternal")),
    Operation(
        "add_user",
        add_user,
        SUPER_USER,
        (blankless("username"), blankless("password"), blankless("role"), blankless("active", _active)),
        joiner=",",
    ),
    Operation(
        "alter_user",
        alter_user,
        SUPER_USER,
        (
            Member("username", _username, required=True, absent="username is required"),
            Member("password", anything),
            Member("role", anything),
            Member("active", anything),
        ),
    ),
    Operation("drop_user", drop_user, SUPER_USER, (blankless("username"),), joiner=","),
)
