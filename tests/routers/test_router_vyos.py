"""VyOS: FRR's own captures of the lab, with what a VyOS says of its release beside them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from routers import vyos
from routers.model import IPV6, Answer, RemedyFacts, RemedyKind
from tests.routers.captured import QUERY, TAKEN_AT, answers, capture, scenarios, snapshot
from tests.routers.concluded import judged, verdicts

RELEASE = "release of VyOS"
FACTS = RemedyFacts(local_as=64512, neighbor="10.0.0.13", remote_as=64512, paths=3)
FACTS6 = RemedyFacts(local_as=64512, neighbor="2001:db8::13", remote_as=64513, family=IPV6, internal=False)


@pytest.mark.parametrize("scenario", [one for one in scenarios("frr") if one != "ipv6_link_local"])
def test_what_frr_says_is_read_as_on_any_other_router(scenario: str) -> None:
    query = capture("frr", scenario).manifest.query
    whole = answers("frr", scenario) | {RELEASE: Answer('PRETTY_NAME="VyOS 1.4.2 (sagitta)"\n')}
    for vip in query.vips:
        assert verdicts(vyos.read("edge", query, whole, TAKEN_AT), vip) == verdicts(snapshot("frr", scenario), vip)


def test_the_questions_are_frrs_and_one_more() -> None:
    (more,) = [one for one in vyos.ask(QUERY) if one.name == RELEASE]
    assert more.argv[0] == "cat"
    assert len(vyos.ask(QUERY)) > 1


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ('PRETTY_NAME="VyOS 1.3.3 (equuleus)"\nNAME="VyOS"\nVERSION_ID="1.3.3"\n', "1.3.3"),
        ('NAME="VyOS"\nPRETTY_NAME="VyOS 1.5-rolling-202409250007 (circinus)"\n', "1.5-rolling-202409250007"),
        ("Version:      VyOS 1.3.8\n", "1.3.8"),
        ('PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nVERSION_ID="12"\n', None),
        ("", None),
    ],
)
def test_releases(text: str, version: str | None) -> None:
    taken = vyos.read("edge", QUERY, answers("frr", "healthy") | {RELEASE: Answer(text)}, TAKEN_AT)
    assert (taken.platform, taken.version) == ("vyos", version)


def test_the_outage_in_the_syntax_of_the_release() -> None:
    path = judged(snapshot("vyos", "neighbor_missing"))["leviathan3"]
    assert path.verdict.value == "neighbor_missing"
    assert (path.remedy or "").splitlines() == [
        "configure",
        "set protocols bgp 64512 neighbor 10.0.0.13 remote-as 64512",
        "set protocols bgp 64512 neighbor 10.0.0.13 address-family ipv4-unicast",
        "commit",
        "save",
    ]
    limited = judged(snapshot("vyos", "path_limit"))["leviathan3"]
    assert limited.verdict.value == "route_unused"
    assert "set protocols bgp address-family ipv4-unicast maximum-paths ibgp 3" in (limited.remedy or "")


@pytest.mark.parametrize(
    ("version", "bgp"),
    [
        ("1.3.8", "protocols bgp 64512"),
        ("1.4.2", "protocols bgp"),
        ("1.5-rolling-202409250007", "protocols bgp"),
        ("2025.11", "protocols bgp"),
    ],
)
@pytest.mark.parametrize(
    ("kind", "facts", "lines"),
    [
        (
            RemedyKind.NEIGHBOR_MISSING,
            FACTS6,
            [
                "set {} neighbor 2001:db8::13 remote-as 64513",
                "set {} neighbor 2001:db8::13 address-family ipv6-unicast",
            ],
        ),
        (RemedyKind.SESSION_SHUTDOWN, FACTS, ["delete {} neighbor 10.0.0.13 shutdown"]),
        (RemedyKind.SESSION_WRONG_AS, FACTS, ["set {} neighbor 10.0.0.13 remote-as 64512"]),
        (RemedyKind.SESSION_PASSWORD, FACTS, ["set {} neighbor 10.0.0.13 password <the password set on the node>"]),
        (
            RemedyKind.ROUTE_FILTERED,
            FACTS,
            ["delete {} neighbor 10.0.0.13 address-family ipv4-unicast route-map import"],
        ),
        (
            RemedyKind.POLICY_MISSING,
            FACTS,
            [
                "set policy route-map FROM-NODES rule 10 action permit",
                "set {} neighbor 10.0.0.13 address-family ipv4-unicast route-map import FROM-NODES",
            ],
        ),
        (RemedyKind.PATH_LIMIT, FACTS6, ["set {} address-family ipv6-unicast maximum-paths ebgp <number of nodes>"]),
        (RemedyKind.AS_PATH_RELAX, FACTS, ["set {} parameters bestpath as-path multipath-relax"]),
    ],
)
def test_remedies(version: str, bgp: str, kind: RemedyKind, facts: RemedyFacts, lines: list[str]) -> None:
    known = replace(facts, version=version)
    typed = (vyos.remedy(kind, known) or "").splitlines()
    assert typed == ["configure", *(line.format(bgp) for line in lines), "commit", "save"]


def test_both_syntaxes_where_the_release_is_not_known() -> None:
    typed = (vyos.remedy(RemedyKind.SESSION_SHUTDOWN, FACTS) or "").splitlines()
    assert "delete protocols bgp neighbor 10.0.0.13 shutdown" in typed
    assert "# delete protocols bgp 64512 neighbor 10.0.0.13 shutdown" in typed
    assert (typed[0], typed[-1]) == ("configure", "save")


def test_another_platforms_release_chooses_no_syntax() -> None:
    """What the same fault would need on a VyOS is shown for other routers too, whose release is not VyOS's."""
    cure = judged(snapshot("frr", "neighbor_missing"))["leviathan3"].cure
    assert cure is not None
    assert cure.facts.version == "8.4.4"
    typed = (cure.on("vyos") or "").splitlines()
    assert "set protocols bgp neighbor 10.0.0.13 remote-as 64512" in typed
    assert "# set protocols bgp 64512 neighbor 10.0.0.13 remote-as 64512" in typed


def test_a_router_without_bgp_is_told_its_own_number_too() -> None:
    facts = RemedyFacts(local_as=None, neighbor="10.0.0.13", version="1.4.2")
    assert "set protocols bgp system-as <AS of the router>" in (vyos.remedy(RemedyKind.NEIGHBOR_MISSING, facts) or "")


def test_a_vrf_stands_in_front_of_every_setting_of_bgp() -> None:
    facts = replace(FACTS, vrf="red", version="1.4.2")
    assert "set vrf name red protocols bgp neighbor 10.0.0.13 remote-as 64512" in (
        vyos.remedy(RemedyKind.NEIGHBOR_MISSING, facts) or ""
    )
    assert vyos.remedy(RemedyKind.NEIGHBOR_MISSING, replace(facts, version="1.3.8")) is None
    assert "64512 neighbor" not in (vyos.remedy(RemedyKind.SESSION_SHUTDOWN, replace(facts, version=None)) or "")


@pytest.mark.parametrize("kind", list(RemedyKind))
def test_every_fault_has_a_remedy(kind: RemedyKind) -> None:
    assert vyos.remedy(kind, RemedyFacts(None, "10.0.0.13"))
