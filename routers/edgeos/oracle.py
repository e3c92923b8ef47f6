"""EdgeOS's flow oracle: `ip route get VIP from SRC iif IN`, which knows no ports. Pure.

It answers for a pair of addresses, so it is believed only where the kernel spreads flows by addresses alone:
fib_multipath_hash_policy is 0, or the kernel is too old to have that setting (it came with Linux 4.12). Kernels
from 3.6 to 4.3 pick a next hop for each packet (4.4 brought back the hash, commit 0e884c78ee19), which the vendor
calls round-robin (from EdgeOS 1.7 on, "EdgeRouter - Equal-Cost Multi-Path (ECMP) Routing"): each pair is asked
several times, and one answer that differs tells it. Neither the release nor the kernel's number is asked.
IPv6 hashes ports in those kernels (rt6_info_hash_nhsfn), so flows over it are left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from routers.edgeos.kernel import after_word, next_hop_of
from routers.jsontext import as_address
from routers.linux import INTERFACE
from routers.model import IPV4, Answer, Command, NextHop, OracleFlow, canonical, family_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ORACLE = "flow oracle"
WAY_BACK = "route to the prober"
POLICY = "multipath hash policy"
TIMES = 8
"""How often each pair is asked: over two next hops picked at random all answers agree once in 128."""

_POLICY_FILE = "/proc/sys/net/ipv4/fib_multipath_hash_policy"
_BATCH = ("ip", "-force", "-batch", "-")


def prepare(flows: Sequence[OracleFlow]) -> tuple[Command, ...]:
    """Which interface leads back to each source, and what is hashed. Raises ValueError for text that is no address."""
    ways = (Command(f"{WAY_BACK} {source}", ("ip", "route", "get", source)) for source in _sources(flows))
    return (*ways, Command(POLICY, ("cat", _POLICY_FILE)))


def ask(flows: Sequence[OracleFlow], answers: Mapping[str, Answer]) -> tuple[Command, ...]:
    """The questions about each pair of addresses. Raises ValueError where the answers would say nothing."""
    _must_hash_addresses(answers.get(POLICY, Answer()))
    if any(flow.vrf not in (None, "default") for flow in flows):
        raise ValueError("EdgeOS has no VRFs")
    lines = []
    for source, vip in _pairs(flows):
        interface = _interface(answers.get(f"{WAY_BACK} {source}", Answer()))
        if interface is not None:
            lines += [f"route get {vip} from {source} iif {interface}\n"] * TIMES
    if not lines and not _pairs(flows):
        raise ValueError("this router hashes the ports of IPv6 flows, and its ip command asks without them")
    if not lines:
        raise ValueError(f"the router has no route back to {', '.join(_sources(flows))}")
    return (Command(ORACLE, _BATCH, stdin="".join(lines)),)


def read(flows: Sequence[OracleFlow], answers: Mapping[str, Answer]) -> dict[OracleFlow, NextHop]:
    """Flow -> next hop. Raises ValueError when one pair of addresses was given several next hops."""
    answer = answers.get(ORACLE, Answer())
    told: dict[tuple[str, str], set[NextHop]] = {}
    for line in answer.stdout.splitlines():
        words = line.split()
        source = after_word("from", words)
        if line[:1].isspace() or not words or source is None:
            continue
        pair = (as_address(source) or "", as_address(words[0]) or "")
        hop = next_hop_of(words)
        if hop.address is not None:
            told.setdefault(pair, set()).add(hop)
    several = next((pair for pair, hops in told.items() if len(hops) > 1), None)
    if several is not None:
        raise ValueError(
            f"the router picks another next hop each time it is asked about {several[1]} from {several[0]}: "
            "it balances packets, not flows"
        )
    return {flow: hop for flow in flows for hop in told.get((canonical(flow.source), canonical(flow.destination)), ())}


def _sources(flows: Sequence[OracleFlow]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(source for source in (canonical(flow.source) for flow in flows) if _is_v4(source)))


def _pairs(flows: Sequence[OracleFlow]) -> tuple[tuple[str, str], ...]:
    pairs = ((canonical(flow.source), canonical(flow.destination)) for flow in flows)
    return tuple(dict.fromkeys(pair for pair in pairs if all(map(_is_v4, pair))))


def _is_v4(address: str) -> bool:
    return family_of(address) == IPV4


def _must_hash_addresses(answer: Answer) -> None:
    """Raises ValueError when the kernel hashes more than addresses, or it is not known what it hashes."""
    value = answer.stdout.strip()
    if value == "0" or (answer.exit_status and "No such file" in answer.stderr):
        return
    if value in {"1", "2", "3"}:
        raise ValueError(f"fib_multipath_hash_policy is {value}, and the router's ip command asks without ports")
    raise ValueError("what the router hashes flows on could not be read")


def _interface(answer: Answer) -> str | None:
    """The interface towards the prober, None when the router does not tell."""
    name = after_word("dev", answer.stdout.partition("\n")[0].split())
    return name if name and INTERFACE.fullmatch(name) else None
