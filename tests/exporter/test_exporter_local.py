from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Self

import pytest

from exporter.config import Router
from exporter.local import crosses, gateway_in, gateway_to, local_source

# RTM_NEWROUTE as Linux 6.18 on x86-64 answered: the route to 203.0.113.22 leads via 10.0.0.2.
V4 = bytes.fromhex(
    "700000001800000001000000b041000002200000fe0000010002000008000f00fe00000008000100cb00711608000400"
    "03000000080007000a000009080005000a000002080019000000000024000c0002000000000000000000000000000000"
    "00000000000000000000000000000000"
)
# To 2001:db8:f::10 via fe80::1.
V6 = bytes.fromhex(
    "b00000001800000001000000b04100000a808000fe0300010000000008000f00fe0000001400010020010db8000f0000"
    "000000000000001014000200000000000000000000000000000000001400070020010db8000000000000000000000009"
    "080006000004000014000500fe800000000000000000000000000001080004000300000024000c000200000000000000"
    "0000000000000000000000000000000000000000000000000500140000000000"
)
# To 198.51.100.1 via inet6 fe80::1.
VIA_V6 = bytes.fromhex(
    "800000001800000001000000b041000002200000fe0000010002000008000f00fe00000008000100c633640108000400"
    "03000000080007000a000009160012000a00fe8000000000000000000000000000010000080019000000000024000c00"
    "0200000000000000000000000000000000000000000000000000000000000000"
)
# To 10.0.0.7, a neighbor, and an error: no route to 192.0.2.1.
NEIGHBOR = bytes.fromhex(
    "680000001800000001000000b041000002200000fe0000010002000008000f00fe000000080001000a00000708000400"
    "03000000080007000a000009080019000000000024000c00020000000000000000000000000000000000000000000000"
    "0000000000000000"
)
REFUSED = bytes.fromhex(
    "380000000200000001000000b04100009bffffff240000001a000100010000000000000002200000000000000000000008000100c0000201"
)

needs_this_order = pytest.mark.skipif(sys.byteorder != "little", reason="messages have the order of the machine")


@needs_this_order
@pytest.mark.parametrize(
    ("answer", "gateway"),
    [(V4, "10.0.0.2"), (V6, "fe80::1"), (VIA_V6, "fe80::1"), (NEIGHBOR, None), (REFUSED, None)],
    ids=["v4", "v6", "via", "neighbor", "refused"],
)
def test_the_gateway_in_an_answer(answer: bytes, gateway: str | None) -> None:
    assert gateway_in(answer) == gateway


class Answering:
    """A socket whose kernel says this."""

    def __init__(self, answer: bytes | OSError) -> None:
        self.answer = answer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def send(self, message: bytes) -> int:
        return len(message)

    def recv(self, most: int, flags: int) -> bytes:
        assert flags & socket.MSG_DONTWAIT, "nothing here may wait"
        if isinstance(self.answer, OSError):
            raise self.answer
        return self.answer[:most]


def hear(monkeypatch: pytest.MonkeyPatch, answer: bytes | OSError) -> str | None:
    with monkeypatch.context() as patched:
        patched.setattr(socket, "socket", lambda *_: Answering(answer))
        return gateway_to("203.0.113.22")


@needs_this_order
def test_an_answer_that_is_cut_off_or_broken_knows_no_gateway(monkeypatch: pytest.MonkeyPatch) -> None:
    assert hear(monkeypatch, V4) == "10.0.0.2"
    for length in range(len(V4)):
        assert hear(monkeypatch, V4[:length]) is None
    for place in range(28, len(V4)):  # whatever stands there, it ends, and quietly
        for value in (0, 1, 255):
            hear(monkeypatch, V4[:place] + bytes([value]) + V4[place + 1 :])
    assert hear(monkeypatch, V4[:28] + bytes(4) + V4[32:]) is None
    assert hear(monkeypatch, BlockingIOError()) is None


def test_no_address_has_no_gateway() -> None:
    assert gateway_to("www.example.org") is None
    assert gateway_to("fe80::1%nowhere") is None


NETWORK = """
ip link set lo up
ip link add name lan type veth peer name far
ip link set lan up; ip link set far up
ip addr add 10.0.0.9/24 dev lan; ip addr add 2001:db8::9/64 dev lan nodad
ip route add 203.0.113.0/24 via 10.0.0.2
ip route add 203.0.113.0/28 via 10.0.0.3
ip route add 2001:db8:f::/48 via 2001:db8::2
ip route add 198.51.100.0/24 via 10.0.0.2 table 77
ip rule add to 198.51.100.0/24 lookup 77 priority 77
# What direct steering leaves in other tables is longer than anything in main, and is for marked packets only.
ip rule add fwmark 0xecb0001 lookup 248184833 priority 2360
ip route add 203.0.113.22/32 via 10.0.0.13 table 248184833
ip -6 rule add fwmark 0xecb0001 lookup 248184833 priority 2360
ip -6 route add 2001:db8:f::10/128 via 2001:db8::13 table 248184833
ip route add unreachable 192.0.2.0/24
ip -6 route add unreachable 2001:db8:e::/48
"""
ASK = """
import json, sys
from exporter.local import gateway_to
print(json.dumps([gateway_to(vip) for vip in sys.argv[1:]]))
"""
WANTED = {
    "203.0.113.22": "10.0.0.2",
    "203.0.113.5": "10.0.0.3",
    "198.51.100.7": "10.0.0.2",
    "10.0.0.7": None,
    "10.0.0.9": None,
    "192.0.2.1": None,
    "8.8.8.8": None,
    "2001:db8:f::10": "2001:db8::2",
    "2001:db8::7": None,
    "2001:db8:e::1": None,
    "2001:db9::1": None,
}


@pytest.mark.lab
def test_the_kernel_says_by_which_gateway_it_would_send() -> None:
    enter = ("unshare", "-n") if os.geteuid() == 0 else ("unshare", "-Urn")
    if subprocess.run([*enter, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no network namespaces here")
    argv = [*enter, "sh", "-ec", f'{NETWORK}exec "$@"', "sh", sys.executable, "-c", ASK, *WANTED]
    root = Path(__file__).parents[2]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=30, cwd=root)
    assert done.returncode == 0, done.stderr
    assert dict(zip(WANTED, json.loads(done.stdout), strict=True)) == WANTED


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
