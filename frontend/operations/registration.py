"""Operations of a licence that is not needed: every node is registered, without limits."""

from __future__ import annotations

import hashlib
from typing import Any

import engine
from frontend.operations.members import Member, anything
from frontend.operations.row import Call, Operation
from frontend.permissions import EVERYBODY, SUPER_USER


def registration_info(call: Call) -> dict[str, Any]:
    return {
        "registered": True,
        "version": engine.__version__,
        "ram_allocation": None,
        "license_expiration_date": None,
    }


def get_fingerprint(call: Call) -> str:
    """Opaque, and the same as long as the node lives."""
    return hashlib.sha256(f"fingerprint of {call.node.id}".encode()).hexdigest()


def set_license(call: Call) -> str:
    return "No license is needed."


OPERATIONS = (
    Operation("registration_info", registration_info, EVERYBODY),
    Operation("get_fingerprint", get_fingerprint, SUPER_USER),
    Operation("set_license", set_license, SUPER_USER, (Member("key", anything), Member("company", anything))),
)
