"""Content codings: bodies compressed for clients that ask for it, and decompressed within bounds."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Protocol

import brotli
import zstandard

from frontend.errors import Refused
from frontend.wire import qualities

_GZIP, _ZLIB = 31, 15  # zlib's names for its containers
_PIECE = 1 << 16  # bytes that are decompressed at a time
_ZSTD_WINDOW = 1 << 27  # bytes of memory that a frame may ask for
_BAD = "The body is not valid {}"


class Coder(Protocol):
    def compress(self, data: bytes, /) -> bytes: ...

    def flush(self) -> bytes: ...


class _Brotli:
    """brotli's compressor, with the names that the others have."""

    def __init__(self) -> None:
        self._compressor = brotli.Compressor(quality=4)

    def compress(self, data: bytes, /) -> bytes:
        return bytes(self._compressor.process(data))

    def flush(self) -> bytes:
        return bytes(self._compressor.finish())


_CODERS: dict[str, Callable[[], Coder]] = {  # the server's preference first
    "br": _Brotli,
    "zstd": lambda: zstandard.ZstdCompressor(level=3).compressobj(),
    "gzip": lambda: zlib.compressobj(4, wbits=_GZIP),
    "deflate": lambda: zlib.compressobj(4, wbits=_ZLIB),
}


@lru_cache(maxsize=256)
def negotiate(accept_encoding: str) -> str | None:
    """The content coding that an Accept-Encoding header likes best, None for none; ties go to br, then zstd."""
    wanted = dict(qualities(accept_encoding))
    otherwise = wanted.get("*", 0.0)
    best = max(_CODERS, key=lambda name: wanted.get(name, otherwise))
    return best if wanted.get(best, otherwise) > 0 else None


def compress(body: bytes, encoding: str) -> bytes:
    coder = _CODERS[encoding]()
    return coder.compress(body) + coder.flush()


def compressed(pieces: Iterable[bytes], encoding: str) -> Iterator[bytes]:
    """The same for a body in pieces."""
    coder = _CODERS[encoding]()
    for piece in pieces:
        if out := coder.compress(piece):
            yield out
    yield coder.flush()


# ---------------------------------------------------------------------------------------------------------- requests


def decompress(body: bytes, encoding: str, limit: int) -> bytes:
    """The content of a body; 413 when it exceeds `limit` bytes, 415 for an unknown coding, 400 when it is damaged."""
    for name in reversed([part.strip().lower() for part in encoding.split(",")]):
        if name in ("", "identity"):
            continue
        pieces = _DECODERS.get(name)
        if pieces is None:
            raise Refused(415, f"Unsupported Content-Encoding: {name}")
        body = _gathered(pieces(body), name, limit)
    return body


def _gathered(pieces: Iterator[bytes], name: str, limit: int) -> bytes:
    gathered = bytearray()
    try:
        for piece in pieces:
            gathered += piece
            if len(gathered) > limit:
                raise Refused(413, "Request body is too large")
    except (zlib.error, brotli.error, zstandard.ZstdError, EOFError):
        raise Refused(400, _BAD.format(name)) from None
    return bytes(gathered)


def _inflated(body: bytes, wbits: int) -> Iterator[bytes]:
    decoder = zlib.decompressobj(wbits)
    while not decoder.eof:
        piece = decoder.decompress(body, _PIECE)
        if not piece and not decoder.eof:
            raise EOFError
        yield piece
        body = decoder.unconsumed_tail
    if decoder.unused_data:
        raise EOFError


def _deflated(body: bytes) -> Iterator[bytes]:
    """What HTTP calls deflate has a zlib header; some clients send it without."""
    has_header = len(body) > 1 and body[0] & 15 == 8 and int.from_bytes(body[:2], "big") % 31 == 0
    return _inflated(body, _ZLIB if has_header else -_ZLIB)


def _brotli(body: bytes) -> Iterator[bytes]:
    decoder = brotli.Decompressor()
    piece = decoder.process(body, output_buffer_limit=_PIECE)
    while piece or not decoder.is_finished():
        if not piece:
            raise EOFError
        yield piece
        piece = b"" if decoder.is_finished() else decoder.process(b"", output_buffer_limit=_PIECE)


def _zstd(body: bytes) -> Iterator[bytes]:
    """Only a frame that tells its size is known to be cut off; what others lose, the format inside will miss."""
    size, read = zstandard.frame_content_size(body), 0
    with zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW).stream_reader(body) as reader:
        while piece := reader.read(_PIECE):
            read += len(piece)
            yield piece
    if size not in (-1, read):
        raise EOFError


_DECODERS: dict[str, Callable[[bytes], Iterator[bytes]]] = {
    "gzip": lambda body: _inflated(body, _GZIP),
    "x-gzip": lambda body: _inflated(body, _GZIP),
    "deflate": _deflated,
    "br": _brotli,
    "zstd": _zstd,
}
