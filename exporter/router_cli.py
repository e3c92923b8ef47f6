"""`ecmp-exporter routers`: what the routers say, kept as a capture on demand, or read from one."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import secrets
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from exporter import __version__, captured, terminal
from exporter.feed import RouterFeed
from exporter.monitor import Monitor
from exporter.router_tables import to_json
from exporter.status import RouterStatus
from routers.anonymous_text import anonymised
from routers.captures import Capture, CaptureError
from routers.model import NextHop, OracleFlow, Snapshot
from routers.reader import Record

_FLOWS_OF_A_VIP = 8
_MOST_FLOWS = 256
_KEY_BYTES = 32

_Flows = Mapping[str, Mapping[OracleFlow, NextHop | None]]


def configure(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    parser.add_argument("name", metavar="NAME", nargs="?", help="one router; without it all of them")
    parser.add_argument("--output", choices=("table", "json"), default="table")
    parser.add_argument(
        "--capture", type=Path, metavar="DIR", help="write what the router said into DIR, as it came, to be handed in"
    )
    parser.add_argument(
        "--anonymise",
        "--anonymize",
        action="store_true",
        help="in the capture, replace addresses, MAC addresses, host names and descriptions by others",
    )
    parser.add_argument("--replay", type=Path, metavar="DIR", help="read a capture, and ask no router")
    parser.add_argument(
        "--oracle", action="store_true", help="ask the router, too, which next hops some flows of the prober would take"
    )


def check(options: argparse.Namespace) -> None:
    """Raises CaptureError for flags that make no sense together."""
    if options.anonymise and options.capture is None:
        raise CaptureError("--anonymise is for a capture: say where to write it with --capture DIR")


@contextlib.contextmanager
def room_for_capture(directory: Path | None) -> Iterator[None]:
    """A directory to write a capture into; taken away again if it was made here and nothing came of it."""
    made = directory is not None and captured.prepare(directory)
    try:
        yield
    finally:
        if made and directory is not None:
            with contextlib.suppress(OSError):
                directory.rmdir()  # which leaves one that holds something


async def read_routers(monitor: Monitor, options: argparse.Namespace, known: Sequence[str]) -> int:
    """Ask the routers and print what they said; 0 if all of them answered."""
    name = known[0] if options.capture is not None and options.name is None else options.name
    feeds = {router: feed for router, feed in monitor.feeds.items() if name in (None, router)}
    for feed in feeds.values():
        feed.record = Record()
    await monitor.resolve()
    flows: dict[str, Mapping[OracleFlow, NextHop | None]] = {}
    with terminal.console(stderr=True).status("asking the routers"):
        await asyncio.gather(*(monitor.poll(router) for router in feeds))
        if options.oracle:
            told = await asyncio.gather(*(_ask_oracle(monitor, feed) for feed in feeds.values()))
            flows = {router: own for router, own in zip(feeds, told, strict=True) if own is not None}
    chosen = [router for router in monitor.status().routers if router.name in feeds]
    _show(options, chosen, {router: feed.snapshot for router, feed in monitor.feeds.items()}, flows)
    if options.capture is not None:
        (feed,) = feeds.values()
        _keep(options, monitor, feed)
    return 0 if all(router.up for router in chosen) else 1


async def _ask_oracle(monitor: Monitor, feed: RouterFeed) -> Mapping[OracleFlow, NextHop | None] | None:
    """What the oracle says of a few flows to each VIP; None where the platform has none."""
    query = feed.record.query if feed.record is not None else None
    if feed.platform.ORACLE is None or query is None:
        return None
    ports = monitor.config.probing.source_ports[:_FLOWS_OF_A_VIP]
    flows = [
        OracleFlow(query.sources[vip], port, vip, target.port, vrf=query.vrf)
        for target in monitor.expected.targets.values()
        for vip in target.vips
        if vip in query.sources
        for port in ports
    ][:_MOST_FLOWS]
    before = feed.error
    told = await feed.ask_oracle(flows)
    complaint, feed.error = feed.error, before  # that of the oracle is no trouble of the tables
    if complaint != before:
        terminal.console(stderr=True).print(f"{feed.config.name}: {complaint}", markup=False, soft_wrap=True)
    return {flow: told.get(flow) for flow in flows}


def _keep(options: argparse.Namespace, monitor: Monitor, feed: RouterFeed) -> None:
    record = feed.record
    if record is None or not record.answers:
        raise CaptureError(f"nothing was captured: {feed.error or 'the router was not asked'}")
    nodes = {node.name: node.addresses for node in monitor.expected.nodes.values()}
    capture = captured.of_record(record, feed.config.name, feed.config.platform, __version__, nodes)
    _write(options, capture)


def _write(options: argparse.Namespace, capture: Capture) -> None:
    if options.anonymise:
        capture = anonymised(capture, secrets.token_bytes(_KEY_BYTES))
    size = captured.write(options.capture, capture)
    kind = "other addresses and names in the place of" if capture.manifest.anonymised else "all addresses and names of"
    terminal.console(stderr=True).print(
        f"{options.capture}: {len(capture.answers) + len(capture.oracle)} answers, {size} bytes, with {kind} the "
        "router's. Read it through before you hand it in.",
        soft_wrap=True,
        markup=False,
    )


def replay(options: argparse.Namespace) -> int:
    """Print what a capture holds, as `read_routers` would have; with --capture, write it anew."""
    capture = captured.load(options.replay)
    replayed = captured.replay(capture, options.name)
    if options.oracle and not capture.manifest.flows:
        raise CaptureError(f"{options.replay}: no flows were asked about: take the capture with --oracle, too")
    name = replayed.router.name
    _show(options, [replayed.router], {name: replayed.snapshot}, {name: replayed.flows} if options.oracle else {})
    if options.capture is not None:
        with room_for_capture(options.capture):
            _write(options, capture)
    return 0 if replayed.router.up else 1


def _show(
    options: argparse.Namespace,
    routers: Sequence[RouterStatus],
    snapshots: Mapping[str, Snapshot | None],
    flows: _Flows,
) -> None:
    if options.output == "json":
        terminal.print_json(to_json(routers, snapshots, flows))
        return
    out = terminal.console()
    terminal.show_routers(out, routers, dict(snapshots))
    for own in flows.values():
        terminal.show_flows(out, own)
