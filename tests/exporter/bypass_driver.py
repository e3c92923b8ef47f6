"""A process with a Bypass in it, for tests: one JSON command a line on standard input, one JSON answer each."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import sys
from typing import Any

from exporter.bypass import Bypass


def fetch(vip: str, port: int, mark: int) -> str:
    """Which node serves, what banner comes, or why nothing does."""
    with socket.socket(socket.AF_INET6 if ":" in vip else socket.AF_INET) as sock:
        sock.settimeout(1.5)
        if mark:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, struct.pack("=I", mark))
        try:
            sock.connect((vip, port))
            if port == 80:
                sock.sendall(b"HEAD / HTTP/1.0\r\n\r\n")
            answer = sock.makefile("rb").read() if port == 80 else sock.recv(7)
        except OSError as error:
            return f"{type(error).__name__} {error.errno}"
    return (answer.partition(b"X-Node: ")[2].partition(b"\r\n")[0] if port == 80 else answer).decode()


async def main() -> None:
    bypass = Bypass()

    async def answer(command: str, *arguments: Any) -> Any:
        match command:
            case "install":
                marks = await bypass.install(*arguments)
                janitor = bypass._janitor and bypass._janitor._process.pid
                return [dict(marks), bypass.why, janitor]
            case "close":
                return await bypass.close()
            case _:
                return fetch(*arguments)

    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        sys.stdout.write(json.dumps(await answer(*json.loads(line))) + "\n")
        sys.stdout.flush()
    transport.close()


asyncio.run(main())
