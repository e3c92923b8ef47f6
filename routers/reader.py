"""One router, read: the commands a platform asks for, run over a transport, and what they say."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from routers import linux
from routers.model import Answer
from routers.transport import ErrorKind, RouterError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from routers.model import Command, NextHop, OracleFlow, Query, Snapshot
    from routers.platforms import Platform
    from routers.transport import Transport

TIMEOUT_SECONDS = 10.0
MAX_BYTES = 16 * 1024 * 1024


async def take_snapshot(
    router: str,
    platform: Platform,
    transport: Transport,
    query: Query,
    clock: Callable[[], float],
    *,
    timeout_seconds: float = TIMEOUT_SECONDS,
    max_bytes: int = MAX_BYTES,
) -> Snapshot:
    """Ask everything at once, then what the answers call for, and read what came back.

    Each command has `timeout_seconds`. `clock` gives seconds since the epoch; the snapshot bears the time
    before the first question. A command that could not be run costs its own part (`Snapshot.problems`).
    Raises RouterError when none of the first could be.
    """
    taken_at = clock()
    commands = platform.ask(query)
    results = await asyncio.gather(*(_run(transport, command, timeout_seconds, max_bytes) for command in commands))
    errors = [result for result in results if isinstance(result, RouterError)]
    if errors and len(errors) == len(commands):
        raise errors[0]
    answers = _answers(commands, results)
    more = platform.follow_up(query, answers)
    results = await asyncio.gather(*(_run(transport, command, timeout_seconds, max_bytes) for command in more))
    answers.update(_answers(more, results))
    return platform.read(router, query, answers, taken_at)


async def ask_oracle(
    transport: Transport,
    flows: Sequence[OracleFlow],
    *,
    timeout_seconds: float = TIMEOUT_SECONDS,
    max_bytes: int = MAX_BYTES,
) -> Mapping[OracleFlow, NextHop]:
    """Ask a Linux router which next hop each flow takes; flows that it does not forward are left out.

    Two commands for each source address, each within `timeout_seconds`.
    Raises RouterError when the router could not be asked, does not tell where flows enter it, or gave an
    answer that cannot be trusted.
    """
    found: dict[OracleFlow, NextHop] = {}
    for source in dict.fromkeys(flow.source for flow in flows):
        here = [flow for flow in flows if flow.source == source]
        way_back = await transport.run(linux.ingress_command(source), timeout_seconds, max_bytes)
        interface = linux.read_ingress(way_back)
        if interface is None:
            raise RouterError(f"the router has no route back to {source}", ErrorKind.REFUSED)
        answer = await transport.run(linux.oracle_command(here, interface), timeout_seconds, max_bytes)
        try:
            found.update(linux.read_oracle(answer, here))
        except ValueError as error:
            raise RouterError(f"the flow oracle's answer cannot be used: {error}", ErrorKind.REFUSED) from error
    return found


def _answers(commands: Sequence[Command], results: Sequence[Answer | RouterError]) -> dict[str, Answer]:
    return {
        command.name: Answer(error=str(result)) if isinstance(result, RouterError) else result
        for command, result in zip(commands, results, strict=True)
    }


async def _run(transport: Transport, command: Command, timeout_seconds: float, max_bytes: int) -> Answer | RouterError:
    try:
        return await transport.run(command, timeout_seconds, max_bytes)
    except RouterError as error:
        return error
