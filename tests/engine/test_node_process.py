"""`python -m engine.node`: a node without HTTP, as a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from nodes import eventually, free_ports

import engine
from engine import control
from engine.configuration import Configuration
from engine.process import Exit
from frontend import work

Run = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """Starts node processes on one root directory; none of them outlives the test."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str, path: Path | None = None) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "engine.node", "--root", str(tmp_path / "node"), *arguments]
        searched = os.pathsep.join([*([str(path)] if path else []), *sys.path])
        environment = {**os.environ, "PYTHONPATH": searched}
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def answers(root: Path, process: subprocess.Popen[str]) -> bool:
    try:
        return control.call(root, "status", timeout=5)["pid"] == process.pid
    except engine.Unreachable:
        return False


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_it_makes_the_root_serves_the_control_socket_and_stops_cleanly(
    tmp_path: Path, run: Run, ending: signal.Signals
) -> None:
    root = tmp_path / "node"
    process = run("--LOGGING_LEVEL", "info")
    assert eventually(lambda: answers(root, process))
    status = control.call(root, "status")
    assert status["version"] == engine.__version__ and status["uptime"] >= 0
    assert Configuration.load(root).get("logging.level") == "info"
    process.send_signal(ending)
    assert process.wait(60) == Exit.OK
    assert not (root / "control.sock").exists()


def test_embedded_processes_work_beside_it(tmp_path: Path, run: Run) -> None:
    root = tmp_path / "node"
    process = run()
    assert eventually(lambda: answers(root, process))
    with engine.open_node(root, create=False) as node:
        node.create_table("dev", "dog").insert([{"id": 1}])
    process.send_signal(signal.SIGKILL)
    process.wait(60)
    again = run()
    assert eventually(lambda: answers(root, again)), "the dead one's socket and lock are no obstacle"
    with engine.open_node(root, create=False) as node:
        assert node.table("dev", "dog").get(1) is not None


def test_a_root_has_one_node_process(tmp_path: Path, run: Run) -> None:
    first = run()
    assert eventually(lambda: answers(tmp_path / "node", first))
    second = run()
    _, said = second.communicate(timeout=60)
    assert second.returncode == Exit.HELD
    assert said == f"kennel: another process has {tmp_path / 'node'} in its hands\n"
    assert answers(tmp_path / "node", first)


def test_it_dies_with_the_parent_that_it_is_told_of(tmp_path: Path, run: Run) -> None:
    orphan = run("--parent", str(os.getppid()))
    assert orphan.wait(60) == -signal.SIGKILL
    child = run("--parent", str(os.getpid()))
    assert eventually(lambda: answers(tmp_path / "node", child))


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["--NO_SUCH_THING", "1"], Exit.USAGE),
        (["--LOGGING_LEVEL", "loud"], Exit.USAGE),
        (["--CLUSTERING_ENABLED", "true"], Exit.USAGE),
    ],
)
def test_what_it_cannot_do_it_says_in_one_line(run: Run, arguments: list[str], status: Exit) -> None:
    process = run(*arguments)
    _, said = process.communicate(timeout=60)
    assert process.returncode == status
    assert said.startswith("kennel: ") and said.count("\n") == 1


def test_a_cluster_needs_no_http(tmp_path: Path, run: Run) -> None:
    from engine.replication import keys

    root = tmp_path / "node"
    (root / "keys").mkdir(parents=True)
    keys.derive_cluster_keys(root, "cluster_user", "password")
    (port,) = free_ports(1)
    process = run(
        *("--CLUSTERING_ENABLED", "true", "--CLUSTERING_NODENAME", "lone", "--CLUSTERING_USER", "cluster_user"),
        *("--CLUSTERING_HUBSERVER_CLUSTER_NETWORK_HOST", "127.0.0.1"),
        *("--CLUSTERING_HUBSERVER_CLUSTER_NETWORK_PORT", str(port)),
    )
    assert eventually(lambda: answers(root, process))
    assert control.call(root, "cluster_status") == {"node_name": "lone", "is_enabled": True, "connections": []}


def test_alone_it_runs_the_parts_that_installed_distributions_name(tmp_path: Path, run: Run) -> None:
    """As those of jobs are named by our own distribution."""
    metadata = tmp_path / "site" / "shelter-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: shelter\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[kennel.parts]\nbarking = shelter_part\n")
    (tmp_path / "site" / "shelter_part.py").write_text(
        "class Part:\n"
        "    def operations(self): return {'bark': lambda body: body['times'] * 'wow '}\n"
        "    def close(self): pass\n"
        "def start(node): return Part()\n"
    )
    process = run(path=tmp_path / "site")
    assert eventually(lambda: answers(tmp_path / "node", process))
    assert control.call(tmp_path / "node", "bark", {"times": 2}) == "wow wow "


def test_jobs_are_such_a_part() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["kennel.parts"] == {"jobs": work.__name__}
    assert callable(work.start)
