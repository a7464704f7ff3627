"""The processes that answer requests: gunicorn's threaded workers, which do not wait for slow clients for ever.

A thread that reads a request is lost to all others until it has it, so a client has `headersTimeout` for the head of a
request and `timeout` for all of it; then its connection is cut. How long an answer may take is not decided here.
"""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from typing import Any

from gunicorn.workers.gthread import ThreadWorker

from frontend.app import RECEIVED

LOOKS_APART = 0.5  # seconds between two looks at who is too slow


class Worker(ThreadWorker):
    """`app.patience` (frontend.web.Patience) says how long clients may take."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._patience = self.app.patience
        self._due: dict[Any, float] = {}  # connections whose request is being read, and until when it must be here
        self._here = threading.local()  # its `connection` is the one that the thread serves

    def init_process(self) -> None:
        threading.Thread(target=self._cut_slow_ones, name="slow clients", daemon=True).start()
        super().init_process()

    def load_wsgi(self) -> None:
        super().load_wsgi()
        application: Any = self.wsgi  # type: ignore[has-type]

        def telling(environ: dict[str, Any], start_response: Any) -> Any:
            connection = self._here.connection
            environ[RECEIVED] = lambda: self._due.pop(connection, None)
            return application(environ, start_response)

        self.wsgi = telling

    def handle(self, conn: Any) -> Any:
        """Everything about one request; called in a thread of the pool."""
        self._due[conn] = time.monotonic() + self._patience.head
        try:
            return super().handle(conn)
        finally:
            self._due.pop(conn, None)

    def handle_request(self, req: Any, conn: Any) -> Any:
        """What follows the head. Nobody but the application knows when the body is here."""
        self._here.connection = conn
        self._due[conn] = time.monotonic() + self._patience.whole
        return super().handle_request(req, conn)

    def _cut_slow_ones(self) -> None:
        while True:
            time.sleep(LOOKS_APART)
            now = time.monotonic()
            for conn, due in list(self._due.items()):
                if due <= now:
                    with suppress(OSError):  # it has just gone
                        socket.socket.shutdown(conn.sock, socket.SHUT_RD)
