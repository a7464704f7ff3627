"""The command line, over real nodes: what it prints, its exit statuses, and what it leaves on disk."""

from __future__ import annotations

import json
import os
import pwd
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from nodes import ADMIN, KENNEL, PASSWORD, RealNode, basic, eventually

from engine.control import listen
from engine.process import Exit
from engine.version import __version__

MakeNode = Callable[..., RealNode]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# ---------------------------------------------------------------------------------------------------- start and stop


def test_the_first_start_installs_and_says_so(make_node: MakeNode) -> None:
    node = make_node()
    done = node.first_start()
    assert done.returncode == 0, done
    assert f"KennelDB {__version__} successfully started" in done.stdout
    assert PASSWORD not in done.stdout
    assert node.answers()
    assert mode(node.root) == 0o700
    for name in ("keys", "log", "schema", "backup", "custom_functions", "kennel-config.yaml", "kennel.pid", "node.id"):
        assert (node.root / name).exists(), name
    for name in ("kennel-config.yaml", "operations-server", "control.sock", "keys/privateKey.pem", "kennel.pid"):
        assert mode(node.root / name) == 0o600, name
    written = (node.root / "kennel-config.yaml").read_text()
    assert f"port: {node.port}\n" in written
    assert PASSWORD not in written


def test_a_password_that_is_not_given_is_made_and_shown_once(make_node: MakeNode) -> None:
    node = make_node()
    given = node.first_parameters()
    at = given.index("--HDB_ADMIN_PASSWORD")
    first = node.kennel("start", "--ROOTPATH", str(node.root), *given[:at], *given[at + 2 :])
    password = first.stdout.split("password ")[1].split()[0]
    body = json.dumps({"operation": "describe_all"}).encode()
    headers = {"Content-Type": "application/json", "Authorization": basic(password=password)}
    assert node.request("POST", "/", body, headers)[0] == 200
    node.stop()
    again = node.start()
    assert password not in again.stdout + again.stderr
    assert password not in node.log()


def test_a_second_start_says_that_it_runs_already(real_node: RealNode) -> None:
    before = {process.pid for process in real_node.processes()}
    supervisor = real_node.supervisor()
    done = real_node.start()
    assert done.returncode == 0
    assert f"already running in {real_node.root} (pid {supervisor.pid})" in done.stdout
    assert before <= {process.pid for process in real_node.processes()}
    assert real_node.supervisor() == supervisor


def test_two_starts_at_once_give_one_node(make_node: MakeNode) -> None:
    node = make_node()
    command = [*KENNEL, "start", "--ROOTPATH", str(node.root), *node.first_parameters()]
    starts = [subprocess.Popen(command, env=node.environment, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [start.communicate(timeout=90)[0] for start in starts]
    assert [start.returncode for start in starts] == [0, 0], outputs
    assert sum("successfully started" in output for output in outputs) == 1
    assert node.answers()


def test_stop_returns_when_every_process_has_ended(real_node: RealNode) -> None:
    assert len(real_node.processes()) >= 4
    done = real_node.stop()
    assert done.returncode == 0
    assert real_node.processes() == []
    assert not (real_node.root / "kennel.pid").exists()


def test_stopping_a_stopped_node_is_no_failure(make_node: MakeNode) -> None:
    done = make_node().stop()
    assert done.returncode == 0
    assert "not running" in done.stdout


def test_a_node_keeps_its_settings_and_data_over_a_restart(real_node: RealNode) -> None:
    assert real_node.post("create_table", schema="dev", table="dog", hash_attribute="id")[0] == 200
    assert real_node.post("insert", schema="dev", table="dog", records=[{"id": 1, "name": "Penny"}])[0] == 200
    before = real_node.supervisor().pid
    done = real_node.kennel("restart", "--ROOTPATH", str(real_node.root), "--LOGGING_LEVEL", "info")
    assert done.returncode == 0, done
    assert real_node.supervisor().pid != before
    assert real_node.post("search_by_hash", schema="dev", table="dog", hash_values=[1], get_attributes=["name"]) == (
        200,
        [{"name": "Penny"}],
    )
    assert "level: info" in (real_node.root / "kennel-config.yaml").read_text()


def test_the_command_line_beats_the_environment_and_both_are_written(make_node: MakeNode) -> None:
    node = make_node()
    environment = node.environment | {
        "OPERATIONSAPI_NETWORK_PORT": "1",
        "HTTP_THREADS": "3",
        "hdb_admin_password": "from the environment",
        "ROOTPATH": str(node.root),
    }
    given = node.first_parameters()
    at = given.index("--HDB_ADMIN_PASSWORD")
    done = node.kennel("start", *given[:at], *given[at + 2 :], environment=environment)
    assert done.returncode == 0, done
    written = yaml.safe_load((node.root / "kennel-config.yaml").read_text())
    assert written["operationsApi"]["network"]["port"] == node.port
    assert written["http"]["threads"] == 3
    body = json.dumps({"operation": "describe_all"}).encode()
    headers = {"Content-Type": "application/json", "Authorization": basic(password="from the environment")}
    assert node.request("POST", "/", body, headers)[0] == 200
    for process in node.processes():
        assert "hdb_admin_password" not in process.environ()


def test_a_bare_environment_and_a_stale_pid_file_as_at_boot(real_node: RealNode) -> None:
    """cron's @reboot: no ROOTPATH, no login environment, and what the power cut left behind."""
    for process in [real_node.supervisor(), *real_node.processes()]:
        process.kill()
    assert eventually(lambda: real_node.processes() == [])
    # A pid file that names a living process of somebody else, and sockets that nobody serves any more.
    (real_node.root / "kennel.pid").write_text(f"{os.getpid()}\n")
    listen(real_node.root / "operations-server").close()
    listen(real_node.root / "control.sock").close()
    bare = {name: value for name, value in real_node.environment.items() if name != "PATH"}
    done = real_node.kennel("start", environment=bare)
    assert done.returncode == 0, done
    assert "successfully started" in done.stdout
    assert real_node.answers()
    assert real_node.supervisor().pid != os.getpid()


def test_the_last_root_directory_is_remembered(real_node: RealNode) -> None:
    boot = Path(real_node.environment["HOME"]) / ".kennel" / "boot.yaml"
    assert yaml.safe_load(boot.read_text()) == {"rootPath": str(real_node.root)}
    assert real_node.kennel("status").returncode == 0
    assert real_node.kennel("status", environment=real_node.environment | {"ROOTPATH": "/nowhere"}).returncode == 3
    assert real_node.kennel("stop").returncode == 0
    assert real_node.kennel("status").returncode == 3


def test_without_a_home_variable_the_user_database_knows_it() -> None:
    code = "from frontend.cli.root import _home; print(_home())"
    done = subprocess.run([sys.executable, "-c", code], env={}, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == pwd.getpwuid(os.getuid()).pw_dir


def test_run_serves_in_the_foreground_until_it_is_told_to_stop(make_node: MakeNode) -> None:
    node = make_node()
    command = [*KENNEL, "run", "--ROOTPATH", str(node.root), *node.first_parameters()]
    for ending in (signal.SIGTERM, signal.SIGINT):
        process = subprocess.Popen(command, env=node.environment, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        lines = [process.stdout.readline(), process.stdout.readline()]
        assert "successfully started" in lines[0], lines
        assert lines[1].strip() == f"http://127.0.0.1:{node.port}"
        assert node.answers()
        process.send_signal(ending)
        assert process.wait(60) == 0
        assert node.processes() == []


# ------------------------------------------------------------------------------------------------ what cannot be done


@pytest.mark.parametrize("which", ["port", "functions_port", "hub_port"])
def test_a_port_in_use_is_told_in_one_line(make_node: MakeNode, which: str) -> None:
    node = make_node()
    port = getattr(node, which)
    with socket.create_server(("127.0.0.1", port)):
        done = node.first_start(*node.cluster_parameters())
    assert done.returncode == Exit.PORT
    assert done.stderr.startswith("kennel: ") and f"port {port} " in done.stderr and "in use" in done.stderr
    assert done.stderr.count("\n") == 1
    assert "successfully" not in done.stdout
    assert node.processes() == []
    assert node.start().returncode == 0, "once the port is free the same node starts"


def test_a_root_directory_that_cannot_be_used_is_told_in_one_line(make_node: MakeNode, tmp_path: Path) -> None:
    node = make_node()
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "harperdb-config.yaml").write_text("rootPath: /x\n")
    for place in ("file", "file/below", "foreign"):
        done = node.kennel("start", "--ROOTPATH", str(tmp_path / place))
        assert done.returncode == Exit.ROOT, done
        assert done.stderr.startswith("kennel: ") and done.stderr.count("\n") == 1, done.stderr
    assert (tmp_path / "file").read_text() == "in the way"
    assert [entry.name for entry in (tmp_path / "foreign").iterdir()] == ["harperdb-config.yaml"]


def test_a_root_directory_on_a_read_only_place_is_told(make_node: MakeNode) -> None:
    done = make_node().kennel("start", "--ROOTPATH", "/proc/kennel")
    assert done.returncode == Exit.ROOT
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--NO_SUCH_THING", "1"], "unknown parameter --no_such_thing"),
        (["--LOGGING_LEVEL", "loud"], "'logging.level' must be one of"),
        (["--LOGGING_LEVEL"], "needs a value"),
        (["LOGGING_LEVEL=info"], "not understood"),
        (["--CLUSTERING_ENABLED", "true", "--CLUSTERING_USER", "u"], "--CLUSTERING_NODENAME"),
        (["--CLUSTERING_ENABLED", "true", "--CLUSTERING_NODENAME", "n"], "--CLUSTERING_USER"),
        (
            ["--CLUSTERING_ENABLED", "true", "--CLUSTERING_USER", "u", "--CLUSTERING_NODENAME", "n"],
            "--CLUSTERING_PASSWORD",
        ),
        (["--CLUSTERING_PASSWORD", "p"], "--CLUSTERING_USER"),
        (
            [
                *("--CLUSTERING_ENABLED", "true", "--CLUSTERING_NODENAME", "n"),
                *("--CLUSTERING_USER", ADMIN, "--CLUSTERING_PASSWORD", "p"),
            ],
            f"user '{ADMIN}' exists already",
        ),
        (["--OPERATIONSAPI_NETWORK_HTTPS", "true", "--TLS_CERTIFICATE", "/nowhere.pem"], "does not exist"),
    ],
)
def test_a_bad_parameter_is_told_in_one_line(make_node: MakeNode, arguments: list[str], text: str) -> None:
    node = make_node()
    done = node.first_start(*arguments)
    assert done.returncode == Exit.USAGE
    assert text in done.stderr
    assert done.stderr.count("\n") == 1
    assert node.processes() == []


def test_a_broken_configuration_file_is_told_in_one_line(real_node: RealNode) -> None:
    real_node.stop()
    (real_node.root / "kennel-config.yaml").write_text("operationsApi: [\n")
    done = real_node.start()
    assert done.returncode == Exit.USAGE
    assert "kennel-config.yaml is not valid YAML" in done.stderr
    assert done.stderr.count("\n") == 1


# ------------------------------------------------------------------------------------------------------------ status


def test_status_of_a_node_without_a_cluster(real_node: RealNode) -> None:
    expected = {
        "kennel": {"status": "running", "pid": real_node.supervisor().pid},
        "clustering": {"status": "disabled"},
    }
    assert real_node.status() == (0, expected)
    as_json = real_node.kennel("status", "--ROOTPATH", str(real_node.root), "--json")
    assert json.loads(as_json.stdout) == expected
    as_json = real_node.kennel("status", "--json", "--ROOTPATH", str(real_node.root))
    assert json.loads(as_json.stdout) == expected


def test_status_of_a_stopped_and_of_no_node(real_node: RealNode, tmp_path: Path) -> None:
    real_node.stop()
    assert real_node.status() == (3, {"kennel": {"status": "stopped"}})
    done = real_node.kennel("status", "--ROOTPATH", str(tmp_path / "nowhere"))
    assert (done.returncode, yaml.safe_load(done.stdout)) == (3, {"kennel": {"status": "not installed"}})


# -------------------------------------------------------------------------------------------------------- operations


def test_operations_run_as_super_user_over_the_unix_socket(real_node: RealNode) -> None:
    def perform(*arguments: str) -> subprocess.CompletedProcess[str]:
        return real_node.kennel(*arguments, "--ROOTPATH", str(real_node.root))

    done = perform("create_table", "schema=dev", "table=dog", "hash_attribute=id")
    assert done.returncode == 0, done
    assert yaml.safe_load(done.stdout) == {"message": "table 'dev.dog' successfully created."}
    done = perform("insert", "schema=dev", "table=dog", 'records=[{"id": 1, "note": "a = b"}]')
    assert yaml.safe_load(done.stdout)["inserted_hashes"] == [1]
    done = perform("search_by_hash", "schema=dev", "table=dog", "hash_values=[1]", 'get_attributes=["note"]')
    assert yaml.safe_load(done.stdout) == [{"note": "a = b"}]
    done = perform("describe_table", "schema=dev", "table=dog", "json=true")
    described = json.loads(done.stdout)
    assert described["name"] == "dog"
    assert done.stdout.startswith('{\n  "')


def test_an_operation_that_is_refused_gives_its_text(real_node: RealNode) -> None:
    done = real_node.kennel("describe_table", "schema=dev", "table=dog")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "kennel: schema 'dev' does not exist\n"


def test_commands_that_do_not_exist_are_not_understood(real_node: RealNode) -> None:
    for _ in range(2):
        done = real_node.kennel("strat")
        assert done.returncode == Exit.USAGE
        assert 'The "strat" command is not understood.' in done.stderr
        real_node.stop()


def test_operations_need_a_running_node(make_node: MakeNode) -> None:
    done = make_node().kennel("describe_all")
    assert done.returncode == Exit.STOPPED
    assert done.stderr == "kennel: KennelDB must be running to perform this operation\n"


def test_version_and_help(make_node: MakeNode) -> None:
    node = make_node()
    assert node.kennel("version").stdout == f"{__version__}\n"
    for arguments in (["help"], ["--help"], []):
        done = node.kennel(*arguments)
        assert done.returncode == 0
        for command in ("start", "run", "stop", "restart", "status", "version", "help"):
            assert f"\n  {command} " in done.stdout
