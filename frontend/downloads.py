"""Files from URLs that clients name.

Unless `bulk.urlPrivateNetworks` is set, addresses of this machine and of private networks are refused: a request must
not reach through the server what its sender cannot. The address that was judged is the one that is connected to, so a
name that resolves differently a moment later gains nothing; redirects are judged anew.
"""

from __future__ import annotations

import http.client
import io
import ipaddress
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, BinaryIO, Protocol
from urllib.parse import SplitResult, urljoin, urlsplit

import engine
from frontend.errors import Refused

MAX_BYTES = 1 << 30
TIMEOUT = 30.0  # seconds for each step of the connection
MAX_REDIRECTS = 5
CONTENT_TYPES = ("text/csv", "text/plain", "application/octet-stream", "application/vnd.ms-excel")

_PORTS = {"http": 80, "https": 443}
_REDIRECTS = (301, 302, 303, 307, 308)


def is_url(text: str) -> bool:
    """Whether a text is a URL that `opened` can be tried with."""
    try:
        parts = urlsplit(text)
        return parts.scheme in _PORTS and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


@contextmanager
def opened(node: engine.Node, url: str, headers: Mapping[str, str]) -> Iterator[BinaryIO]:
    """The file behind a URL; 400 with the reason why there is none. `headers` go to the host of the URL only."""
    private = bool(node.configuration.get("bulk.urlPrivateNetworks"))
    place, host = url, urlsplit(url).hostname
    for _ in range(MAX_REDIRECTS + 1):
        parts = urlsplit(place)
        connection = _connected(url, parts, private)
        try:
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            connection.request("GET", target, headers=dict(headers) if parts.hostname == host else {})
            response = connection.getresponse()
            location = response.getheader("Location")
            if response.status not in _REDIRECTS or location is None:
                yield _file(url, response)
                return
            place = urljoin(place, location)
        except (OSError, http.client.HTTPException) as problem:
            raise _failed(url, f"message: {type(problem).__name__}") from problem
        finally:
            connection.close()
        if not is_url(place):
            raise _failed(url, "message: it leads to no valid url")
    raise _failed(url, "message: too many redirects")


def _connected(url: str, parts: SplitResult, private: bool) -> http.client.HTTPConnection:
    host, port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
    try:
        address = _address(host, port)
        if not private and not ipaddress.ip_address(address[0]).is_global:
            raise _failed(url, "message: addresses of private networks are not allowed")
        connected = socket.create_connection(address, TIMEOUT)
        if parts.scheme == "https":
            connected = ssl.create_default_context().wrap_socket(connected, server_hostname=host)
    except (OSError, UnicodeError) as problem:
        raise _failed(url, f"message: {type(problem).__name__}") from problem
    connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT)
    connection.sock = connected
    return connection


def _address(host: str, port: int) -> tuple[str, int]:
    address: Any = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][4]
    return str(address[0]), port


def _file(url: str, response: http.client.HTTPResponse) -> BinaryIO:
    if response.status != 200:
        raise _failed(url, f"status code: {response.status}, message: {response.reason}")
    kind = response.getheader("Content-Type", "").partition(";")[0].strip().lower()
    if kind not in CONTENT_TYPES:
        raise _failed(url, f"unsupported content type: {kind}")
    return io.BufferedReader(Limited(response))


class Readable(Protocol):
    def readinto(self, buffer: Any, /) -> int: ...


class Limited(io.RawIOBase):
    """The body of a response, which fails rather than go on for ever."""

    def __init__(self, response: Readable) -> None:
        self._response = response
        self._left = MAX_BYTES

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        count = self._response.readinto(buffer)
        self._left -= count
        if self._left < 0:
            raise OSError("the file is too large")
        return count


def _failed(url: str, reason: str) -> Refused:
    return Refused(400, f"CSV Load failed from URL: {url}, {reason}")
