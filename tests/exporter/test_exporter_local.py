from __future__ import annotations

import pytest

from exporter import local
from exporter.config import Router
from exporter.local import crosses, gateway_to, gateway_v4, gateway_v6, local_source

V4 = """\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t0100000A\t0003\t0\t0\t100\t00000000\t0\t0\t0
eth0\t0000000A\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0
eth1\t007100CB\t0200000A\t0003\t0\t0\t0\t00FFFFFF\t0\t0\t0
"""
V6 = """\
20010db8000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth0
20010db8000f00000000000000000000 30 00000000000000000000000000000000 00 20010db8000000000000000000000001 00000064 00000001 00000000 00000003     eth0
00000000000000000000000000000000 00 00000000000000000000000000000000 00 fe800000000000000000000000000001 00000400 00000001 00000000 00000003     eth0
00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo
"""  # noqa: E501  (as the kernel prints it)


@pytest.mark.parametrize(
    ("vip", "gateway"),
    [("203.0.113.22", "10.0.0.2"), ("198.51.100.1", "10.0.0.1"), ("10.0.0.7", None)],
)
def test_gateway_v4(vip: str, gateway: str | None) -> None:
    assert gateway_v4(V4, vip) == gateway


@pytest.mark.parametrize(
    ("vip", "gateway"),
    [("2001:db8:f::10", "2001:db8::1"), ("2001:db9::1", "fe80::1"), ("2001:db8::7", None)],
)
def test_gateway_v6(vip: str, gateway: str | None) -> None:
    assert gateway_v6(V6, vip) == gateway


def test_no_routes() -> None:
    assert gateway_v4(V4.splitlines()[0] + "\n", "203.0.113.22") is None
    assert gateway_v6("", "2001:db8::1") is None


@pytest.mark.parametrize("table", ["x\nnonsense\n", "x\neth0 zz 00 0003 0 0 0 00\n", "x\n\n"])
def test_a_table_that_cannot_be_read_knows_no_gateway(monkeypatch: pytest.MonkeyPatch, table: str) -> None:
    class Table:
        def read_text(self, encoding: str) -> str:
            assert encoding == "ascii"
            return table

    monkeypatch.setattr(local, "_V4_TABLE", Table())
    assert gateway_to("203.0.113.22") is None


def router(name: str, host: str | None) -> Router:
    way = {"exec": {}} if host is None else {"ssh": {"host": host, "username": "monitor"}}
    return Router.model_validate({"name": name, "platform": "frr", **way})


def test_which_router_the_flows_cross() -> None:
    way, named, here = router("way", "10.0.0.2"), router("named", "edge.example.org"), router("here", None)
    own, others = frozenset({"10.0.0.2", "192.0.2.2"}), frozenset({"10.0.0.3"})
    gateway = "10.0.0.2"
    assert crosses(way, True, gateway, frozenset()), "its login address is the gateway"
    assert not crosses(router("beside", "10.0.0.3"), True, gateway, others)
    for one in (named, here):
        assert crosses(one, True, gateway, own), "the router says that it has the gateway's address"
        assert not crosses(one, True, gateway, others)
        assert not crosses(one, True, gateway, frozenset())
        assert not crosses(one, True, None, own), "no gateway is known"
        assert crosses(one, False, None, frozenset()), "the only router is on the way"


def test_the_source_address_of_this_machine() -> None:
    assert local_source("127.0.0.1") == "127.0.0.1"
