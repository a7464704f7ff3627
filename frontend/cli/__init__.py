"""The `kennel` command.

What a command does stands in the other modules of this package, imported when it is run: `kennel status` should not
wait for what only `kennel start` needs.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NoReturn

import click

from engine.errors import KennelError
from engine.process import CannotStart, Exit, explanation, status_of

PARAMETERS = {"ignore_unknown_options": True, "allow_interspersed_args": False, "help_option_names": ["--help", "-h"]}

EPILOG = """
Parameters are settings of kennel-config.yaml joined by _, in any case, for example --OPERATIONSAPI_NETWORK_PORT 9925;
the environment may hold them too. --ROOTPATH DIR picks the node, by default the one that was started last.

\b
Exit status:
  0  done; status: the node is running
  1  the operation was refused, or something went wrong
  2  a parameter or setting is not acceptable
  3  the node is not running
  4  the root directory cannot be used
  5  a port or socket cannot be opened
  6  another process has the node in its hands
  7  the node did not answer, or did not stop, in time
"""


class Commands(click.Group):
    """The commands below; any other name is an operation of the API."""

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        return super().get_command(context, name) or _operation_command(name)


@click.group(
    cls=Commands, epilog=EPILOG, invoke_without_command=True, context_settings={"help_option_names": ["--help", "-h"]}
)
@click.pass_context
def kennel(context: click.Context) -> int:
    """Run a KennelDB node, or an operation on it: kennel OPERATION key=value …"""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())
    return Exit.OK


@kennel.command(context_settings=PARAMETERS)
@click.argument("parameters", nargs=-1, type=click.UNPROCESSED, metavar="[--PARAM value]…")
def start(parameters: tuple[str, ...]) -> int:
    """Start the node in the background; installs it at the first start."""
    from frontend.cli import lifecycle

    return lifecycle.start(parameters)


@kennel.command(context_settings=PARAMETERS)
@click.argument("parameters", nargs=-1, type=click.UNPROCESSED, metavar="[--PARAM value]…")
def run(parameters: tuple[str, ...]) -> int:
    """Run the node in the foreground; Ctrl-C stops it."""
    from frontend.cli import lifecycle

    return lifecycle.run(parameters)


@kennel.command(context_settings=PARAMETERS)
@click.argument("parameters", nargs=-1, type=click.UNPROCESSED, metavar="[--ROOTPATH DIR]")
def stop(parameters: tuple[str, ...]) -> int:
    """Stop the node; returns once all of its processes have ended."""
    from frontend.cli import lifecycle

    return lifecycle.stop(parameters)


@kennel.command(context_settings=PARAMETERS)
@click.argument("parameters", nargs=-1, type=click.UNPROCESSED, metavar="[--PARAM value]…")
def restart(parameters: tuple[str, ...]) -> int:
    """Stop the node if it runs, and start it."""
    from frontend.cli import lifecycle

    return lifecycle.restart(parameters)


@kennel.command(context_settings=PARAMETERS)
@click.argument("parameters", nargs=-1, type=click.UNPROCESSED, metavar="[--ROOTPATH DIR]")
@click.option("--json", "as_json", is_flag=True, help="JSON instead of YAML.")
def status(parameters: tuple[str, ...], as_json: bool) -> int:
    """Show how the node and its cluster are; exit status 0 when it runs, 3 when it is stopped."""
    from frontend.cli import report

    # The flag may also stand behind the parameters, where it is one of them to click.
    rest = tuple(parameter for parameter in parameters if parameter != "--json")
    return report.status(rest, as_json=as_json or len(rest) < len(parameters))


@kennel.command(context_settings=PARAMETERS)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.argument("members", nargs=-1, type=click.UNPROCESSED, metavar="[schema=NAME [table=NAME]] [--ROOTPATH DIR]")
def backup(file: Path, members: tuple[str, ...]) -> int:
    """Write a backup of the node, or of a schema or table, to FILE; the node may be running."""
    from frontend.cli import archive

    return archive.make(file, members)


@kennel.command(context_settings=PARAMETERS)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.argument(
    "parameters", nargs=-1, type=click.UNPROCESSED, metavar="--ROOTPATH DIR [--until TIME] [--PARAM value]…"
)
def restore(file: Path, parameters: tuple[str, ...]) -> int:
    """Restore a backup into a new root directory, as it was at TIME (ISO 8601 or ms since 1970) if that is given."""
    from frontend.cli import archive

    return archive.bring_back(file, parameters)


@kennel.command()
def version() -> int:
    """Print the version."""
    from engine.version import __version__

    click.echo(__version__)
    return Exit.OK


@kennel.command(name="help")
@click.pass_context
def show_help(context: click.Context) -> int:
    """Print this text."""
    assert context.parent is not None
    click.echo(context.parent.get_help())
    return Exit.OK


def _operation_command(name: str) -> click.Command:
    @click.command(name, context_settings=PARAMETERS)
    @click.argument("members", nargs=-1, type=click.UNPROCESSED, metavar="[key=value]…")
    @click.pass_context
    def operation(context: click.Context, members: tuple[str, ...]) -> int:
        from frontend.cli import operation

        status = operation.perform(name, members)
        if status is None:
            assert context.parent is not None
            click.echo(f'The "{name}" command is not understood.\n\n{context.parent.get_help()}', err=True)
            return Exit.USAGE
        return status

    return operation


def main() -> NoReturn:
    """Entry point of the `kennel` script."""
    try:
        status = kennel.main(prog_name="kennel", standalone_mode=False)
    except click.ClickException as error:
        click.echo(f"kennel: {error.format_message()}", err=True)
        status = Exit.USAGE
    except (KennelError, CannotStart) as error:
        click.echo(f"kennel: {explanation(error)}", err=True)
        status = status_of(error)
    except OSError as error:  # a full disk, most likely
        click.echo(f"kennel: {error}", err=True)
        status = Exit.FAILED
    except click.Abort:
        status = Exit.FAILED
    sys.exit(status)
