from __future__ import annotations

from dataclasses import replace

import pytest

from routers import bird, edgeos, frr, iosxe, junos
from routers.model import IPV6, RemedyFacts, RemedyKind

FACTS = RemedyFacts(local_as=64512, neighbor="10.0.0.13", remote_as=64512, paths=3)
FACTS6 = RemedyFacts(local_as=64512, neighbor="2001:db8::13", remote_as=64513, family=IPV6, internal=False)
UNKNOWN = RemedyFacts(local_as=None, neighbor="10.0.0.13")


@pytest.mark.parametrize(
    ("kind", "facts", "line"),
    [
        (RemedyKind.NEIGHBOR_MISSING, FACTS, "set protocols bgp 64512 neighbor 10.0.0.13 remote-as 64512"),
        (
            RemedyKind.NEIGHBOR_MISSING,
            FACTS6,
            "set protocols bgp 64512 neighbor 2001:db8::13 address-family ipv6-unicast",
        ),
        (
            RemedyKind.NEIGHBOR_MISSING,
            UNKNOWN,
            "set protocols bgp <AS of the router> neighbor 10.0.0.13 remote-as <AS of the node>",
        ),
        (RemedyKind.SESSION_SHUTDOWN, FACTS, "delete protocols bgp 64512 neighbor 10.0.0.13 shutdown"),
        (RemedyKind.PATH_LIMIT, FACTS, "set protocols bgp 64512 maximum-paths ibgp 3"),
        (RemedyKind.PATH_LIMIT, FACTS6, "set protocols bgp 64512 maximum-paths ebgp <number of nodes>"),
    ],
)
def test_edgeos(kind: RemedyKind, facts: RemedyFacts, line: str) -> None:
    lines = (edgeos.remedy(kind, facts) or "").splitlines()
    assert line in lines
    assert (lines[0], lines[-1]) == ("configure", "commit ; save")


@pytest.mark.parametrize(
    ("kind", "facts", "lines"),
    [
        (
            RemedyKind.NEIGHBOR_MISSING,
            FACTS,
            ["neighbor 10.0.0.13 remote-as 64512", "address-family ipv4 unicast", "neighbor 10.0.0.13 activate"],
        ),
        (
            RemedyKind.NEIGHBOR_MISSING,
            FACTS6,
            ["neighbor 2001:db8::13 remote-as 64513", "address-family ipv6 unicast", "neighbor 2001:db8::13 activate"],
        ),
        (RemedyKind.SESSION_SHUTDOWN, FACTS, ["no neighbor 10.0.0.13 shutdown"]),
        (RemedyKind.SESSION_WRONG_AS, UNKNOWN, ["neighbor 10.0.0.13 remote-as <AS of the node>"]),
        (RemedyKind.PATH_LIMIT, FACTS, ["address-family ipv4 unicast", "maximum-paths ibgp 3"]),
        (RemedyKind.PATH_LIMIT, FACTS6, ["address-family ipv6 unicast", "maximum-paths <number of nodes>"]),
        (RemedyKind.AS_PATH_RELAX, FACTS, ["bgp bestpath as-path multipath-relax"]),
    ],
)
def test_frr(kind: RemedyKind, facts: RemedyFacts, lines: list[str]) -> None:
    typed = (frr.remedy(kind, facts) or "").splitlines()
    local = facts.local_as or "<AS of the router>"
    assert typed == ["configure terminal", f"router bgp {local}", *lines, "end", "write memory"]


def test_frr_in_a_vrf() -> None:
    facts = replace(FACTS, vrf="blue")
    assert "router bgp 64512 vrf blue" in (frr.remedy(RemedyKind.NEIGHBOR_MISSING, facts) or "").splitlines()
    assert "router bgp 64512" in (frr.remedy(RemedyKind.PATH_LIMIT, replace(FACTS, vrf="default")) or "").splitlines()


def test_frr_over_an_interface() -> None:
    facts = replace(FACTS, neighbor="e3")
    assert "neighbor e3 interface remote-as 64512" in (frr.remedy(RemedyKind.SESSION_WRONG_AS, facts) or "")
    assert "no neighbor e3 shutdown" in (frr.remedy(RemedyKind.SESSION_SHUTDOWN, facts) or "")


def test_bird_in_a_vrf() -> None:
    assert '  vrf "blue";\n' in (bird.remedy(RemedyKind.NEIGHBOR_MISSING, replace(FACTS, vrf="blue")) or "")


def test_bird() -> None:
    assert bird.remedy(RemedyKind.NEIGHBOR_MISSING, FACTS) == (
        "protocol bgp <name> {\n  local as 64512;\n  neighbor 10.0.0.13 as 64512;\n"
        "  ipv4 { import all; export none; };\n}\nbirdc configure"
    )
    assert "merge paths on limit 3;" in (bird.remedy(RemedyKind.PATH_LIMIT, FACTS) or "")
    assert bird.remedy(RemedyKind.AS_PATH_RELAX, FACTS) is None


@pytest.mark.parametrize("kind", list(RemedyKind))
def test_every_fault_of_frr_and_edgeos_has_a_remedy(kind: RemedyKind) -> None:
    assert frr.remedy(kind, UNKNOWN)
    # EdgeOS is older than RFC 8212 and lets routes in without a policy.
    assert bool(edgeos.remedy(kind, UNKNOWN)) is (kind is not RemedyKind.POLICY_MISSING)


def test_a_policy_is_made_before_it_is_named() -> None:
    typed = (frr.remedy(RemedyKind.POLICY_MISSING, FACTS) or "").splitlines()
    assert typed.index("route-map FROM-NODES permit 10") < typed.index("router bgp 64512")
    assert "neighbor 10.0.0.13 route-map FROM-NODES in" in typed


@pytest.mark.parametrize(
    ("facts", "line"),
    [
        (FACTS, "clear bgp ipv4 unicast 10.0.0.13 soft in"),
        (FACTS6, "clear bgp ipv6 unicast 2001:db8::13 soft in"),
        (replace(FACTS, vrf="blue"), "clear ip bgp vrf blue ipv4 unicast 10.0.0.13 soft in"),
    ],
)
def test_ios_looks_again_at_what_its_policy_dropped(facts: RemedyFacts, line: str) -> None:
    assert (iosxe.remedy(RemedyKind.ROUTE_FILTERED, facts) or "").splitlines()[-3:] == ["end", line, "write memory"]
    assert "clear" not in (iosxe.remedy(RemedyKind.NEIGHBOR_MISSING, facts) or "")


def test_junos_keeps_ipv4_where_ipv6_is_asked_of_the_same_neighbor() -> None:
    typed = (junos.remedy(RemedyKind.NEIGHBOR_MISSING, replace(FACTS, family=IPV6)) or "").splitlines()
    assert [line.split(" family ")[1] for line in typed if " family " in line] == ["inet unicast", "inet6 unicast"]
    typed = (junos.remedy(RemedyKind.NEIGHBOR_MISSING, FACTS6) or "").splitlines()
    assert [line.split(" family ")[1] for line in typed if " family " in line] == ["inet6 unicast"]


def test_ios_finds_a_session_in_a_vrf_by_the_family_of_its_address() -> None:
    facts = replace(FACTS, family=IPV6, vrf="blue")
    typed = (iosxe.remedy(RemedyKind.SESSION_SHUTDOWN, facts) or "").splitlines()
    assert typed[2:4] == ["address-family ipv4 vrf blue", "no neighbor 10.0.0.13 shutdown"]
    typed = (iosxe.remedy(RemedyKind.NEIGHBOR_MISSING, facts) or "").splitlines()
    assert typed[2:4] == ["address-family ipv4 vrf blue", "neighbor 10.0.0.13 remote-as 64512"]
    assert typed[4:6] == ["address-family ipv6 vrf blue", "neighbor 10.0.0.13 activate"]
