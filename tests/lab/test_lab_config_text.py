from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from lab import bird, faults, frr, nft, sshd, withhold
from lab.exporter_config import configuration
from lab.observe import Observed, bird_next_hops, bird_routes, bird_sessions
from lab.plan import Lab, Node

LAB = Lab("x")
WEB = "203.0.113.10"


def broken(kind: str, node: str | None = None, router: str = "frr") -> Lab:
    return faults.with_fault(Lab("x", 3, "bird" if router == "bird" else "frr"), kind, node)


def test_frr_from_nothing() -> None:
    lines = frr.changes(None, LAB)
    assert "router bgp 64512" in lines
    assert "neighbor 10.0.0.13 remote-as 64512" in lines
    assert lines.count("maximum-paths ibgp 32") == 2
    assert not [line for line in lines if line.startswith("no neighbor")]


def test_frr_has_no_changes_between_equals() -> None:
    assert frr.changes(LAB, Lab("x")) == []
    assert frr.changes(LAB, broken("blackhole")) == []


def test_frr_neighbor_goes_with_all_its_settings() -> None:
    lab = broken("neighbor_missing")
    assert frr.changes(LAB, lab) == ["router bgp 64512", "no neighbor 10.0.0.13", "exit"]
    back = frr.changes(lab, LAB)
    assert "neighbor 10.0.0.13 soft-reconfiguration inbound" in back
    assert not [line for line in back if "10.0.0.11" in line]


def test_frr_wrong_as_replaces_the_line() -> None:
    lab = broken("session_down", "leviathan1")
    assert frr.changes(LAB, lab) == ["router bgp 64512", "neighbor 10.0.0.11 remote-as 64999", "exit"]


def test_frr_filter_and_its_removal() -> None:
    lab = broken("route_filtered")
    assert frr.changes(LAB, lab).count("neighbor 10.0.0.13 route-map nothing in") == 2
    assert frr.changes(lab, LAB).count("no neighbor 10.0.0.13 route-map nothing in") == 2


def test_frr_table_map_is_removed_before_its_route_map() -> None:
    lab = broken("route_not_installed")
    there = frr.changes(LAB, lab)
    assert there.index("match peer 10.0.0.13") < there.index("table-map fib")
    back = frr.changes(lab, LAB)
    assert back.index("no table-map fib") < back.index("no route-map fib deny 3")
    assert back[back.index("no route-map fib deny 3") - 1] != "route-map fib deny 3"


def test_frr_path_limit_returns() -> None:
    lab = broken("route_unused")
    assert frr.changes(LAB, lab).count("maximum-paths ibgp 2") == 2
    assert frr.changes(lab, LAB).count("maximum-paths ibgp 32") == 2


def test_a_big_lab_gets_a_big_path_limit() -> None:
    assert "maximum-paths ibgp 200" in frr.changes(None, Lab("x", 200))
    assert "merge paths on limit 200" in bird.router_config(Lab("x", 200, "bird"), "log")


def test_bird_announces_what_the_node_has() -> None:
    one, three = (bird.node_config(LAB, Node(index), "log") for index in (1, 3))
    assert "203.0.113.10/32" in one
    assert "203.0.113.22/32" not in one
    assert "2001:db8:203::22/128" in three
    extra = bird.node_config(broken("unexpected_next_hop"), Node(1), "log")
    assert "203.0.113.22/32" in extra


@pytest.mark.parametrize(
    ("kind", "words"),
    [("route_missing", "reject;"), ("route_unused_as_path", "bgp_path.prepend(64999);")],
)
def test_bird_faults_hit_one_node(kind: str, words: str) -> None:
    lab = broken(kind)
    assert words in bird.node_config(lab, Node(3), "log")
    assert bird.node_config(lab, Node(1), "log") == bird.node_config(LAB, Node(1), "log")


def test_only_routes_that_the_limit_must_leave_out_sort_last() -> None:
    lab = faults.with_fault(broken("route_unused", "leviathan1"), "unexpected_next_hop", "leviathan1")
    text = bird.node_config(lab, Node(1), "log")
    assert "if net = 203.0.113.10/32 then bgp_next_hop = 10.0.0.254;" in text
    assert "203.0.113.22/32 then" not in text


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("session_down", "neighbor 10.0.0.13 as 64999"),
        ("session_down_md5", 'password "lab"'),
        ("route_filtered", "import filter { reject; }"),
        ("route_unused", "merge paths on limit 2"),
    ],
)
def test_bird_router_faults(kind: str, words: str) -> None:
    assert words in bird.router_config(broken(kind, router="bird"), "log")
    assert words not in bird.router_config(Lab("x", 3, "bird"), "log")


def test_bird_router_without_the_neighbor() -> None:
    text = bird.router_config(broken("neighbor_missing", router="bird"), "log")
    assert "10.0.0.13" not in text
    assert "10.0.0.12" in text


def test_local_policy_drops_what_has_no_pod() -> None:
    assert "dnat ip to 10.42.3.2:22" in nft.node_rules(LAB, Node(3))
    assert "203.0.113.22 tcp" not in nft.node_rules(LAB, Node(1))
    assert nft.node_rules(LAB, Node(1)).count("drop") == 2
    assert nft.node_rules(broken("blackhole", "leviathan1"), Node(1)).count("drop") == 4
    mute = nft.node_rules(broken("no_icmp"), Node(3))
    assert "icmpv6 type { echo-reply, destination-unreachable, packet-too-big, time-exceeded" in mute
    assert nft.node_rules(broken("no_icmp"), Node(2)) == nft.node_rules(LAB, Node(2))
    assert "nd-" not in mute
    assert faults.expected(broken("no_icmp")) == faults.expected(LAB)
    assert "reject with tcp reset" in nft.pod_rules(broken("service_down"), Node(3))


def test_sshd_settings() -> None:
    root = sshd.config(Path("/s"), "edge", "root", penalties=True)
    assert "UsePAM yes" in root
    assert "PerSourcePenalties no" in root
    assert "SetEnv PATH=/s/bin:" in root
    assert "UsePAM no" in sshd.config(Path("/s"), "edge", "inside", penalties=False)


def test_exporter_configuration() -> None:
    text = yaml.safe_dump(configuration(Lab("x", 2), {"exec": {"prefix": ["/s/on-edge"]}}))
    found = yaml.safe_load(text)
    assert [target["name"] for target in found["targets"]] == ["web", "gitea-ssh", "web-v6", "gitea-ssh-v6"]
    assert found["targets"][1]["nodes"] == ["leviathan2"]
    assert found["nodes"][0] == {"name": "leviathan1", "addresses": ["10.0.0.11", "2001:db8:10::11"]}
    assert found["routers"][0]["platform"] == "frr"


def test_sessions_of_birdc() -> None:
    text = """BIRD 2.0.12 ready.
Name       Proto      Table      State  Since         Info
device1    Device     ---        up     21:55:29.359
fib4       Kernel     master4    up     21:55:29.359
leviathan1 BGP        ---        up     21:55:30.256  Established
leviathan2 BGP        ---        start  21:55:30.186  Active        Socket: Connection refused
leviathan3 BGP        ---        down   21:55:30.186
"""
    assert bird_sessions(text) == {
        "leviathan1": "Established",
        "leviathan2": "Active",
        "leviathan3": "Down",
    }


def test_routes_of_birdc() -> None:
    text = """BIRD 2.0.12 ready.
Table master4:
203.0.113.10/32      unicast [leviathan1 21:51:07.189] * (100) [i]
\tvia 10.0.0.11 on lan0
                     unicast [leviathan2 21:51:07.141] (100) [i]
\tvia 10.0.0.12 on lan0
10.0.0.0/24          unicast [direct1 21:51:07.141] * (240)
\tdev lan0

Table master6:
2001:db8:203::10/128 unicast [leviathan3 21:51:10.437 from 10.0.0.13] * (100) [i]
\tvia 2001:db8:10::13 on lan0
"""
    found = bird_routes(text)
    assert found["203.0.113.10"] == {"leviathan1", "leviathan2"}
    assert found["2001:db8:203::10"] == {"leviathan3"}


def test_exports_of_birdc() -> None:
    text = """BIRD 2.0.12 ready.
Table master4:
203.0.113.10/32      unicast [leviathan1 22:24:35.131] * (100) [i]
\tvia 10.0.0.11 on lan0 weight 1
\tvia 10.0.0.12 on lan0 weight 1
203.0.113.22/32      unicast [leviathan3 22:24:35.233] * (100) [i]
\tvia 10.0.0.13 on lan0
"""
    assert bird_next_hops(text) == {WEB: ("10.0.0.11", "10.0.0.12"), "203.0.113.22": ("10.0.0.13",)}


def test_bird_is_not_told_what_the_kernel_loses() -> None:
    lab = broken("route_not_installed", router="bird")
    assert bird.router_config(lab, "log") == bird.router_config(Lab("x", 3, "bird"), "log")
    assert withhold.settling_time(lab) > 0
    assert withhold.settling_time(broken("route_not_installed")) == 0


def test_next_hops_are_taken_away_and_the_others_left() -> None:
    exports = {WEB: ("10.0.0.11", "10.0.0.13"), "203.0.113.22": ("10.0.0.13",), "2001:db8:203::22": (Node(3).v6,)}
    assert list(withhold.lines(frozenset({Node(3)}), exports)) == [
        f"route replace {WEB} proto bird metric 32 nexthop via 10.0.0.11 dev lan0 weight 1",
        "route del 203.0.113.22 proto bird metric 32",
        "route del 2001:db8:203::22 via 2001:db8:10::13 dev lan0 proto bird metric 32",
    ]
    assert list(withhold.lines(frozenset({Node(2)}), exports)) == []


def test_differences_are_told_in_words() -> None:
    seen = Observed({"leviathan1": "Established"}, {}, {"203.0.113.10": frozenset({"leviathan1"})})
    told = seen.differences(faults.expected(LAB))
    assert told[0] == "sessions up: leviathan1; expected leviathan1, leviathan2, leviathan3"
    big = Observed({}, {}, {}).differences(faults.expected(Lab("x", 32)))
    assert "and 27 more" in big[0]
