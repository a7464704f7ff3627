"""Which node a command is about, and what its command line and environment say about it."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from engine.configuration import parse_arguments
from engine.process import CannotStart, Exit

DEFAULT_NAME = "kennel"
_ROOT = "rootpath"


def parse(parameters: Sequence[str]) -> tuple[Path, dict[str, str]]:
    """The root directory that is meant, and the other parameters."""
    arguments = parse_arguments(parameters)
    named = arguments.pop(_ROOT, None) or _from_environment() or _remembered()
    root = Path(named) if named else _home() / DEFAULT_NAME
    return root.expanduser().absolute(), arguments


def only_root(parameters: Sequence[str]) -> Path:
    """The root directory, for commands that take no other parameter."""
    root, others = parse(parameters)
    if others:
        raise CannotStart(Exit.USAGE, f"unknown parameter --{next(iter(others))}")
    return root


def remember(root: Path) -> None:
    """Make `root` the one that is meant when none is named. A home that cannot be written is told, and no failure."""
    try:
        file = _boot_file()
        file.parent.mkdir(mode=0o700, exist_ok=True)
        draft = file.with_suffix(f".{os.getpid()}.tmp")
        draft.write_text(f"rootPath: {json.dumps(str(root))}\n")
        draft.rename(file)
    except (OSError, CannotStart) as error:
        print(f"kennel: {root} is not remembered as the last root directory: {error}", file=sys.stderr)


def _from_environment() -> str | None:
    return next((value for name, value in os.environ.items() if name.lower() == _ROOT and value), None)


def _remembered() -> str | None:
    with contextlib.suppress(OSError, CannotStart):
        _, found, value = _boot_file().read_text().partition("rootPath:")
        value = value.strip()
        return str(json.loads(value)) if value.startswith('"') else value if found and value else None
    return None


def _boot_file() -> Path:
    return _home() / ".kennel" / "boot.yaml"


def _home() -> Path:
    """The user's home directory, also where no HOME is set (cron, systemd): then the user database knows it."""
    try:
        return Path.home()
    except RuntimeError:
        raise CannotStart(Exit.USAGE, "this user has no home directory; name one with --ROOTPATH DIR") from None
