"""One router, read: the commands a platform asks for, run over a transport, and what they say."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from routers import shell
from routers.model import Answer
from routers.plain import plain, unless_killed
from routers.transport import ErrorKind, RouterError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from routers.model import Command, NextHop, OracleFlow, Query, Snapshot
    from routers.platforms import Oracle, Platform
    from routers.transport import Transport

TIMEOUT_SECONDS = 10.0
MAX_BYTES = 16 * 1024 * 1024
_HOPELESS = {
    ErrorKind.UNREACHABLE,
    ErrorKind.HOST_KEY,
    ErrorKind.CERTIFICATE,
    ErrorKind.AUTHENTICATION,
    ErrorKind.KEY_FILE,
}


@dataclass(slots=True)
class Record:
    """What a router was asked and what it said, kept as it came; `taken_at` is the snapshot's."""

    query: Query | None = None
    taken_at: float = 0.0
    commands: list[Command] = field(default_factory=list)
    answers: dict[str, Answer] = field(default_factory=dict)
    flows: list[OracleFlow] = field(default_factory=list)
    oracle_commands: list[Command] = field(default_factory=list)
    oracle_answers: dict[str, Answer] = field(default_factory=dict)


async def take_snapshot(
    router: str,
    platform: Platform,
    transport: Transport,
    query: Query,
    clock: Callable[[], float],
    *,
    timeout_seconds: float = TIMEOUT_SECONDS,
    max_bytes: int = MAX_BYTES,
    record: Record | None = None,
) -> Snapshot:
    """Ask everything at once, then what the answers call for, and read what came back.

    Where the platform has a shell the commands go to one; one by one where that fails. Each way has half of
    `timeout_seconds`. `clock` gives seconds since the epoch; the snapshot bears the time before the first
    question. A command that could not be run costs its own part (`Snapshot.problems`). Raises RouterError when
    none of the first could be. A `record` keeps what was said.
    """
    taken_at = clock()
    commands = platform.ask(query)
    kept = record or Record()
    kept.query, kept.taken_at = query, taken_at
    answers, errors = await _ask(transport, commands, timeout_seconds, max_bytes, has_shell=platform.HAS_SHELL)
    if errors and len(errors) == len(commands):
        raise errors[0]
    more = platform.follow_up(query, answers)
    answers |= (await _ask(transport, more, timeout_seconds, max_bytes, has_shell=platform.HAS_SHELL))[0]
    kept.commands, kept.answers = [*commands, *more], answers
    return replace(platform.read(router, query, answers, taken_at), vrf=query.vrf)


async def ask_oracle(
    oracle: Oracle,
    transport: Transport,
    flows: Sequence[OracleFlow],
    *,
    has_shell: bool,
    timeout_seconds: float = TIMEOUT_SECONDS,
    max_bytes: int = MAX_BYTES,
    record: Record | None = None,
) -> Mapping[OracleFlow, NextHop]:
    """Ask a router which next hop each flow takes; flows that it does not forward are left out.

    Raises RouterError when the router could not be asked, does not tell where flows enter it, or gave an
    answer that cannot be trusted.
    """

    async def answered(commands: Sequence[Command]) -> dict[str, Answer]:
        answers, errors = await _ask(transport, commands, timeout_seconds, max_bytes, has_shell=has_shell)
        if errors and len(errors) == len(commands):
            raise errors[0]
        kept.oracle_commands += commands
        kept.oracle_answers |= answers
        return answers

    kept = record or Record()
    kept.flows += flows
    if not flows:
        return {}
    try:
        before = await answered(oracle.prepare(flows))
        return oracle.read(flows, before | await answered(oracle.ask(flows, before)))
    except ValueError as error:
        raise RouterError(f"the flow oracle's answer cannot be used: {error}", ErrorKind.REFUSED) from error


async def _ask(
    transport: Transport,
    commands: Sequence[Command],
    timeout_seconds: float,
    max_bytes: int,
    *,
    has_shell: bool,
) -> tuple[dict[str, Answer], list[RouterError]]:
    """The answer to each command by name, and the errors of those that could not be run."""
    if has_shell and len(commands) > 1:
        token = secrets.token_hex(16)
        answer = await _run(transport, shell.together(commands, token), timeout_seconds / 2, max_bytes)
        if isinstance(answer, RouterError):
            if answer.kind in _HOPELESS:
                return _by_name(commands, [answer] * len(commands)), [answer] * len(commands)
        elif (answers := shell.apart(answer, commands, token)) is not None:
            return {name: unless_killed(one) for name, one in answers.items()}, []
        elif shell.began(answer, token):  # asked one by one nobody would see where an answer is cut
            cut = RouterError(f"the answer to {shell.NAME!r} was cut off in the middle", ErrorKind.CLOSED)
            return _by_name(commands, [cut] * len(commands)), [cut] * len(commands)
    results: list[Answer | RouterError] = await asyncio.gather(
        *(_run(transport, command, timeout_seconds / 2, max_bytes) for command in commands)
    )
    if has_shell:
        results = [one if isinstance(one, RouterError) else unless_killed(one) for one in results]
    return _by_name(commands, results), [result for result in results if isinstance(result, RouterError)]


def _by_name(commands: Sequence[Command], results: Sequence[Answer | RouterError]) -> dict[str, Answer]:
    return {
        command.name: Answer(error=str(result)) if isinstance(result, RouterError) else result
        for command, result in zip(commands, results, strict=True)
    }


async def _run(transport: Transport, command: Command, timeout_seconds: float, max_bytes: int) -> Answer | RouterError:
    try:
        return plain(await transport.run(command, timeout_seconds, max_bytes))
    except RouterError as error:
        return error
