"""kennel start, run, stop and restart."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from engine.configuration import Configuration
from engine.process import Exit
from engine.version import __version__
from frontend import install, pidfile, server
from frontend.cli import root as roots
from frontend.install import Administrator

START_PATIENCE = 60.0  # seconds for a node to answer; a start takes one or two, replaying a long log may take more
STOP_PATIENCE = 2 * server.STOP_PATIENCE + 10
ERRORS_NAME = "stderr.log"  # what the processes of a node in the background say before, and beside, their log
BANNER = f"|------------- KennelDB {__version__} successfully started ------------|"


def start(parameters: Sequence[str]) -> int:
    root, arguments = roots.parse(parameters)
    if _is_running(root):
        return Exit.OK
    settings = install.prepare(root, os.environ, arguments, _announce)
    status, reason = _spawn(settings)
    if status == Exit.HELD and _is_running(root):  # somebody else started it just now
        return Exit.OK
    if status != Exit.OK:
        click.echo(reason, err=True)
        return status
    roots.remember(root)
    click.echo(BANNER)
    return Exit.OK


def run(parameters: Sequence[str]) -> int:
    root, arguments = roots.parse(parameters)
    settings = install.prepare(root, os.environ, arguments, _announce)
    roots.remember(root)
    address = _address(settings)
    return server.run(root, lambda: click.echo(f"{BANNER}\n{address}"), foreground=True)


def stop(parameters: Sequence[str]) -> int:
    return _stop(roots.only_root(parameters))


def restart(parameters: Sequence[str]) -> int:
    root, _ = roots.parse(parameters)
    status = _stop(root)
    return start(parameters) if status == Exit.OK else status


def _is_running(root: Path) -> bool:
    pid = pidfile.holder(root)
    if pid is not None:
        click.echo(f"KennelDB is already running in {root} (pid {pid}).")
    return pid is not None


def _stop(root: Path) -> int:
    ended = pidfile.terminate(root, STOP_PATIENCE)
    if ended is False:
        click.echo(f"kennel: the node in {root} did not stop within {STOP_PATIENCE:.0f} seconds", err=True)
        return Exit.TIMEOUT
    click.echo("KennelDB has stopped." if ended else f"KennelDB is not running in {root}.")
    return Exit.OK


def _spawn(settings: Configuration) -> tuple[int, str]:
    """Start the supervisor in a session of its own and wait until the node answers; gives status and reason."""
    errors = Path(settings.get("logging.root")) / ERRORS_NAME
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)
    supervisor = os.posix_spawn(
        sys.executable,
        [*server.python("frontend.server"), "--root", str(settings.root), "--report", str(writing)],
        server.environment(),
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(errors), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
    )
    os.close(writing)
    answered, _, _ = select.select([reading], [], [], START_PATIENCE)
    if not answered:
        pidfile.terminate(settings.root, STOP_PATIENCE)
        return Exit.TIMEOUT, f"kennel: the node did not answer within {START_PATIENCE:.0f} seconds; see {errors.parent}"
    if os.read(reading, 1):
        return Exit.OK, ""
    _, ended = os.waitpid(supervisor, 0)
    return abs(os.waitstatus_to_exitcode(ended)) or Exit.FAILED, _last_line(errors)


def _last_line(errors: Path) -> str:
    """The last thing that a process said before it gave up."""
    lines = [line for line in errors.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else f"kennel: the node could not be started; see {errors.parent}"


def _announce(administrator: Administrator) -> None:
    if administrator.password is not None:
        click.echo(f"User {administrator.username}, password {administrator.password} (shown this once).")


def _address(settings: Configuration) -> str:
    network = "operationsApi.network"
    scheme = "https" if settings.get(f"{network}.https") else "http"
    host = settings.get(f"{network}.host") or "localhost"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{settings.get(f'{network}.port')}"
