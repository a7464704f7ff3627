"""The log of a node: one JSON object a line in `<root>/log/kennel.log`, written by all of its processes.

A line has the members that `read_log` gives: timestamp (ISO 8601, UTC, milliseconds), thread (process name and pid),
level (one of `engine.settings.LOG_LEVELS`), tags and message. Lines are appended whole, and a file that was moved away
is opened anew, so that the node itself (engine.rotation) or any tool may rotate it.
"""

from __future__ import annotations

import json
import logging
import logging.handlers
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

from engine.configuration import Configuration

FILE_NAME = "kennel.log"

TRACE, NOTIFY = 5, 60
_LEVELS = {
    "trace": TRACE,
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
    "fatal": logging.CRITICAL,
    "notify": NOTIFY,
}
_NAMES = {number: name for name, number in _LEVELS.items()}


class JsonLines(logging.Formatter):
    """Formats a record as one line of JSON."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC)
        message = record.getMessage()
        if record.exc_info:
            message = f"{message}\n{self.formatException(record.exc_info)}"
        line = {
            "timestamp": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "thread": f"{self._process}/{os.getpid()}",
            "level": _NAMES.get(record.levelno, "info"),
            "tags": [] if record.name == "root" else [record.name],
            "message": message,
        }
        return json.dumps(line, ensure_ascii=False)


def configure(configuration: Configuration, process: str, *, foreground: bool = False) -> list[logging.Handler]:
    """Send everything this process logs to the node's log, as `logging.*` says, and give the handlers that do it.

    `process` is the name by which its lines are known. A process in the foreground shows its lines on stderr as well.
    """
    handlers: list[logging.Handler] = []
    if configuration.get("logging.file"):
        directory = Path(configuration.get("logging.root"))
        directory.mkdir(mode=0o700, exist_ok=True)
        handlers.append(logging.handlers.WatchedFileHandler(directory / FILE_NAME, encoding="utf-8"))
    if configuration.get("logging.stdStreams") or foreground:
        handlers.append(logging.StreamHandler(sys.stderr))
    formatter = JsonLines(process)
    for handler in handlers:
        handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = handlers
    root.setLevel(_LEVELS[configuration.get("logging.level")])
    return handlers
