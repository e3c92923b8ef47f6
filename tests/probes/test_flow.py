from __future__ import annotations

import asyncio
import ctypes
import errno
import os
import socket
import struct
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from probes import flow
from probes.failure import ProbeError
from probes.model import Failure, Flow
from tests.probes.servers import closed_port, open_descriptors, serving, silent, unanswered_port

if TYPE_CHECKING:
    from probes.ports import Source

TIME_WAIT = 6
HAS_IPV6 = Path("/proc/net/if_inet6").exists()
IPV6_FLOWLABEL_MGR, IPV6_FL_F_REMOTE = 32, 8  # <linux/in6.h>


async def failure_of(pinned: Flow) -> ProbeError:
    with pytest.raises(ProbeError) as caught:
        await flow.connect(pinned)
    return caught.value


async def test_binds_the_given_source(source: Source) -> None:
    async with serving(silent) as port:
        pinned = Flow("127.0.0.1", port, source.address, source.port)
        with closing(await flow.connect(pinned)) as sock:
            assert sock.getsockname() == source
            assert flow.used_flow(sock, pinned) == pinned
            assert not sock.getblocking()
            assert not sock.get_inheritable()


@pytest.mark.parametrize("address", [None, "127.0.0.5"])
async def test_reports_what_the_kernel_chose(address: str | None) -> None:
    async with serving(silent) as port:
        pinned = Flow("127.0.0.1", port, address)
        with closing(await flow.connect(pinned)) as sock:
            used = flow.used_flow(sock, pinned)
    assert used.source == (address or "127.0.0.1")
    assert used.source_port in flow.ephemeral_ports()


async def test_binds_a_port_alone(source: Source) -> None:
    async with serving(silent) as port:
        pinned = Flow("127.0.0.1", port, None, source.port + 3000)
        with closing(await flow.connect(pinned)) as sock:
            assert flow.used_flow(sock, pinned) == Flow("127.0.0.1", port, "127.0.0.1", source.port + 3000)


@pytest.mark.skipif(not HAS_IPV6, reason="this machine has no IPv6 at all")
async def test_ipv6(source: Source) -> None:
    async with serving(silent, host="::1") as port:
        pinned = Flow("::1", port, "::1", source.port)
        with closing(await flow.connect(pinned)) as sock:
            assert flow.used_flow(sock, pinned) == pinned
    assert (await failure_of(Flow("::1", closed_port("::1")))).failure is Failure.REFUSED


@pytest.mark.skipif(not HAS_IPV6, reason="this machine has no IPv6 at all")
async def test_flow_label_is_pinned(source: Source) -> None:
    by_default = auto_flowlabels()
    if by_default == 3:
        pytest.skip("net.ipv6.auto_flowlabels lets no socket decide")
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as listener:
        port = listener.getsockname()[1]
        with closing(await flow.connect(Flow("::1", port, "::1", source.port))):
            assert label_of_peer(listener) == 0
        with socket.create_connection(("::1", port)):
            assert bool(label_of_peer(listener)) is (by_default == 1), "or the test sees nothing"


def auto_flowlabels() -> int:
    """ip-sysctl.rst: 0 never, 1 unless a socket will not, 2 where a socket asks for it, 3 always."""
    return int(Path("/proc/sys/net/ipv6/auto_flowlabels").read_text(encoding="ascii"))


def label_of_peer(listener: socket.socket) -> int:
    """The flow label of the packet that finished the handshake of the connection to be accepted."""
    accepted, _ = listener.accept()
    with accepted:
        # struct in6_flowlabel_req
        request = ctypes.create_string_buffer(struct.pack("=16sIBBHHHI", b"", 0, 0, 0, IPV6_FL_F_REMOTE, 0, 0, 0), 32)
        length = ctypes.c_uint(len(request))
        libc = ctypes.CDLL(None, use_errno=True)
        arguments = (socket.IPPROTO_IPV6, IPV6_FLOWLABEL_MGR, request, ctypes.byref(length))
        assert libc.getsockopt(accepted.fileno(), *arguments) == 0, os.strerror(ctypes.get_errno())
        return int.from_bytes(request.raw[16:20], "big")


async def test_mark_that_may_not_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    class Unprivileged(socket.socket):
        def setsockopt(self, level: int, name: int, value: object, *_: object) -> None:
            if (level, name) == (socket.SOL_SOCKET, socket.SO_MARK):
                raise PermissionError(errno.EPERM, "Operation not permitted")
            super().setsockopt(level, name, value)  # type: ignore[call-overload]

    monkeypatch.setattr(socket, "socket", Unprivileged)
    before = open_descriptors()
    error = await failure_of(Flow("127.0.0.1", 9, mark=7))
    assert error.failure is Failure.LOCAL
    assert error.detail.startswith("this process may not mark packets")
    assert open_descriptors() == before
    assert (await failure_of(Flow("127.0.0.1", closed_port()))).failure is Failure.REFUSED


@pytest.mark.lab
@pytest.mark.parametrize("mark", [7, 0x80000001])
async def test_mark(source: Source, mark: int) -> None:
    async with serving(silent) as port:
        pinned = Flow("127.0.0.1", port, *source, mark=mark)
        with closing(await flow.connect(pinned)) as sock:
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_MARK) & 0xFFFFFFFF == mark
            assert flow.used_flow(sock, pinned) == pinned


async def test_refused(source: Source) -> None:
    error = await failure_of(Flow("127.0.0.1", closed_port(), source.address, source.port))
    assert error.failure is Failure.REFUSED
    assert error.detail == "TCP handshake: Connection refused"


async def test_one_port_serves_two_destinations_at_once(source: Source) -> None:
    async with serving(silent) as one, serving(silent) as two:
        with (
            closing(await flow.connect(Flow("127.0.0.1", one, *source))),
            closing(await flow.connect(Flow("127.0.0.1", two, *source))) as second,
        ):
            assert second.getsockname() == source


async def test_flow_in_use_is_a_local_port_conflict(source: Source) -> None:
    async with serving(silent) as port:
        with closing(await flow.connect(Flow("127.0.0.1", port, *source))):
            error = await failure_of(Flow("127.0.0.1", port, *source))
    assert error.failure is Failure.LOCAL_PORT
    assert "still in use" in error.detail


@pytest.mark.parametrize("listens", [False, True])
async def test_port_held_by_another_program_is_a_local_port_conflict(source: Source, listens: bool) -> None:
    with socket.socket() as holder:
        holder.bind(source)
        if listens:
            holder.listen()
        async with serving(silent) as port:
            error = await failure_of(Flow("127.0.0.1", port, *source))
    assert error.failure is Failure.LOCAL_PORT
    assert "is taken" in error.detail


async def test_port_in_time_wait_never_looks_like_the_path(source: Source) -> None:
    async with serving(silent) as port:
        pinned = Flow("127.0.0.1", port, *source)
        flow.finish(await flow.connect(pinned))  # closes first, so the flow rests on our side
        await rests_in_time_wait(source, port)
        try:
            with closing(await flow.connect(pinned)):
                pass  # timestamps let Linux reuse it
        except ProbeError as error:
            assert error.failure is Failure.LOCAL_PORT  # noqa: PT017 - either answer is right
        async with serving(silent) as other:
            with closing(await flow.connect(Flow("127.0.0.1", other, *source))) as sock:
                assert sock.getsockname() == source


async def test_reset_leaves_no_time_wait(source: Source) -> None:
    async with serving(silent) as port:
        sock = await flow.connect(Flow("127.0.0.1", port, *source))
        flow.reset(sock)
        flow.reset(sock)  # closed already
        assert states(source, port) == []


async def test_missing_source_address() -> None:
    error = await failure_of(Flow("127.0.0.1", 9, "192.0.2.77", 20000))
    assert error.failure is Failure.LOCAL
    assert error.detail == "source address 192.0.2.77 is not on this machine"


@pytest.mark.parametrize(
    ("pinned", "detail"),
    [
        (Flow("www.example.org", 80), "'www.example.org' is no usable IP address"),
        (Flow("127.0.0.1", 80, "localhost", 1), "'localhost' is no usable IP address"),
        (Flow("fe80::1%no-such-if", 80), "'fe80::1%no-such-if' is no usable IP address"),
        (Flow("::1", 80, "127.0.0.1"), "source 127.0.0.1 and destination ::1 differ in family"),
        (Flow("192.0.2.1", 80, "127.0.0.1"), "this machine cannot send to 192.0.2.1"),
    ],
)
async def test_what_this_machine_cannot_do(pinned: Flow, detail: str) -> None:
    error = await failure_of(pinned)
    assert error.failure is Failure.LOCAL
    assert error.detail.startswith(detail)


async def test_no_descriptor_left(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_descriptor(*_: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(socket, "socket", no_descriptor)
    error = await failure_of(Flow("127.0.0.1", 80))
    assert error.failure is Failure.LOCAL
    assert error.detail == "this machine cannot open a socket: Too many open files"


async def test_leaks_no_descriptor(source: Source) -> None:
    with unanswered_port() as port:
        before = open_descriptors()
        for _ in range(20):
            await failure_of(Flow("127.0.0.1", closed_port()))
            await failure_of(Flow("127.0.0.1", 9, "192.0.2.77", 20000))
            waiting = asyncio.create_task(flow.connect(Flow("127.0.0.1", port, *source)))
            await asyncio.sleep(0.005)
            assert not waiting.done()
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        assert open_descriptors() == before


async def test_peer_that_never_closes_does_not_hold_the_flow_for_long(source: Source) -> None:
    async with serving(silent) as port:
        sock = await flow.connect(Flow("127.0.0.1", port, *source))
        flow.soften(sock)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_LINGER2) == flow.FIN_WAIT2_SECONDS
        flow.reset(sock)
    flow.soften(sock)  # closed already


def test_zone_by_name_and_by_number() -> None:
    index = socket.if_nametoindex("lo")
    expected = (socket.AF_INET6, ("fe80::1", 22, 0, index))
    assert flow.socket_address("fe80::1%lo", 22) == expected
    assert flow.socket_address(f"fe80::1%{index}", 22) == expected


def test_ephemeral_ports_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(flow, "_EPHEMERAL", tmp_path / "missing")
    assert flow.ephemeral_ports() == range(32768, 61000)


async def rests_in_time_wait(source: Source, port: int) -> None:
    async with asyncio.timeout(10):
        while states(source, port) != [TIME_WAIT]:  # noqa: ASYNC110 - the kernel sets no event
            await asyncio.sleep(0.01)


def states(source: Source, port: int) -> list[int]:
    """The kernel's TCP states of the flow from `source` to `port`, as in include/net/tcp_states.h."""
    assert source.address is not None
    local = f"{int.from_bytes(socket.inet_aton(source.address), sys.byteorder):08X}:{source.port:04X}"
    rows = [line.split() for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]]
    return [int(row[3], 16) for row in rows if row[1] == local and row[2].endswith(f":{port:04X}")]
