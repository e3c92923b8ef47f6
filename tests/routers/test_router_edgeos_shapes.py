"""Single shapes of ZebOS's text: each as one of its releases, or one of its vendors, prints it."""

from __future__ import annotations

import pytest

from routers.model import Route, SessionState
from routers.selection import Attributes
from routers.zebos.longest import Longest
from routers.zebos.routes import entry_of, table_of, taken_of
from routers.zebos.sessions import details_of, summary_of

HEADER = "Neighbor                 V   AS   MsgRcv    MsgSen TblVer   InQ   OutQ    Up/Down   State/PfxRcd\n"
VIP, VIP6 = "203.0.113.10", "2001:db8:f::10"


def table(*rows: str) -> str:
    return f"BGP router identifier 10.0.0.1, local AS number 64512\n\n{HEADER}" + "".join(f"{row}\n" for row in rows)


def summary(*rows: str, total: int) -> str:
    return f"{table(*rows)}\nTotal number of neighbors {total}\n"


@pytest.mark.parametrize(
    "row",
    [
        "2001:db8::ffff:ffff:ffff:ffff4 64497    0          0       0      0      0     never     Connect",
        "2001:db8::ffff:ffff:ffff:ffff\n                         4 64497  0  0  0  0  0  never  Connect",
        "2001:db8::ffff:ffff:ffff:ffff 4 64497 0 0 0 0 0 never\n  Connect",
    ],
)
def test_an_address_that_fills_its_column(row: str) -> None:
    (found,) = summary_of(summary(row, total=1)).rows
    assert (found.address, found.remote_as, found.state) == (
        "2001:db8::ffff:ffff:ffff:ffff",
        64_497,
        SessionState.CONNECT,
    )


def test_a_swallowed_version_is_no_part_of_a_shorter_address() -> None:
    """2001:db8::1 with the version behind it reads like 2001:db8::14."""
    (found,) = summary_of(summary("2001:db8:aaaa:bbbb:cccc::14 64497 0 0 0 0 0 never Idle", total=1)).rows
    assert found.address == "2001:db8:aaaa:bbbb:cccc::1"


@pytest.mark.parametrize(
    ("tail", "state", "note"),
    [
        ("never     Idle", SessionState.IDLE, ""),
        ("never     Connect", SessionState.CONNECT, ""),
        ("00:00:07   Active", SessionState.ACTIVE, ""),
        ("never     OpenSent", SessionState.OPEN_SENT, ""),
        ("never     OpenConfirm", SessionState.OPEN_CONFIRM, ""),
        ("never     Idle (Admin)", SessionState.IDLE, "(Admin)"),
        ("1d05h38m  Idle (PfxCt)", SessionState.IDLE, "(PfxCt)"),
        ("never     Whatever", SessionState.UNKNOWN, ""),
        ("03w0d00h               0", SessionState.ESTABLISHED, ""),
    ],
)
def test_states(tail: str, state: SessionState, note: str) -> None:
    (found,) = summary_of(
        summary(f"10.0.0.13                4 64512    0          0       0      0      0  {tail}", total=1)
    ).rows
    assert (found.state, found.note) == (state, note)


def test_another_vendors_columns_wrap_behind_the_uptime() -> None:
    """OcNOS: a column more, and both the heading and the rows go on in the next line."""
    text = (
        "BGP router identifier 10.0.0.7, local AS number 64010\nBGP table version is 5\n7 BGP AS-PATH entries\n"
        "4  Configured ebgp ECMP multipath: Currently set at 4\n\n"
        "Neighbor           V    AS     MsgRcv     MsgSen  TblVer    InQ   OutQ   Up/Down\n  State/PfxRcd   Desc\n"
        "172.16.1.0         4 64001         87         89       5      0      0  00:32:17\n            21\n"
        "172.16.2.0         4 64001         87         84       5      0      0  00:32:19\n            20   leaf\n"
        "\nTotal number of neighbors 2\n\nTotal number of Established sessions 2\n"
    )
    found = summary_of(text)
    assert found.limits == {"ebgp": 4}
    assert [(row.address, row.prefixes) for row in found.rows] == [("172.16.1.0", 21), ("172.16.2.0", 20)]


def test_another_vendors_heading_names_the_vrf_in_front_of_other_words() -> None:
    """FortiOS: what stands below the heading of another VRF is another router's business."""
    other = summary("10.9.0.1  4 65009 1 1 1 0 0 never Idle", total=1).replace("BGP router", "VRF 7 BGP router")
    own = summary("10.0.0.13  4 64512 1 1 1 0 0 00:00:01 5", total=1).replace("BGP router", "VRF 0 BGP router")
    for text in (own + other, other + own):
        found = summary_of(text)
        assert [row.address for row in found.rows] == ["10.0.0.13"]
        assert found.local_as == 64_512


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (table("10.0.0.11 4 64512 1 1 1 0 0 00:00:01 1"), "has no end"),
        (summary("10.0.0.11 4 64512 1 1 1 0 0 00:00:01 1", total=2), "1 of 2 neighbors"),
        (summary("10.0.0.11 4 64512 1 1", total=1), "no neighbor"),
        (summary("10.0.0.11 4 64512 1 1 1 0 0 00:00:01", total=1), "no neighbor"),
        ("hello\n", "no table of neighbors"),
    ],
)
def test_a_summary_that_is_not_whole_is_none(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        summary_of(text)


@pytest.mark.parametrize("text", ["", "\n", "No IPv4 neighbor is configured\n"])
def test_a_family_without_neighbors(text: str) -> None:
    assert summary_of(text).rows == ()


def test_a_neighbor_in_full_as_fortios_prints_it() -> None:
    text = (
        "VRF 0 neighbor table:\nBGP neighbor is 10.0.0.13, remote AS 64512, local AS 64512, internal link\n"
        "  BGP version 4, remote router ID 10.0.0.13\n  BGP state = Established, up for 4d14h28m\n"
        "  Neighbor capabilities:\n    Address family IPv4 Unicast: advertised and received\n"
        "    Address family IPv6 Unicast: advertised\n"
        " For address family: IPv4 Unicast\n  Inbound soft reconfiguration allowed\n"
        "  423 accepted prefixes, 423 prefixes in rib\n"
        " Connections established 9; dropped 8\nLast Reset: 4d14h38m, due to BGP Notification sent\n"
        "Notification Error Message: (Hold Timer Expired/Unspecified Error Subcode)\n"
    )
    detail = details_of(text)["10.0.0.13"]
    assert (detail.state, detail.negotiated, detail.keeps_filtered) == (SessionState.ESTABLISHED, {4}, {4})
    assert detail.last_error == "BGP Notification sent (Hold Timer Expired/Unspecified Error Subcode)"
    with pytest.raises(ValueError, match="stops within"):
        details_of(text[: text.index(" Connections")])


def test_an_entry_names_peers_next_hops_and_attributes() -> None:
    text = (
        f"VRF 0 BGP routing table entry for {VIP}/32\nPaths: (3 available, best #2, table Default-IP-Routing-Table)\n"
        "  Advertised to non peer-group peers:\n   10.0.0.11 10.0.0.12\n  Original VRF 0\n"
        "  65003 65004, (Received from a RR-client)\n    10.0.0.13 (metric 20) from 10.0.0.2 (10.0.0.2)\n"
        "      Origin IGP distance 20 metric 7, localpref 100, weight 5, valid, external\n"
        "      Community: 65003:1\n      Last update: Thu Jul 16 12:04:40 2026\n\n"
        "  Local\n    10.0.0.11 from 10.0.0.11 (10.0.0.11)\n"
        "      Origin incomplete, localpref 100, valid, internal, best\n      Last update: Thu Jul 16 12:03:31 2026\n\n"
        "  Local\n    10.9.9.9 (inaccessible) from 10.0.0.12 (10.0.0.12)\n"
        "      Origin incomplete, localpref 100, internal\n\n"
    )
    first, second, unreachable = entry_of(text, VIP)
    assert first.route == Route(f"{VIP}/32", "10.0.0.2", ("10.0.0.13",), valid=True, best=False, used=None)
    assert first.attributes == Attributes(None, 5, 100, ("65003", "65004"), "IGP", 7, internal=False, igp_metric=20)
    assert (second.route.best, second.route.used, second.attributes.as_path) == (True, True, ())
    assert (unreachable.route.valid, unreachable.route.used) == (False, False)
    assert unreachable.obstacle == "next hop 10.9.9.9 cannot be resolved"


def test_next_hops_of_ipv6_and_marks_of_multipath_members() -> None:
    text = (
        f"BGP routing table entry for {VIP6}/128\nPaths: (3 available, best #1, table Default-IP-Routing-Table)\n"
        "  Not advertised to any peer\n"
        "  Local\n    2001:db8::11(fe80::11) from 2001:db8::11 (10.0.0.11)\n    (fe80::11)\n"
        "      Origin IGP metric 0, localpref 100, valid, internal, multipath-candidate, installed, best\n\n"
        "  Local\n    2001:db8::12(fe80::12) (metric 5) from 2001:db8::12 (10.0.0.12)\n    (fe80::12)\n"
        "      Origin IGP metric 0, localpref 100, valid, internal, multipath-candidate, installed\n\n"
        "  Local\n    2001:db8::13 from 10.0.0.13 (10.0.0.13)\n"
        "      Origin IGP metric 0, localpref 100, valid, internal, multipath-candidate\n\n"
    )
    found = [one.route for one in entry_of(text, VIP6)]
    assert [one.next_hops for one in found] == [
        ("fe80::11", "2001:db8::11"),
        ("fe80::12", "2001:db8::12"),
        ("2001:db8::13",),
    ]
    assert [one.used for one in found] == [True, True, None]
    assert [one.peer for one in found] == ["2001:db8::11", "2001:db8::12", "10.0.0.13"]


def test_a_route_of_the_router_itself_has_no_peer() -> None:
    text = (
        f"BGP routing table entry for {VIP}/32\nPaths: (1 available, best #1, table Default-IP-Routing-Table)\n"
        "  Not advertised to any peer\n  Local\n    0.0.0.0 from 0.0.0.0 (10.0.0.1)\n"
        "      Origin IGP, localpref 100, weight 32768, valid, sourced, local, best\n"
    )
    (only,) = entry_of(text, VIP)
    assert only.route.peer is None


def test_an_entry_that_stops_within_its_last_route_makes_it_not_invalid() -> None:
    text = (
        f"BGP routing table entry for {VIP}/32\nPaths: (1 available, best #1, table Default-IP-Routing-Table)\n"
        "  Local\n    10.0.0.11 from 10.0.0.11 (10.0.0.11)\n      Origin incomplete, localpref 100, val"
    )
    with pytest.raises(ValueError, match="stops within"):
        entry_of(text, VIP)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no routing table entry"),
        ("BGP routing table entry for 198.51.100.0/24\nPaths: (0 available)\n", "it is about 198.51.100.0/24"),
        (f"BGP routing table entry for {VIP}/32\n", "unknown number"),
        (f"BGP routing table entry for {VIP}/32\nPaths: (2 available, best #1)\n", "0 of 2 routes"),
    ],
)
def test_entries_that_are_none(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        entry_of(text, VIP)


def bgp_table(*rows: str) -> str:
    return "    Network          Next Hop            Metric    LocPrf       Weight Path\n" + "".join(
        f"{row}\n" for row in rows
    )


def test_a_table_with_empty_and_overfull_columns() -> None:
    table = table_of(
        bgp_table(
            "*>i 10.2.1.4/32      10.0.0.10            0        100          0        ?",
            "* i                  10.0.0.12            0        100          0        ?",
            "*>i 203.0.113.128/25",
            "                     10.0.0.13            0        100          0        ?",
            "*>  10.0.0.0         0.0.0.0                                    32768    i",
            "S i 192.168.0.0      10.0.0.11            0        100          0        ?",
            "*>i 2001:db8:ffff:ffff::10/128",
            "                     fe80::ff:fe00:1",
            "                                          0        100          0        ?",
        )
    )
    rows = table.rows
    assert [(str(row.prefix), row.next_hop, row.best, row.valid) for row in rows] == [
        ("10.2.1.4/32", "10.0.0.10", True, True),
        ("10.2.1.4/32", "10.0.0.12", False, True),
        ("203.0.113.128/25", "10.0.0.13", True, True),
        ("10.0.0.0/8", "0.0.0.0", True, True),
        ("192.168.0.0/24", "10.0.0.11", False, False),
        ("2001:db8:ffff:ffff::10/128", "fe80::ff:fe00:1", True, True),
    ]
    assert [row.stale for row in rows] == [False, False, False, False, True, False]
    assert [row.internal for row in rows] == [True, True, True, False, True, True]


def test_a_link_local_next_hop_in_brackets_behind_the_global_one() -> None:
    shown = bgp_table(
        "*>i 2001:db8:f::10/128",
        "                     2001:db8::11(fe80::11)",
        f"{' ' * 42}0        100          0        ?",
    )
    assert [row.next_hop for row in table_of(shown).rows] == ["2001:db8::11"]


def test_a_table_with_a_row_that_cannot_be_read_is_none() -> None:
    rows = (
        "*>i 203.0.113.10/32  elsewhere            0        100          0        ?",
        "* i                  10.0.0.12  0",
    )
    with pytest.raises(ValueError, match=r"a row of 203\.0\.113\.10/32 without a next hop"):
        table_of(bgp_table(*rows))


def test_of_a_table_that_is_cut_off_only_what_is_sure_is_believed() -> None:
    rows = ["*>i 203.0.113.10/32  10.0.0.11  0 100 0 ?", "*>i 203.0.113.64/26  10.0.0.11  0 100 0 ?"]
    cut, whole = table_of(bgp_table(*rows)), table_of(bgp_table(*rows, "", "Total number of prefixes 2"))
    for table, sure in ((cut, [True, False, False]), (whole, [True, True, True])):
        found = Longest((row.prefix, row) for row in table.rows)
        vips = ("203.0.113.10", "203.0.113.65", "203.0.113.200")
        assert [table.certain(vip, found.of(vip)) for vip in vips] == sure
    last = table_of(bgp_table(rows[0]))
    assert not last.certain("203.0.113.10", last.rows)


def test_a_routing_table_of_zebos() -> None:
    text = (
        'IP Route Table for VRF "default"\n'
        "B    *> 203.0.113.10/32 [200/0] via 10.0.0.11, switch0, 00:02:28\n"
        "     *>                 [200/0] via 10.0.0.12, eth1.100, 1d05h38m\n"
        "B     > 203.0.113.11/32 [200/0] via 10.0.0.13, eth1, 00:02:28\n"
        "B    *> p 203.0.113.12/32 [200/0] via 10.0.0.13, eth1, 00:02:28\n"
        'IP Route Table for VRF "red"\n'
        "B    *> 203.0.113.10/32 [200/0] via 10.99.0.1, eth9, 00:02:28\n"
    )
    found = Longest((row.prefix, row) for row in taken_of(text))
    assert [(row.address, row.interface) for row in found.of(VIP)] == [
        ("10.0.0.11", "switch0"),
        ("10.0.0.12", "eth1.100"),
    ]
    (other,), (stale,) = found.of("203.0.113.11"), found.of("203.0.113.12")
    assert (other.selected, other.installed, other.stale) == (True, False, False)
    assert (stale.selected, stale.installed, stale.stale) == (True, True, True)


def test_a_routing_table_of_quagga() -> None:
    text = (
        "Codes: K - kernel route, C - connected, S - static, R - RIP, O - OSPF,\n"
        "       I - ISIS, B - BGP, > - selected route, * - FIB route\n\n"
        "S>* 0.0.0.0/0 [1/0] via 172.16.0.254, eth0\nC>* 192.168.2.0/24 is directly connected, eth1.2\n"
        "B>* 203.0.113.10/32 [200/0] via 192.168.2.249, eth1.2, 1d17h41m\n"
        "  *                        via 192.168.2.250, eth1.2, 1d17h41m\n"
        "B   203.0.113.11/32 [200/0] via 192.168.2.249, eth1.2, 1d17h41m\n"
    )
    rows = taken_of(text)
    assert [(str(row.prefix), row.address, row.selected, row.installed) for row in rows if row.bgp] == [
        ("203.0.113.10/32", "192.168.2.249", True, True),
        ("203.0.113.10/32", "192.168.2.250", True, True),
        ("203.0.113.11/32", "192.168.2.249", False, False),
    ]


def test_routes_that_lost_against_others_stand_in_the_table_without_flags() -> None:
    """The database, and a way out through an interface alone, as an EdgeRouter with PPPoE has it."""
    text = (
        "K    *> 0.0.0.0/0 [0/0] via pppoe0\nGateway of last resort is not set\n"
        "S    *> 203.0.113.10/32 [1/0] via 10.0.0.250, eth1\n"
        "B       203.0.113.10/32 [200/0] via 10.0.0.11, eth1, 00:02:28\n"
        "                        [200/0] via 10.0.0.12, eth1, 00:02:28\n"
        "B > * 203.0.113.11/32 [200/0] via 10.0.0.13, Tunnel1, 00:12:53\n"
    )
    assert [(row.bgp, row.address, row.selected, row.installed) for row in taken_of(text)] == [
        (False, "10.0.0.250", True, True),
        (True, "10.0.0.11", False, False),
        (True, "10.0.0.12", False, False),
        (True, "10.0.0.13", True, True),
    ]


def test_a_routing_table_without_flags() -> None:
    """ZebOS's `show ipv6 route`, and FortiOS's of IPv4, with a next hop found through another route."""
    text = (
        "Routing table for VRF=0\n"
        "B      2001:db8:f::10/128 [200/0] via fe80::ff:fe00:11, eth1, 00:45:06\n"
        "                          [200/0] via 2001:db8::12, eth1, 00:45:06\n"
        "B       10.10.3.0/24 [200/0] via 172.18.13.1 (recursive via 172.19.0.1, R2NET1-0), 00:00:31, [1/0]\n"
    )
    rows = taken_of(text)
    assert [(row.address, row.selected, row.installed) for row in rows] == [
        ("fe80::ff:fe00:11", None, None),
        ("2001:db8::12", None, None),
        ("172.18.13.1", None, None),
    ]


def test_the_longest_prefix_is_found_among_many() -> None:
    table = table_of(
        bgp_table(
            *(f"*>i 203.0.{n // 256}.{n % 256}/32  10.0.0.11  0 100 0 ?" for n in range(1000)),
            "*>i 203.0.113.0/24  10.0.0.12  0 100 0 ?",
            "*>i 0.0.0.0/0  10.0.0.1  0 100 0 ?",
        )
    )
    found = Longest((row.prefix, row.next_hop) for row in table.rows)
    assert found.of("203.0.113.9") == ["10.0.0.12"]
    assert found.of("203.0.1.9") == ["10.0.0.11"]
    assert found.of("198.51.100.1") == []
    assert found.of("198.51.100.1", shortest=0) == ["10.0.0.1"]
    assert found.of("2001:db8::1", shortest=0) == []
