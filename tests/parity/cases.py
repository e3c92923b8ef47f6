"""What is compared: one target, one module, on both sides."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.parity.certificates import Certificates, certificates
from tests.parity.compare import surprises
from tests.parity.sides import Blackbox, blackbox, ours
from tests.probes.servers import closed_port

Server = Callable[[Certificates], AbstractAsyncContextManager[int]]
"""Serves until its end, and yields the port."""


@dataclass(frozen=True)
class Case:
    """`settings` are those of the module's section of the prober; `success` is what both sides must say.

    `server` empty: nobody listens. {port} in the target stands for the server's.
    """

    name: str
    server: str
    success: bool
    settings: Mapping[str, Any]
    target: str = "http://127.0.0.1:{port}/"
    prober: str = "http"
    timeout: str = "3s"

    def module(self) -> dict[str, Any]:
        own = {"preferred_ip_protocol": "ip4", **self.settings}
        return {"prober": self.prober, "timeout": self.timeout, self.prober: own}


@dataclass(frozen=True)
class Group:
    """Cases whose modules one running blackbox_exporter knows."""

    cases: Mapping[str, Case]
    servers: Mapping[str, Server]
    certificates: Certificates
    theirs: Blackbox

    async def compare(self, name: str) -> None:
        """Probe on both sides, and fail for what differs."""
        case, module = self.cases[name], _module(list(self.cases), name)
        async with AsyncExitStack() as stack:
            port = closed_port()
            if case.server:
                port = await stack.enter_async_context(self.servers[case.server](self.certificates))
            us = await stack.enter_async_context(ours({module: case.module()}))
            target = case.target.format(port=port)
            before, after = await self.theirs.probe(module, target), await us.probe(module, target)
        assert before.value("probe_success") == case.success, before.text
        unexplained = surprises(name, before, after)
        assert not unexplained, f"{unexplained}\n{before.text}\n{after.text}"


@contextmanager
def group(directory: Path, cases: Callable[[Path], Sequence[Case]], servers: Mapping[str, Server]) -> Iterator[Group]:
    """Make the certificates and start blackbox_exporter."""
    found = certificates(directory)
    by_name = {case.name: case for case in cases(directory)}
    modules = {_module(list(by_name), name): case.module() for name, case in by_name.items()}
    with blackbox(directory, modules) as running:
        yield Group(by_name, servers, found, running)


def _module(names: Sequence[str], name: str) -> str:
    return f"m{names.index(name)}"
