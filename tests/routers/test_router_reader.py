from __future__ import annotations

import asyncio
import re
import shlex
from collections.abc import Mapping

import pytest

from routers import linux, shell
from routers.linux import oracle as linux_oracle
from routers.model import Answer, Command, NextHop, OracleFlow
from routers.platforms import PLATFORMS
from routers.reader import ask_oracle, take_snapshot
from routers.transport import ErrorKind, RouterError
from tests.routers.captured import QUERY, TAKEN_AT, VIP, VIP6, answers, snapshot

FLOW = OracleFlow("192.0.2.2", 20000, VIP, 22)
WAY_IN, ASKED = f"{linux_oracle.INGRESS} 192.0.2.2", f"{linux_oracle.ORACLE} 192.0.2.2"
WAY_BACK = Answer('[{"dst":"192.0.2.2","dev":"cli0"}]\n')
RULES = Answer(
    '[{"priority":0,"src":"all","table":"local"},{"priority":32766,"src":"all","table":"main"},'
    '{"priority":32767,"src":"all","table":"default"}]'
)
GONE = RouterError("10.0.0.1 port 22 closed the connection: no reason given", ErrorKind.CLOSED)


class Canned:
    """Answers by command name; an exception is raised. Without a shell, unless `has_shell`."""

    def __init__(self, canned: Mapping[str, Answer | RouterError], *, has_shell: bool = False) -> None:
        rules = dict.fromkeys(linux.RULES.values(), RULES)
        self.canned = {shell.NAME: Answer(stderr="sh: not found", exit_status=127), **rules, **canned}
        self.asked: list[Command] = []
        self.has_shell = has_shell

    async def run(self, command: Command, timeout_seconds: float, max_bytes: int) -> Answer:
        assert timeout_seconds > 0
        assert max_bytes > 0
        self.asked.append(command)
        await asyncio.sleep(0)
        if command.name == shell.NAME and self.has_shell:
            return self._from_shell(command)
        answer = self.canned[command.name]
        if isinstance(answer, RouterError):
            raise answer
        return answer

    def _from_shell(self, command: Command) -> Answer:
        """What a shell would print: the canned answers of the commands in the script, each in its marks."""
        assert command.stdin is not None
        token = command.stdin.split()[2]
        stdout = stderr = ""
        asked = rf"^(?!echo|\{{|status|exit).+(?:</dev/null|<<'{token}')$"
        for number, line in enumerate(re.findall(asked, command.stdin, re.MULTILINE)):
            answer = next(
                self.canned[one.name] for one in PLATFORMS["frr"].ask(QUERY) if line.startswith(shlex.join(one.argv))
            )
            assert isinstance(answer, Answer)
            stdout += f"\n{token} begin {number}\n{answer.stdout}\n{token} end {number} {answer.exit_status}\n"
            stderr += f"\n{token} begin {number}\n{answer.stderr}"
        return Answer(stdout, stderr)

    async def close(self) -> None: ...


@pytest.mark.parametrize("platform", sorted(PLATFORMS))
async def test_a_snapshot_is_what_the_platform_reads(platform: str) -> None:
    transport = Canned(answers(platform, "healthy"))
    taken = await take_snapshot("edge", PLATFORMS[platform], transport, QUERY, lambda: TAKEN_AT)
    assert taken == snapshot(platform, "healthy")
    single = [command.name for command in transport.asked if command.name != shell.NAME]
    assert len(set(single)) == len(single)


async def test_one_shell_is_enough() -> None:
    transport = Canned(answers("frr", "healthy"), has_shell=True)
    taken = await take_snapshot("edge", PLATFORMS["frr"], transport, QUERY, lambda: TAKEN_AT)
    assert taken == snapshot("frr", "healthy")
    assert [command.name for command in transport.asked] == [shell.NAME]


@pytest.mark.parametrize("kind", [ErrorKind.UNREACHABLE, ErrorKind.HOST_KEY, ErrorKind.AUTHENTICATION])
async def test_what_no_other_way_can_mend_is_tried_once(kind: ErrorKind) -> None:
    transport = Canned({shell.NAME: RouterError("no", kind)})
    with pytest.raises(RouterError, match="no"):
        await take_snapshot("edge", PLATFORMS["frr"], transport, QUERY, lambda: TAKEN_AT)
    assert [command.name for command in transport.asked] == [shell.NAME]


async def test_a_command_that_cannot_be_run_costs_its_part() -> None:
    transport = Canned(answers("frr", "healthy") | {linux.FIB: GONE})
    taken = await take_snapshot("edge", PLATFORMS["frr"], transport, QUERY, lambda: TAKEN_AT)
    assert taken.sessions
    assert list(taken.fib) == [VIP6]
    assert taken.problems == (f"{linux.FIB}: {GONE}",)


async def test_a_follow_up_that_fails_costs_its_part() -> None:
    transport = Canned(answers("bird", "healthy") | {"bird exports k6 6.1": GONE})
    taken = await take_snapshot("edge", PLATFORMS["bird"], transport, QUERY, lambda: TAKEN_AT)
    assert taken.problems == (f"bird exports k6 6.1: {GONE}",)
    assert set(taken.routes) == {VIP, VIP6}
    assert [command.name for command in transport.asked[-2:]] == ["bird exports k4 4.1", "bird exports k6 6.1"]


async def test_nothing_follows_where_nothing_was_answered() -> None:
    transport = Canned(answers("bird", "healthy") | {"bird protocols": GONE})
    taken = await take_snapshot("edge", PLATFORMS["bird"], transport, QUERY, lambda: TAKEN_AT)
    assert not [command.name for command in transport.asked if "exports" in command.name]
    assert taken.routes == {}, "routes whose protocols are not known are nobody's"
    assert set(taken.fib) == {VIP, VIP6}


async def test_a_router_that_cannot_be_asked_at_all() -> None:
    transport = Canned(dict.fromkeys([*answers("frr", "healthy"), *linux.RULES.values()], GONE))
    with pytest.raises(RouterError) as caught:
        await take_snapshot("edge", PLATFORMS["frr"], transport, QUERY, lambda: TAKEN_AT)
    assert caught.value is GONE


async def test_the_oracle_is_asked_for_the_way_in_first() -> None:
    row = f'[{{"dst":"{VIP}","from":"192.0.2.2","gateway":"10.0.0.13","dev":"br0"}}]\n'
    transport = Canned({WAY_IN: WAY_BACK, ASKED: Answer(row)})
    assert await ask_oracle(linux_oracle, transport, [FLOW], has_shell=True) == {FLOW: NextHop("10.0.0.13", "br0")}
    assert "iif cli0" in (transport.asked[1].stdin or "")
    assert await ask_oracle(linux_oracle, transport, [], has_shell=True) == {}


@pytest.mark.parametrize(
    ("canned", "message"),
    [
        ({WAY_IN: Answer(exit_status=2)}, "the router has no route back to 192.0.2.2"),
        ({WAY_IN: WAY_BACK, ASKED: Answer()}, "the flow oracle's answer cannot be used: 0 answers"),
        ({WAY_IN: GONE}, "closed the connection"),
    ],
)
async def test_an_oracle_that_cannot_be_believed(canned: dict[str, Answer | RouterError], message: str) -> None:
    with pytest.raises(RouterError, match=message):
        await ask_oracle(linux_oracle, Canned(canned), [FLOW], has_shell=True)


def test_many_questions_are_spread_over_few_processes() -> None:
    vips = tuple(f"203.0.113.{n}" for n in range(200))
    nodes = tuple(f"10.0.1.{n}" for n in range(100))
    for platform in PLATFORMS.values():
        asked = platform.ask(type(QUERY)(vips, nodes))
        assert len(asked) < 20
        assert all(len(argument) < 4096 for command in asked for argument in command.argv)
        assert all(sum(map(len, command.argv)) < 32_768 for command in asked)
