"""The processes of a node: what they serve, how they stop, and how they come back from kill -9."""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from nodes import RealNode, eventually

from engine.configuration import change
from frontend import client

MakeNode = Callable[..., RealNode]


def insert(node: RealNode, key: int) -> bool:
    with contextlib.suppress(OSError, ValueError):  # a reply that was cut off is no acknowledgement
        return node.post("insert", schema="dev", table="dog", records=[{"id": key}])[0] == 200
    return False


def found(node: RealNode, keys: set[int]) -> set[int]:
    status, rows = node.post(
        "search_by_hash", schema="dev", table="dog", hash_values=sorted(keys), get_attributes=["id"]
    )
    assert status == 200, rows
    return {row["id"] for row in rows}


def trusting(node: RealNode) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=node.root / "keys" / "ca.pem")


# ----------------------------------------------------------------------------------------------------- what is served


def test_health_needs_no_credentials_on_either_port(real_node: RealNode) -> None:
    for port in (real_node.port, real_node.functions_port):
        assert real_node.request("GET", "/health", port=port) == (200, b"KennelDB is running.")


def test_the_functions_port_knows_no_operations(real_node: RealNode) -> None:
    for method, target in (("POST", "/"), ("GET", "/project/route")):
        status, body = real_node.request(method, target, port=real_node.functions_port)
        assert (status, json.loads(body)) == (404, {"error": "Not found"})


def test_functions_can_be_switched_off(make_node: MakeNode) -> None:
    node = make_node()
    node.start_or_fail("--CUSTOMFUNCTIONS_ENABLED", "false")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", node.functions_port))


def test_only_the_unix_socket_makes_a_super_user(real_node: RealNode) -> None:
    body = json.dumps({"operation": "describe_all"}).encode()
    assert client.request(real_node.root / "operations-server", "POST", "/", body)[0] == 200
    claims = {"Content-Type": "application/json", "kennel.local_socket": "1", "Kennel-Local-Socket": "1", "Host": ""}
    assert real_node.request("POST", "/", body, claims)[0] == 401


def test_all_interfaces_of_both_families_by_default(make_node: MakeNode) -> None:
    node = make_node()
    node.start_or_fail("--OPERATIONSAPI_NETWORK_HOST", "null")
    hosts = ["127.0.0.1", "127.0.0.2"] + (["::1"] if socket.has_dualstack_ipv6() else [])
    for host in hosts:
        assert node.request("GET", "/health", host=host)[0] == 200, host


def test_a_host_narrows_the_listener(real_node: RealNode) -> None:
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", real_node.port))


def test_https_with_the_certificates_of_the_installation(make_node: MakeNode) -> None:
    node = make_node()
    node.start_or_fail("--OPERATIONSAPI_NETWORK_HTTPS", "true", "--CUSTOMFUNCTIONS_NETWORK_HTTPS", "true")
    for port in (node.port, node.functions_port):
        for host in ("127.0.0.1", "localhost"):
            assert node.request("GET", "/health", port=port, tls=trusting(node), host=host)[0] == 200
        with pytest.raises(OSError):
            node.request("GET", "/health", port=port)
    assert node.kennel("describe_all").returncode == 0, "the Unix socket stays plain"
    assert node.status()[0] == 0


def test_https_for_the_operations_alone(make_node: MakeNode) -> None:
    node = make_node()
    node.start_or_fail("--OPERATIONSAPI_NETWORK_HTTPS", "true")
    assert node.request("GET", "/health", tls=trusting(node))[0] == 200
    assert node.request("GET", "/health", port=node.functions_port)[0] == 200


def test_a_certificate_that_is_none_is_told_at_the_start(make_node: MakeNode) -> None:
    node = make_node()
    node.start_or_fail()
    node.stop()
    (node.root / "keys" / "certificate.pem").write_text("nonsense")
    done = node.start("--OPERATIONSAPI_NETWORK_HTTPS", "true")
    assert done.returncode == 2
    assert "certificate.pem" in done.stderr and done.stderr.count("\n") == 1


def test_log_lines_have_the_members_of_read_log(real_node: RealNode) -> None:
    lines = [json.loads(line) for line in (real_node.root / "log" / "kennel.log").read_text().splitlines()]
    assert lines
    for line in lines:
        assert list(line) == ["timestamp", "thread", "level", "tags", "message"]
    assert any(line["level"] == "notify" and "starts in" in line["message"] for line in lines)


# ------------------------------------------------------------------------------------------------------------- stopping


def test_a_request_under_way_is_answered_before_the_node_stops(real_node: RealNode) -> None:
    body = json.dumps({"operation": "describe_all"}).encode()
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", real_node.port, timeout=30)) as connection:
        connection.putrequest("POST", "/")
        connection.putheader("Content-Type", "application/json")
        connection.putheader("Authorization", "Basic SERCX0FETUlOOnBhc3N3b3Jk")
        connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body[:5])
        # The server has taken up the request once it has read what is there.
        assert eventually(lambda: connection.sock is not None and unread(real_node) == 0)
        master = real_node.master()
        real_node.supervisor().send_signal(signal.SIGTERM)
        assert eventually(lambda: not listening(master.pid))
        connection.send(body[5:])
        assert connection.getresponse().status == 200
    assert eventually(lambda: real_node.processes() == [])


def unread(node: RealNode) -> int:
    """Connections to the node's port that wait in the kernel to be accepted."""
    backlog = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(
        int(row[4].split(":")[1], 16) for row in backlog if row[1].endswith(f":{node.port:04X}") and row[3] == "0A"
    )


def listening(pid: int) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return any(entry.status == psutil.CONN_LISTEN for entry in psutil.Process(pid).net_connections("tcp"))
    return False


def test_idle_connections_do_not_keep_a_node_from_stopping(real_node: RealNode) -> None:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", real_node.port, timeout=30)) as connection:
        connection.request("GET", "/health")
        assert connection.getresponse().read()
        assert real_node.stop().returncode == 0
    assert real_node.processes() == []


@pytest.mark.parametrize(
    "beginning",
    [b"POST / HTTP/1.1\r\nHost: x\r\n", b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"],
    ids=["head", "body"],
)
def test_slow_clients_do_not_keep_others_waiting(make_node: MakeNode, beginning: bytes) -> None:
    node = make_node("slow")
    timeouts = ("--OPERATIONSAPI_NETWORK_HEADERSTIMEOUT", "1500", "--OPERATIONSAPI_NETWORK_TIMEOUT", "1500")
    node.start_or_fail(*timeouts, "--HTTP_THREADS", "2", "--HTTP_WORKERS", "2")
    with contextlib.ExitStack() as stack:
        connections = [
            stack.enter_context(socket.create_connection(("127.0.0.1", node.port), timeout=60)) for _ in range(12)
        ]
        for connection in connections:
            connection.sendall(beginning)
        assert eventually(node.answers)
        for connection in connections:  # cut, after an answer or without one
            with contextlib.suppress(ConnectionResetError):
                while connection.recv(4096):
                    pass


def test_a_child_that_does_not_stop_is_killed_at_the_second_signal(real_node: RealNode) -> None:
    supervisor, master = real_node.supervisor(), real_node.master()
    real_node.node_process().suspend()
    supervisor.send_signal(signal.SIGTERM)
    assert eventually(lambda: not psutil.pid_exists(master.pid))
    supervisor.send_signal(signal.SIGTERM)
    assert eventually(lambda: real_node.processes() == [])


@pytest.mark.parametrize("service", ["http_workers", "clustering"])
def test_a_service_is_restarted_by_itself(real_node: RealNode, service: str) -> None:
    def pids() -> dict[str, int]:
        return {"http_workers": real_node.master().pid, "clustering": real_node.node_process().pid}

    before, supervisor = pids(), real_node.supervisor().pid
    assert real_node.post("set_configuration", logging_level="info")[0] == 200
    assert real_node.post("restart_service", service=service) == (200, {"message": f"Restarting {service}"})

    def renewed() -> bool:
        with contextlib.suppress(StopIteration, psutil.NoSuchProcess, ValueError):
            return pids()[service] != before[service]
        return False

    assert eventually(renewed) and eventually(real_node.answers) and eventually(real_node.node_process_answers)
    after = pids()
    assert {name for name in after if after[name] != before[name]} == {service}
    assert real_node.supervisor().pid == supervisor


def test_a_restart_by_signal_reads_the_configuration_anew(real_node: RealNode) -> None:
    former = real_node.node_process().pid
    change(real_node.root, {"operationsApi_network_keepAliveTimeout": 7000, "http_workers": 1})
    supervisor = real_node.supervisor()
    supervisor.send_signal(signal.SIGUSR1)
    assert eventually(lambda: not psutil.pid_exists(former) and real_node.answers())
    assert real_node.supervisor().pid == supervisor.pid
    assert len(real_node.workers()) == 1


# ------------------------------------------------------------------------------------------------------------- kill -9


class Load:
    """Threads that insert one record after the other, whatever happens to the node, and keep what was acknowledged."""

    def __init__(self, node: RealNode, threads: int = 3) -> None:
        self.acknowledged: set[int] = set()
        self._node = node
        self._ending = threading.Event()
        self._threads = [threading.Thread(target=self._insert, args=(n * 1_000_000,)) for n in range(threads)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join()

    def grows(self) -> bool:
        """Whether inserts are acknowledged again: a few more than now, so that none of them was under way before."""
        goal = len(self.acknowledged) + 10
        return eventually(lambda: len(self.acknowledged) >= goal)

    def _insert(self, key: int) -> None:
        while not self._ending.is_set():
            key += 1
            if insert(self._node, key):
                self.acknowledged.add(key)


@pytest.mark.parametrize("victim", ["worker", "master", "node process", "supervisor", "all"])
def test_a_node_comes_back_from_the_kill_of_any_process(real_node: RealNode, victim: str) -> None:
    """Nothing acknowledged is lost, and the supervisor (or `kennel start`) brings back what was killed."""
    assert real_node.post("create_table", schema="dev", table="dog", hash_attribute="id")[0] == 200
    choose = {
        "worker": lambda: real_node.workers()[:1],
        "master": lambda: [real_node.master()],
        "node process": lambda: [real_node.node_process()],
        "supervisor": lambda: [real_node.supervisor()],
        "all": lambda: [real_node.supervisor(), *real_node.processes()],
    }[victim]
    with Load(real_node) as load:
        assert load.grows()
        victims = choose()
        for process in victims:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        assert eventually(lambda: not any(psutil.pid_exists(process.pid) for process in victims))
        if victim in ("supervisor", "all"):
            assert eventually(lambda: real_node.processes() == []), "the kernel takes the children along"
            assert real_node.status()[0] == 3
            assert real_node.start().returncode == 0
        assert load.grows()
        assert eventually(real_node.node_process_answers)
    assert found(real_node, load.acknowledged) == load.acknowledged


def test_a_node_process_that_keeps_dying_does_not_take_the_api_along(real_node: RealNode) -> None:
    for _ in range(4):
        process = real_node.node_process()
        process.kill()
        assert eventually(lambda process=process: not psutil.pid_exists(process.pid) and real_node.answers())
        assert eventually(real_node.node_process_answers)
    assert real_node.status()[0] == 0
