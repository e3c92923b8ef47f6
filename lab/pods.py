"""Every HTTP pod of a lab in one process: `python -m lab.pods SPECIFICATION`.

The specification is JSON: [{"namespace": ..., "node": ..., "port": ...}, ...]. The command returns when
all of them listen (IPv4 and IPv6); the server goes on in the background.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from pathlib import Path

from lab import netns


def _listen(namespace: str, port: int) -> socket.socket:
    with netns.entered(namespace):
        return socket.create_server(
            ("::", port), family=socket.AF_INET6, backlog=512, dualstack_ipv6=True, reuse_port=False
        )


class _Pod:
    def __init__(self, node: str) -> None:
        self._node = node

    def _answer(self, *, close: bool, head: bool) -> bytes:
        body = f"served by {self._node}\n"
        headers = (
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
            f"Content-Length: {len(body)}\r\nX-Node: {self._node}\r\n"
            f"Connection: {'close' if close else 'keep-alive'}\r\n\r\n"
        )
        return (headers + ("" if head else body)).encode()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            close = False
            while not close:
                request = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
                lowered = request.lower()
                close = b"\r\nconnection: close\r\n" in lowered or b" http/1.0\r\n" in lowered
                writer.write(self._answer(close=close, head=request.startswith(b"HEAD ")))
                await writer.drain()
        except (OSError, EOFError, TimeoutError, asyncio.LimitOverrunError):
            pass  # the client has gone or makes no sense; either way there is nobody to answer
        finally:
            writer.close()


async def _serve(listeners: list[tuple[str, socket.socket]]) -> None:
    servers = [await asyncio.start_server(_Pod(node).serve, sock=sock) for node, sock in listeners]
    await asyncio.gather(*(server.serve_forever() for server in servers))


def main() -> None:
    specification = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    listeners = [(pod["node"], _listen(pod["namespace"], pod["port"])) for pod in specification]
    if os.fork():
        os._exit(0)
    os.setsid()
    log = os.open(Path(sys.argv[1]).with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for descriptor, target in ((nothing, 0), (log, 1), (log, 2)):  # whoever started it waits for their end
        os.dup2(descriptor, target)
    asyncio.run(_serve(listeners))


if __name__ == "__main__":
    main()
