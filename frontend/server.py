"""The supervisor: the one process that `kennel start` leaves behind, parent of all the others.

It holds the pid file, owns the listening sockets, starts the node process and the HTTP service, and starts again
whatever dies. SIGTERM, SIGINT and SIGHUP stop the node: the HTTP service first, so that requests under way still find
everything else; a second signal cuts that short. SIGUSR1 restarts the node with its configuration read anew. The
supervisor ends when every process of the node has ended; if it is killed itself, the kernel takes its children along.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import engine
from engine import logs
from engine.configuration import INSTALL_ONLY, Configuration
from engine.process import CannotStart, Exit, explanation, status_of
from frontend import client, listeners, pidfile
from frontend.listeners import FIRST_DESCRIPTOR, Listener

STOP, RESTART = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP}), signal.SIGUSR1
_AWAITED = STOP | {RESTART, signal.SIGCHLD}

STOP_PATIENCE = 25.0  # seconds for a child to end after SIGTERM; then it is killed. Requests get 20 (frontend.web)
FIRST_DELAY, LAST_DELAY = 0.05, 5.0  # seconds before a child is started again, doubling from death to death
SETTLED = 10.0  # seconds after which a child's death counts as the first again
FIRST_PAUSE, LAST_PAUSE = 0.01, 0.25  # seconds between two looks whether the node answers

log = logging.getLogger("frontend.server")  # not __name__, which is __main__ in the process itself


@dataclass
class Child:
    """A process of the node: how it is started, and how its life goes. pid 0: not running; then `due` says when."""

    name: str
    command: list[str]
    descriptors: list[int]
    pid: int = 0
    started: float = 0.0
    due: float = 0.0
    delay: float = FIRST_DELAY

    def start(self, environment: dict[str, str]) -> None:
        """Start it as leader of a process group of its own: Ctrl-C is for the supervisor to hear."""
        passed_on = [
            (os.POSIX_SPAWN_DUP2, descriptor, FIRST_DESCRIPTOR + number)
            for number, descriptor in enumerate(self.descriptors)
        ]
        self.started = time.monotonic()
        self.pid = os.posix_spawn(
            sys.executable,
            self.command,
            environment,
            file_actions=passed_on,
            setpgroup=0,
            setsigmask=[],
            setsigdef=[*_AWAITED, signal.SIGPIPE],
        )

    def reap(self) -> int | None:
        """The exit code when it has ended (negative: the signal), None while it runs or when it does not."""
        if not self.pid:
            return None
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        if not pid:
            return None
        self.pid = 0
        self.postpone()
        return os.waitstatus_to_exitcode(status)

    def postpone(self) -> None:
        """Have it wait before it is started again, twice as long as the last time unless it has lived for a while."""
        now = time.monotonic()
        self.delay = FIRST_DELAY if now - self.started > SETTLED else min(self.delay * 2, LAST_DELAY)
        self.due = now + self.delay


class Supervisor:
    """One life of a node, from opening its ports to the end of its last process.

    `on_ready` is called, in a thread, once the node answers. A child that ends before that has its exit status passed
    on as `status`: the node could not be started.
    """

    def __init__(self, configuration: Configuration, on_ready: Callable[[], None]) -> None:
        self.status: int = Exit.OK
        self._configuration = configuration
        self._listeners = listeners.open_all(configuration)
        self._children = node_processes(configuration, self._listeners)
        self._on_ready = on_ready
        self._environment = environment()
        self._ready = threading.Event()
        self._ending = threading.Event()
        self._patience = STOP_PATIENCE

    def serve(self) -> signal.Signals | None:
        """Run the node; gives the signal that ended it, or None when it could not be started (see `status`)."""
        prober = threading.Thread(target=self._probe, name="probe", daemon=True)
        prober.start()
        try:
            received = self._watch()
        finally:
            self._ending.set()
            for child in reversed(self._children):
                self._stop(child)
            listeners.close_all(self._listeners)
            prober.join()
        return received

    def _watch(self) -> signal.Signals | None:
        while True:
            for child in self._children:
                if not child.pid and child.due <= time.monotonic():
                    self._start(child)
            received = self._wait()
            if received in STOP or received is RESTART:
                return received
            for child in self._children:
                code = child.reap()
                if code is not None and not self._survives(child, code):
                    return None

    def _start(self, child: Child) -> None:
        try:
            child.start(self._environment)
        except OSError as error:  # no memory, or no processes left, or Python is just being upgraded
            log.error("%s cannot be started: %s", child.name, error)
            child.postpone()

    def _wait(self) -> signal.Signals | None:
        """The next signal, or None when it is time to start a child."""
        due = [child.due for child in self._children if not child.pid]
        timeout = max(0.0, min(due) - time.monotonic()) if due else 3600
        received = signal.sigtimedwait(_AWAITED, timeout)
        return signal.Signals(received.si_signo) if received is not None else None

    def _survives(self, child: Child, code: int) -> bool:
        """Whether the node goes on after the death of a child."""
        if not self._ready.is_set():
            known = code > 0 and code in list(Exit)
            self.status = code if known else Exit.FAILED
            log.critical("%s ended with %d before the node answered; giving up", child.name, code)
            return False
        level = logging.ERROR if code else logging.INFO  # who ends well was asked to, by restart_service
        log.log(level, "%s ended with %d; starting it again in %.2f s", child.name, code, child.delay)
        return True

    def _stop(self, child: Child) -> None:
        if not child.pid:
            return
        os.kill(child.pid, signal.SIGTERM)
        deadline = time.monotonic() + self._patience
        while child.reap() is None:
            received = signal.sigtimedwait(_AWAITED, max(0.0, deadline - time.monotonic()))
            if received is not None and received.si_signo in STOP:
                self._patience = 0.0  # for this child and those to come
            if received is None or not self._patience:
                log.error("%s has not stopped yet; killing it", child.name)
                os.kill(child.pid, signal.SIGKILL)
                deadline = time.monotonic() + STOP_PATIENCE

    def _probe(self) -> None:
        pause = FIRST_PAUSE
        while not self._ending.wait(pause):
            if client.answers(self._configuration):
                self._ready.set()
                self._on_ready()
                return
            pause = min(pause * 1.5, LAST_PAUSE)


def run(root: Path, on_ready: Callable[[], None], *, foreground: bool = False) -> int:
    """Be the supervisor of the node in `root` until it is stopped; gives the exit status.

    Signals are blocked from here on in this process. CannotStart, RootError or InvalidRequest when the node cannot
    even be tried: it runs already, a port is taken, or the configuration is not acceptable.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, _AWAITED)
    os.umask(0o077)
    _raise_file_limit()
    with pidfile.held(root):
        while True:
            configuration = Configuration.load(root)
            logs.configure(configuration, "main", foreground=foreground)
            supervisor = Supervisor(configuration, on_ready)
            log.log(logs.NOTIFY, "KennelDB %s starts in %s", engine.__version__, root)
            received = supervisor.serve()
            log.log(logs.NOTIFY, "KennelDB %s stopped", engine.__version__)
            if received is not RESTART:
                return supervisor.status


def node_processes(configuration: Configuration, opened: list[Listener]) -> list[Child]:
    """The children of a node in the order of their start; they are stopped in the opposite order."""
    common = ["--root", str(configuration.root), "--parent", str(os.getpid())]
    roles = ",".join(str(listener.role) for listener in opened)
    descriptors = [listener.socket.fileno() for listener in opened]
    return [
        Child("the node process", [*python("engine.node"), *common, "--extension", "frontend.work"], []),
        Child("the HTTP service", [*python("frontend.web"), *common, "--listeners", roles], descriptors),
    ]


def python(module: str) -> list[str]:
    """The command that runs a module of ours; -P, so that the working directory cannot stand in for it."""
    return [sys.executable, "-P", "-m", module]


def environment() -> dict[str, str]:
    """This process's environment without secrets of the installation, and without what only concerns this process."""
    own = {"NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"}
    return {name: value for name, value in os.environ.items() if name not in own and name.lower() not in INSTALL_ONLY}


def _raise_file_limit() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def main(arguments: list[str] | None = None) -> int:
    """The supervisor in the background, as `kennel start` spawns it: writes a byte to a descriptor once it is ready."""
    parser = argparse.ArgumentParser(prog="python -m frontend.server")
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--report", type=int, required=True)
    given = parser.parse_args(arguments)
    os.chdir("/")
    os.set_inheritable(given.report, False)
    _close_all_but(given.report)
    report = [given.report]

    def on_ready() -> None:
        if report:  # later restarts have nobody to tell
            _write_and_close(report.pop())

    try:
        return run(given.root, on_ready)
    except (engine.KennelError, CannotStart) as error:
        print(f"kennel: {explanation(error)}", file=sys.stderr)
        return status_of(error)


def _close_all_but(descriptor: int) -> None:
    """Close what a careless parent let us inherit; whoever waits for the end of a pipe would wait for the node's."""
    os.closerange(3, descriptor)
    os.closerange(descriptor + 1, resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def _write_and_close(descriptor: int) -> None:
    with contextlib.suppress(BrokenPipeError):  # whoever started this node does not wait any more
        os.write(descriptor, b"1")
    os.close(descriptor)


if __name__ == "__main__":
    sys.exit(main())
