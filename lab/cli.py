"""The command line of the lab: up, down, status, break, heal."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from collections.abc import Iterator

from lab import commands, demo, faults, place
from lab.plan import (
    BESIDE,
    HASH_MODES,
    MAX_NODES,
    PROBER_LAN_V4,
    PROBER_LAN_V6,
    PROBER_MORE_V4,
    PROBER_MORE_V6,
    PROBER_V4,
    PROBER_V6,
    LabError,
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the lab's commands to a parser; `run` executes what it has parsed."""
    parser.description = "A cluster and its router in network namespaces, with faults to inject."
    actions = parser.add_subparsers(dest="lab_command", required=True, metavar="COMMAND")

    def action(name: str, text: str) -> argparse.ArgumentParser:
        found = actions.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        found.add_argument("--name", help="which lab (default: the only one; up: lab)")
        return found

    up = action("up", "build the lab; what is left of one of that name is removed first")
    up.add_argument("--nodes", type=int, default=3, metavar="N", help=f"1 to {MAX_NODES}, default 3")
    up.add_argument(
        "--router",
        choices=("frr", "bird", *BESIDE),
        help=f"default: frr for root, else bird; {' and '.join(BESIDE)} cannot forward and stand beside the default",
    )
    up.add_argument(
        "--beside", action="append", default=[], choices=BESIDE, help="one more BGP daemon on the router; repeatable"
    )
    up.add_argument("--hash", choices=HASH_MODES, default="five-tuple", help="what the router hashes")
    up.add_argument(
        "--fault", action="append", default=[], metavar="FAULT[:NODE]", help="start with a fault; repeatable"
    )
    up.add_argument("--transit", action="store_true", help="one more router between prober and edge")
    up.add_argument(
        "--beside-nodes", action="store_true", help="the prober is on the nodes' LAN too; its way to the VIPs stays"
    )
    action("down", "remove the lab")
    status = action("status", "show namespaces, daemons, sessions and faults")
    status.add_argument("--json", action="store_true", help="for programs")
    break_ = action("break", "inject a fault")
    break_.add_argument("fault", metavar="FAULT", help=", ".join(faults.all_names()))
    break_.add_argument("node", metavar="NODE", nargs="?", help="default: leviathan3 (or the last node)")
    heal = action("heal", "take back a fault, or all of them")
    heal.add_argument("fault", metavar="FAULT", nargs="?")
    heal.add_argument("node", metavar="NODE", nargs="?", help="default: every node")


def _say(line: str) -> None:
    print(line, flush=True)


def run(args: argparse.Namespace) -> int:
    """Execute a parsed command: 0, or 2 with one sentence on standard error."""
    try:
        _dispatch(args)
    except LabError as error:
        print(f"ecmp-exporter lab: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("ecmp-exporter lab: interrupted; `lab down` removes what is there", file=sys.stderr)
        return 130
    return 0


def _dispatch(args: argparse.Namespace) -> None:
    match args.lab_command:
        case "up":
            _up(args)
        case "down":
            commands.down(args.name, say=_say)
        case "status":
            _status(args)
        case "break":
            _conclude(commands.break_(args.fault, args.node, name=args.name, say=_say))
        case _:
            _conclude(commands.heal(args.fault, args.node, name=args.name, say=_say))


def _conclude(line: str) -> None:
    if not place.within():
        _say(line)


def _up(args: argparse.Namespace) -> None:
    start = time.monotonic()
    name = commands.DEFAULT_NAME if args.name is None else args.name
    state = commands.up(
        name,
        nodes=args.nodes,
        router=args.router,
        hash_mode=args.hash,
        fault=args.fault,
        transit=args.transit,
        beside_nodes=args.beside_nodes,
        beside=args.beside,
        say=_say,
    )
    if place.within():
        return  # the command outside has its own, right words for this
    example = ["ecmp-exporter", "check", f"--config.file={state / 'exporter.yml'}"]
    _say(f"lab {name} is up after {time.monotonic() - start:.1f} s; in its prober you can run")
    _say("  " + shlex.join(commands.prober_command(name, example)))


def _status(args: argparse.Namespace) -> None:
    status = commands.status(args.name)
    if args.json:
        _say(json.dumps(status.as_dict()))
        return
    from rich.console import Console  # noqa: PLC0415 (slow to import, needed here only)
    from rich.table import Table  # noqa: PLC0415

    table = Table(title=f"lab {status.name}", show_header=False)
    dead = [name for name, alive in status.daemons.items() if not alive]
    rows = {
        "built": "yes" if status.complete else "not to the end",
        "router": f"{status.router}, hash {status.hash_mode}" + "".join(f", {one} beside" for one in status.beside),
        "prober": "; ".join(_prober(transit=status.transit, beside_nodes=status.beside_nodes)),
        "namespaces": f"{status.namespaces}" + "".join(f", missing {n}" for n in status.namespaces_missing),
        "daemons": f"{len(status.daemons) - len(dead)} alive" + "".join(f", dead: {name}" for name in dead),
        "faults": ", ".join(status.faults) or "none",
        "sessions": "\n".join(f"{node} {state}" for node, state in status.sessions.items()),
        "next hops": "\n".join(f"{vip} {', '.join(nodes)}" for vip, nodes in status.next_hops.items()),
        "unexpected": "\n".join(status.problems) or "nothing",
        "files": status.state_directory,
        "in the prober": shlex.join(commands.prober_command(status.name, ["COMMAND"])),
    }
    for name, value in rows.items():
        table.add_row(name, value)
    Console(soft_wrap=True).print(table)


def _prober(*, transit: bool, beside_nodes: bool) -> Iterator[str]:
    for address, more in ((PROBER_V4, PROBER_MORE_V4), (PROBER_V6, PROBER_MORE_V6)):
        yield f"{address}, and {more[0]} to {more[-1].rpartition(':')[2].rpartition('.')[2]} as further sources"
    yield "behind one more router (transit)" if transit else "next to edge"
    if beside_nodes:
        yield f"on the nodes' LAN as {PROBER_LAN_V4} and {PROBER_LAN_V6} (lan0)"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m lab")
    configure(parser)
    return run(parser.parse_args())


def configure_demo(parser: argparse.ArgumentParser) -> None:
    """Add the demo's options to a parser; `run_demo` executes what it has parsed."""
    parser.add_argument("--name", default=demo.NAME, help=f"of its lab, default {demo.NAME}")
    parser.add_argument("--port", type=int, default=demo.PORT, help=f"of localhost, default {demo.PORT}")
    parser.add_argument("--once", action="store_true", help="show the verdicts, then end")


def run_demo(args: argparse.Namespace) -> int:
    """The demo: 0, or 2 with one sentence on standard error."""
    try:
        return demo.run(args.name, args.port, once=args.once, say=_say)
    except LabError as error:
        print(f"ecmp-exporter demo: {error}", file=sys.stderr)
        return 2
