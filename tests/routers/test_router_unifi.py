"""UniFi: FRR's own captures of the lab, and one of a zebra whose kernel refuses its routes.

For `refused` FRR 8.4 ran in a user namespace that may not change routes; the others have its answer in them, and what
kernels of UniFi say of themselves.
"""

from __future__ import annotations

import pytest

from routers import unifi
from routers.model import Answer, Query, RemedyFacts, RemedyKind, Snapshot
from tests.routers.captured import QUERY, TAKEN_AT, VIP, VIP6, answers, capture, scenarios, snapshot
from tests.routers.concluded import judged, verdicts

OPTION = "CONFIG_IP_ROUTE_MULTIPATH"
KERNEL = "kernel multipath support"
ZEBRA = "vtysh routing table 1"


@pytest.mark.parametrize("scenario", [one for one in scenarios("frr") if one != "ipv6_link_local"])
def test_what_frr_says_is_read_as_on_any_other_router(scenario: str) -> None:
    query = capture("frr", scenario).manifest.query
    taken = unifi.read("edge", query, answers("frr", scenario), TAKEN_AT)
    assert (taken.platform, taken.problems) == ("unifi", snapshot("frr", scenario).problems)
    for vip in query.vips:
        assert verdicts(taken, vip) == verdicts(snapshot("frr", scenario), vip)


def reason(taken: Snapshot, vip: str = VIP) -> str:
    path = judged(taken, vip)["leviathan3"]
    assert path.verdict.value == "route_not_installed"
    return path.reason


def test_a_real_refusal_is_told_and_no_option_blamed_that_the_kernel_has() -> None:
    taken = snapshot("unifi", "refused")
    assert taken.problems == ()
    assert verdicts(taken) == {
        "leviathan1": "route_not_installed",
        "leviathan2": "route_not_installed",
        "leviathan3": "neighbor_missing",
    }
    told = judged(taken)["leviathan1"].reason
    assert "zebra marks it as rejected" in told
    assert OPTION not in told


def test_a_kernel_without_multipath_is_named() -> None:
    taken = snapshot("unifi", "no_multipath")
    assert set(verdicts(taken).values()) == {"route_not_installed"}
    assert f"it is built without {OPTION}, so it takes no route with several next hops" in reason(taken)
    assert set(verdicts(taken, VIP6).values()) == {"ok"}


def test_a_kernel_that_does_not_tell_is_suspected_and_not_accused() -> None:
    assert f"as kernels without {OPTION} refuse every route" in reason(snapshot("unifi", "no_multipath_untold"))


def test_a_refusal_of_ipv6_has_another_cause() -> None:
    """The option is about IPv4 alone."""
    whole = answers("unifi", "no_multipath")
    zebra = whole[ZEBRA].stdout.replace('"installed": true', '"failed": true')
    gone = whole | {ZEBRA: Answer(zebra), "kernel IPv6 FIB": Answer("[]\n")}
    told = reason(unifi.read("edge", QUERY, gone, TAKEN_AT), VIP6)
    assert "zebra marks it as rejected" in told
    assert OPTION not in told


def test_a_route_that_zebra_installed_has_no_such_reason() -> None:
    whole = answers("unifi", "no_multipath") | {ZEBRA: answers("unifi", "healthy")[ZEBRA]}
    assert "refused" not in reason(unifi.read("edge", QUERY, whole, TAKEN_AT))


@pytest.mark.parametrize("text", ["", "{", "[]", '{"203.0.113.10/32": 5}', '{"x": [{"failed": true}]}', "[" * 100_000])
def test_a_routing_table_that_cannot_be_read_changes_nothing(text: str) -> None:
    whole = answers("unifi", "healthy") | {ZEBRA: Answer(f"edge# show ip route {VIP} json\n{text}\n")}
    assert unifi.read("edge", QUERY, whole, TAKEN_AT) == snapshot("unifi", "healthy")


def test_one_process_asks_for_many_vips() -> None:
    vips = tuple(f"203.0.113.{number}" for number in range(100))
    asked = [one for one in unifi.ask(Query(vips, ())) if one.name.startswith("vtysh routing table")]
    assert len(asked) == 2


def test_the_routing_table_of_a_vrf_is_asked_for() -> None:
    asked = unifi.ask(Query((VIP,), (), vrf="red"))
    assert any(f"show ip route vrf red {VIP} json" in one.argv for one in asked)
    with pytest.raises(ValueError, match="vrf"):
        unifi.ask(Query((VIP,), (), vrf="red; configure"))


@pytest.mark.parametrize("kind", list(RemedyKind))
def test_remedies_say_where_they_last(kind: RemedyKind) -> None:
    typed = (unifi.remedy(kind, RemedyFacts(64512, "10.0.0.13")) or "").splitlines()
    assert all(line.startswith("# ") for line in typed[:2])
    assert "uploaded" in typed[0]
    assert (typed[2], typed[-1]) == ("configure terminal", "end")


def test_the_outage() -> None:
    path = judged(snapshot("unifi", "neighbor_missing"))["leviathan3"]
    assert path.verdict.value == "neighbor_missing"
    assert "neighbor 10.0.0.13 remote-as 64512" in (path.remedy or "").splitlines()
