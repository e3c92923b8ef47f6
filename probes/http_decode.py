"""A compressed body, decompressed in slices, so that whoever reads it can stop in time: a bomb never goes off. Pure."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping

import brotli

from probes.failure import ProbeError
from probes.model import Failure

SLICE_BYTES = 65_536
_GZIP, _ZLIB, _RAW = 31, 15, -15  # zlib's wbits
_ZLIB_HEADER_BYTES = 2  # RFC 1950, section 2.2
_DEFLATED, _CHECK = 8, 31


class Decoder:
    """`compression` is gzip, br, deflate or identity; what is no such thing raises ProbeError (expectation)."""

    def __init__(self, compression: str) -> None:
        self._name = compression
        self._feed: Callable[[bytes], Iterator[bytes]] = {
            "br": self._brotli,
            "deflate": self._deflate,
            "gzip": self._gzip,
        }.get(compression, self._identity)
        self._held = b""
        self._zlib = zlib.decompressobj(_GZIP) if compression == "gzip" else None
        self._brotli_state = brotli.Decompressor() if compression == "br" else None

    def feed(self, data: bytes) -> Iterator[bytes]:
        """What `data` adds, slice by slice; take all of it before more is fed, or stop for good."""
        try:
            yield from self._feed(data)
        except (zlib.error, brotli.error) as error:
            raise ProbeError(Failure.EXPECTATION, f"body is not compressed with {self._name}") from error

    def end(self) -> None:
        """The body has ended."""
        whole: Mapping[str, Callable[[], bool]] = {
            "br": lambda: self._brotli_state is not None and bool(self._brotli_state.is_finished()),
            "deflate": lambda: self._zlib is not None and self._zlib.eof,
            "gzip": lambda: self._zlib is not None and self._zlib.eof,
        }
        if not whole.get(self._name, lambda: True)():
            raise ProbeError(Failure.EXPECTATION, f"body is no whole {self._name} stream")

    @staticmethod
    def _identity(data: bytes) -> Iterator[bytes]:
        yield data

    def _gzip(self, data: bytes) -> Iterator[bytes]:
        """RFC 1952, section 2.2: one member after another."""
        while data:
            if self._zlib is None or self._zlib.eof:
                self._zlib = zlib.decompressobj(_GZIP)
            yield from self._inflated(data)
            data = self._zlib.unused_data

    def _deflate(self, data: bytes) -> Iterator[bytes]:
        """In zlib's format, as RFC 9110 has it, or bare, as some servers send it and blackbox_exporter wants it."""
        if self._zlib is None:
            self._held += data
            if len(self._held) < _ZLIB_HEADER_BYTES:
                return
            first, second = self._held[0], self._held[1]
            wrapped = first & 0x0F == _DEFLATED and (first << 8 | second) % _CHECK == 0
            self._zlib = zlib.decompressobj(_ZLIB if wrapped else _RAW)
            data, self._held = self._held, b""
        if not self._zlib.eof:
            yield from self._inflated(data)

    def _inflated(self, data: bytes) -> Iterator[bytes]:
        state = self._zlib
        while state is not None and not state.eof:
            piece = state.decompress(data, SLICE_BYTES)
            data = state.unconsumed_tail
            if piece:
                yield piece
            elif not data:
                return

    def _brotli(self, data: bytes) -> Iterator[bytes]:
        state = self._brotli_state
        if state is None or state.is_finished():
            return
        piece = state.process(data, output_buffer_limit=SLICE_BYTES)
        while piece or not state.can_accept_more_data():
            yield piece
            piece = b"" if state.is_finished() else state.process(b"", output_buffer_limit=SLICE_BYTES)
