"""What happens before a node runs: the root directory is checked, made a node's at the first start, and configured.

Each step may be repeated, and the configuration file is written last: a first start that was cut off is simply done
again.
"""

from __future__ import annotations

import os
import pwd
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import engine
from engine import configuration
from engine.configuration import FILE_NAME, Configuration
from engine.process import CannotStart, Exit

DEFAULT_ADMIN = "HDB_ADMIN"
DIRECTORIES = ("keys", "log", "schema", "backup", "custom_functions")

# Any of these in a directory says that it is a node's.
_MARKS = (FILE_NAME, "node.id", "kennel.lock")


@dataclass(frozen=True)
class Administrator:
    """The first user; `password` is set only when it was made up here, and has to be shown now or never."""

    username: str
    password: str | None


def prepare(
    root: Path,
    environment: Mapping[str, str],
    arguments: Mapping[str, str],
    announce: Callable[[Administrator], None],
) -> Configuration:
    """Make `root` ready for a node to run on it, and give the configuration as it then stands in the file.

    At the first start `announce` is called before the administrator is stored. CannotStart, RootError or
    InvalidRequest when something about the root directory or the parameters is not acceptable.
    """
    unknown = configuration.unknown_parameters(arguments)
    if unknown:
        raise CannotStart(Exit.USAGE, f"unknown parameter --{unknown[0]}")
    given = configuration.installation(environment) | configuration.installation(arguments)
    _claim(root)
    with configuration.locked(root):
        first = not (root / FILE_NAME).exists()
        settings = Configuration.load(root, environment, arguments, given.get("import_file") if first else None)
        _require_cluster_identity(settings)
        if first:
            _require_cluster_password(settings, given)
            _install(root, given, announce)
        _make_directories(root)
        if given.get("cluster_password"):
            _store_cluster_user(root, settings, given["cluster_password"])
        settings.save()
        return settings


def _make_directories(root: Path) -> None:
    """At every start: a root directory that was restored from a backup has only those that were not empty."""
    for name in DIRECTORIES:
        (root / name).mkdir(mode=0o700, exist_ok=True)


def _claim(root: Path) -> None:
    """See to it that `root` is a directory of ours that can be written."""
    try:
        if not root.exists():
            root.mkdir(mode=0o700, parents=True)
        entries = [entry.name for entry in root.iterdir()]
        owner = root.stat().st_uid
    except OSError as error:
        raise engine.RootError(f"{root} cannot be used as root directory: {error.strerror}") from error
    if owner != os.geteuid():
        raise engine.RootError(f"Must execute as {_user_name(owner)}, who owns {root}")
    if not os.access(root, os.R_OK | os.W_OK | os.X_OK):
        raise engine.RootError(f"{root} is not writable")
    if not entries:
        root.chmod(0o700)
    elif not any(mark in entries for mark in _MARKS):
        raise engine.RootError(f"{root} is neither empty nor the root directory of a KennelDB node")


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def _require_cluster_identity(settings: Configuration) -> None:
    if not settings.get("clustering.enabled"):
        return
    for name in ("clustering.nodeName", "clustering.user"):
        if not settings.get(name):
            parameter = name.replace(".", "_").upper()
            raise CannotStart(Exit.USAGE, f"clustering.enabled is true, but '{name}' is not set (--{parameter})")


def _require_cluster_password(settings: Configuration, given: Mapping[str, str]) -> None:
    if settings.get("clustering.enabled") and not given.get("cluster_password"):
        raise CannotStart(Exit.USAGE, "clustering.enabled is true, but there is no --CLUSTERING_PASSWORD")


def _install(root: Path, given: Mapping[str, str], announce: Callable[[Administrator], None]) -> None:
    from frontend import authentication, certificates

    with engine.open_node(root) as node:  # first of all: its files mark the directory as a node's
        _make_directories(root)
        certificates.create(root / "keys")
        if node.system(authentication.USERS).count():
            return  # users that outlived their configuration file keep their passwords
        username = given.get("admin_username") or DEFAULT_ADMIN
        password = given.get("admin_password")
        chosen = password or secrets.token_urlsafe(12)
        announce(Administrator(username, None if password else chosen))
        authentication.create_first_user(node, username, chosen)


def _store_cluster_user(root: Path, settings: Configuration, password: str) -> None:
    """Keep what the cluster password is needed for: a user with the role for it, and the hub's keys."""
    from engine.replication import keys
    from frontend import authentication

    username = settings.get("clustering.user")
    if not username:
        raise CannotStart(Exit.USAGE, "--CLUSTERING_PASSWORD needs --CLUSTERING_USER")
    role = authentication.CLUSTER_USER_ROLE
    with engine.open_node(root) as node:
        users = node.system(authentication.USERS)
        known = users.get(username)
        if known is not None and known.get("role") != role:
            raise CannotStart(Exit.USAGE, f"user '{username}' exists already, and is no {role}")
        hashed = authentication.hash_password(password)
        users.upsert([{"username": username, "password": hashed, "role": role, "active": True}])
    keys.derive_cluster_keys(root, username, password)
