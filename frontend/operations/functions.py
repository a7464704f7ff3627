"""Operations on custom functions. What they change is served after restart_service custom_functions."""

from __future__ import annotations

import base64
import os
from typing import Any

from engine.files import replace_file
from frontend.functions.projects import KINDS, is_name
from frontend.operations.members import Check, Invalid, Member, anything, array, boolean, one_of, text
from frontend.operations.row import Call, Operation
from frontend.permissions import SUPER_USER, super_user


def custom_functions_status(call: Call) -> dict[str, Any]:
    """`problems` tells of projects that cannot be served."""
    configuration = call.node.configuration
    status = {
        "is_enabled": configuration.get("customFunctions.enabled"),
        "port": configuration.get("customFunctions.network.port"),
        "directory": os.fspath(call.functions.projects.root),
    }
    problems = call.functions.problems()
    return {**status, "problems": problems} if problems else status


def get_custom_functions(call: Call) -> dict[str, Any]:
    return call.functions.projects.overview()


def get_custom_function(call: Call) -> str:
    return call.functions.projects.read(call["project"], call["type"], call["file"])


def set_custom_function(call: Call) -> str:
    name = call.functions.projects.write(call["project"], call["type"], call["file"], call["function_content"])
    return f"Successfully updated custom function: {name}"


def drop_custom_function(call: Call) -> str:
    name = call.functions.projects.drop(call["project"], call["type"], call["file"])
    return f"Successfully deleted custom function: {name}"


def add_custom_function_project(call: Call) -> str:
    call.functions.projects.add(call["project"])
    return f"Successfully created custom function project: {call['project']}"


def drop_custom_function_project(call: Call) -> str:
    call.functions.projects.remove(call["project"])
    return f"Successfully deleted project: {call['project']}"


def package_custom_function_project(call: Call) -> dict[str, str]:
    project = call["project"]
    packed = call.functions.projects.package(project, node_modules=not call["skip_node_modules"])
    file = call.node.root / "backup" / f"{project}.tar"
    file.parent.mkdir(mode=0o700, exist_ok=True)
    replace_file(file, packed)
    return {"project": project, "payload": base64.b64encode(packed).decode(), "file": os.fspath(file)}


def deploy_custom_function_project(call: Call) -> str:
    call.functions.projects.deploy(call["project"], call["payload"])
    return f"Successfully deployed project: {call['project']}"


def install_node_modules(call: Call) -> dict[str, Any]:
    """Projects are Python, so there is nothing to be installed."""
    for project in call["projects"]:
        call.functions.projects.directory(project)
    return {project: {"npm_output": None, "npm_error": None} for project in call["projects"]}


# ----------------------------------------------------------------------------------------------------------- members


def _plain_name(problem: str) -> Check:
    def check(value: Any, label: str) -> str:
        given = text(value, label)
        if not is_name(given):
            raise Invalid(problem)
        return given

    return check


def _content(value: Any, label: str) -> str:
    if not isinstance(value, str):
        raise Invalid(f"'{label}' must be a string")
    return value


_project_name = _plain_name("Project name can only contain alphanumeric, dash and underscores characters")
_file_name = _plain_name("File name can only contain alphanumeric, dash and underscore characters")

_PROJECT = Member("project", _project_name, required=True)
_FILE = (
    _PROJECT,
    Member("type", one_of(*KINDS), required=True),
    Member("file", _file_name, required=True),
)

OPERATIONS = (
    Operation("custom_functions_status", custom_functions_status, SUPER_USER),
    Operation("get_custom_functions", get_custom_functions, SUPER_USER),
    Operation("get_custom_function", get_custom_function, SUPER_USER, _FILE),
    Operation(
        "set_custom_function",
        set_custom_function,
        SUPER_USER,
        (*_FILE, Member("function_content", _content, required=True)),
    ),
    Operation("drop_custom_function", drop_custom_function, SUPER_USER, _FILE),
    Operation("add_custom_function_project", add_custom_function_project, super_user("addComponent"), (_PROJECT,)),
    Operation("drop_custom_function_project", drop_custom_function_project, SUPER_USER, (_PROJECT,)),
    Operation(
        "package_custom_function_project",
        package_custom_function_project,
        super_user("packageComponent"),
        (_PROJECT, Member("skip_node_modules", boolean, default=False)),
    ),
    Operation(
        "deploy_custom_function_project",
        deploy_custom_function_project,
        super_user("deployComponent"),
        (_PROJECT, Member("payload", text, required=True)),
    ),
    Operation(
        "install_node_modules",
        install_node_modules,
        super_user("installModules"),
        (Member("projects", array(_project_name), required=True), Member("dry_run", anything)),
    ),
)
