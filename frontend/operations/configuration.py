"""Operations on the node's configuration."""

from __future__ import annotations

from typing import Any

from engine import configuration
from frontend.errors import PRODUCT
from frontend.operations.row import Call, Operation
from frontend.permissions import SUPER_USER


def get_configuration(call: Call) -> dict[str, Any]:
    """The configuration as it stands in the file, which the next start will use."""
    return configuration.Configuration.load(call.node.root).tree()


def set_configuration(call: Call) -> str:
    settings = {name: value for name, value in call.request.items() if name != "operation"}
    configuration.change(call.node.root, settings)
    return f"Configuration successfully set. You must restart {PRODUCT} for new config settings to take effect."


OPERATIONS = (
    Operation("get_configuration", get_configuration, SUPER_USER),
    Operation("set_configuration", set_configuration, SUPER_USER),
)
