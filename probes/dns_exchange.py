"""A DNS message out, the one that answers it in: over a datagram socket or a stream that is open already."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import TypeVar

from probes import datagram
from probes.dns_message import MessageError, StrayError
from probes.failure import ProbeError
from probes.model import Failure

MOST_STRAYS = 64  # datagrams that answer something else
_MUCH = 4096  # bytes of a message that may take long to read: not on the event loop
_LENGTH = struct.Struct(">H")  # RFC 1035, section 4.2.2

_Answer = TypeVar("_Answer")
Reader = Callable[[bytes, bytes], _Answer]
"""Reads a message (the first argument) that should answer a query; raises MessageError."""


async def by_datagram(sock: socket.socket, asked: bytes, read: Reader[_Answer], note: Callable[[str], None]) -> _Answer:
    """Send once, and pass over what answers something else. Raises ProbeError and OSError."""
    datagram.send(sock, asked)
    for _ in range(MOST_STRAYS):
        data = await datagram.receive(sock)
        if data is None:
            note("a datagram from somewhere else")
            continue
        try:
            return await _read(data, asked, read)
        except StrayError as error:
            note(f"passed over: {error}")
        except MessageError as error:
            raise ProbeError(Failure.PROTOCOL, str(error)) from error
    raise ProbeError(Failure.PROTOCOL, f"{MOST_STRAYS} datagrams, none of which answers the query")


async def by_stream(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, asked: bytes, read: Reader[_Answer]
) -> _Answer:
    """One message of at most 64 KiB each way. Raises ProbeError and OSError."""
    writer.write(_LENGTH.pack(len(asked)) + asked)
    try:
        (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
        data = await reader.readexactly(length)
        return await _read(data, asked, read)
    except asyncio.IncompleteReadError as error:
        seen = f" after {len(error.partial)} bytes" if error.partial else ""
        raise ProbeError(Failure.CLOSED, f"server closed before its answer was whole{seen}") from error
    except MessageError as error:
        raise ProbeError(Failure.PROTOCOL, str(error)) from error


async def _read(data: bytes, asked: bytes, read: Reader[_Answer]) -> _Answer:
    if len(data) <= _MUCH:
        return read(data, asked)
    return await asyncio.to_thread(read, data, asked)
