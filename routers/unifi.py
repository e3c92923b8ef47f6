"""UniFi gateways (UniFi OS) over SSH: FRR underneath, asked and read as such, on a kernel that may know no multipath.

Kernels of some models are built without CONFIG_IP_ROUTE_MULTIPATH. Zebra marks a route with several next hops as
rejected there (`B>r`, in JSON `failed`), and the FIB holds nothing (metallb/metallb issue 1139, unifi-common issue
289). The gateway's controller writes FRR's configuration from the file that is uploaded to it.
"""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from routers import frr, vtysh
from routers.jsontext import as_dict, as_list, as_prefix, parse
from routers.linux import oracle as linux_oracle
from routers.model import IPV4, Answer, Command, Query, Route, Snapshot, canonical, family_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from routers.model import RemedyFacts, RemedyKind

PLATFORM = "unifi"
TRANSPORTS = frozenset({"ssh", "exec"})
HAS_SHELL = True
ORACLE = linux_oracle

_KERNEL = "kernel multipath support"
_OPTION = "CONFIG_IP_ROUTE_MULTIPATH"
_PER_PROCESS = 64
_COMMENT = (
    "# UniFi: put these lines into the FRR configuration that is uploaded in Settings > Routing > BGP.\n"
    "# Typed into vtysh they work at once, and are lost when the gateway is provisioned again:"
)


def ask(query: Query) -> tuple[Command, ...]:
    """The commands whose answers `read` understands. Raises ValueError for text that is no address."""
    vrf = _vrf(query)
    questions = [_question(vip, vrf) for vip in dict.fromkeys(map(canonical, query.vips))]
    zebra = (
        vtysh.command(f"vtysh routing table {start // _PER_PROCESS + 1}", questions[start : start + _PER_PROCESS])
        for start in range(0, len(questions), _PER_PROCESS)
    )
    frrs = frr.ask(query)  # which refuses what can be no VRF's name
    config = Command(_KERNEL, ("sh", "-c", f"zcat /proc/config.gz | grep -w {_OPTION}"))
    return (*frrs, *zebra, config)


def follow_up(query: Query, answers: Mapping[str, Answer]) -> tuple[Command, ...]:
    """What FRR and its kernel may have to be asked once more."""
    return frr.follow_up(query, answers)


def read(router: str, query: Query, answers: Mapping[str, Answer], taken_at: float) -> Snapshot:
    """The snapshot as far as the answers can be read; never raises, see `Snapshot.problems`.

    Routes that the kernel would not take say so in `unused_reason`.
    """
    taken = frr.read(router, query, answers, taken_at)
    bodies = vtysh.bodies(answers, [])
    built_with = _built_with(answers.get(_KERNEL, Answer()).stdout)
    rejected = {vip for vip in taken.routes if _is_rejected(bodies.get(_question(vip, _vrf(query)), ""), vip)}
    routes = {
        vip: _rejected(found, family_of(vip), built_with) if vip in rejected else found
        for vip, found in taken.routes.items()
    }
    return replace(taken, platform=PLATFORM, routes=MappingProxyType(routes))


def remedy(kind: RemedyKind, facts: RemedyFacts) -> str | None:
    """The lines of the uploaded configuration, as typed into vtysh; they are not written to a file that is not kept."""
    text = frr.remedy(kind, facts)
    return None if text is None else "\n".join((_COMMENT, text.removesuffix("\nwrite memory")))


def _vrf(query: Query) -> str:
    return "" if query.vrf in (None, "default") else f"vrf {query.vrf} "


def _question(vip: str, vrf: str) -> str:
    return f"show {'ip' if family_of(vip) == IPV4 else 'ipv6'} route {vrf}{vip} json"


def _is_rejected(text: str, vip: str) -> bool:
    """Whether zebra could not bring the BGP route that it selected into the kernel."""
    try:
        document = as_dict(parse(text))
    except ValueError:
        return False
    own = as_prefix(vip)
    return any(
        as_dict(entry).get("protocol") == "bgp"
        and as_dict(entry).get("selected") is True
        and as_dict(entry).get("failed") is True
        for name, entries in document.items()
        if (prefix := as_prefix(name)) and own is not None and own.network_address in prefix
        for entry in as_list(entries)
    )


def _built_with(config: str) -> bool | None:
    """Whether the kernel was built with multipath; None where it does not tell."""
    if f"{_OPTION}=y" in config:
        return True
    return False if f"# {_OPTION} is not set" in config else None


def _rejected(routes: tuple[Route, ...], family: int, built_with: bool | None) -> tuple[Route, ...]:
    """The routes with the reason; the kernel's option is about IPv4 (net/ipv4/Kconfig)."""
    several = family == IPV4 and sum(1 for route in routes if route.used) > 1
    why = "the kernel refused it (zebra marks it as rejected)"
    if several and built_with is False:
        why = f"the kernel refused it: it is built without {_OPTION}, so it takes no route with several next hops"
    elif several and built_with is None:
        why = f"the kernel refused it, as kernels without {_OPTION} refuse every route with several next hops"
    return tuple(replace(route, unused_reason=why) if route.used else route for route in routes)
