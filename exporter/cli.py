"""The command line (DESIGN.md section 7). Exit status: 0 all ok, 1 some path is not, 2 bad usage or file."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import lab.cli
from exporter import __version__, paths, rights, router_cli, terminal
from exporter.config import Config
from exporter.configfile import ConfigError, load
from exporter.explain import show_explanation
from exporter.log import FORMATS, LEVELS, set_up
from exporter.monitor import Monitor
from exporter.outside import Machine
from exporter.serve import serve
from exporter.status import Status, to_json
from routers.captures import CaptureError
from routers.platforms import PLATFORMS

_T = TypeVar("_T")

log = logging.getLogger(__name__)

DEFAULT_CONFIG = "ecmp-exporter.yml"
DEFAULT_LISTEN = ":10179"
_LEARNING_SECONDS = 5.0  # after the round, so that there is a sample of how flows are spread
_LONGEST_OFFSET = 60.0  # seconds
_COMMANDS = ("serve", "check", "explain", "paths", "routers", "lab", "demo")


def entry() -> None:
    """The console script."""
    sys.exit(main(sys.argv[1:], give_up_rights=True))


def main(arguments: Sequence[str], *, give_up_rights: bool = False) -> int:
    """Run one command; returns the exit status.

    With `give_up_rights` commands that look at the network keep only those that they need, for good: this is
    for a process that does nothing else.
    """
    options = _parser().parse_args(_with_command(arguments))
    options.give_up_rights = give_up_rights
    set_up(options.log_level, options.log_format)
    try:
        return int(options.run(options))
    except (ConfigError, CaptureError) as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 1


def _with_command(arguments: Sequence[str]) -> list[str]:
    """`serve` may be left out, as in `ecmp-exporter --config.file=F`."""
    first = next((argument for argument in arguments if not argument.startswith("-")), None)
    if first in _COMMANDS or any(argument in ("-h", "--help", "--version") for argument in arguments):
        return list(arguments)
    return ["serve", *arguments]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ecmp-exporter",
        description="Probes every ECMP path of a BGP-announced service from outside and says, per node, what is wrong.",
        epilog="Without a command it serves: ecmp-exporter --config.file=ecmp-exporter.yml",
    )
    parser.add_argument("--version", action="version", version=f"ecmp-exporter {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_serve(commands.add_parser("serve", help="probe all the time and serve metrics, status page and API"))
    check = commands.add_parser("check", help="one full round, then the verdicts")
    _add_common(check)
    check.add_argument("--output", choices=("table", "json"), default="table")
    check.set_defaults(run=_check)
    explain = commands.add_parser("explain", help="the evidence behind a node's verdict, step by step")
    explain.add_argument("node", metavar="NODE")
    explain.add_argument(
        "--syntax",
        metavar="PLATFORM",
        choices=sorted(PLATFORMS),
        help=f"show what to type on another platform as well: {', '.join(sorted(PLATFORMS))}",
    )
    _add_common(explain)
    explain.set_defaults(run=_explain)
    path_map = commands.add_parser("paths", help="a target's path map: which flows take which next hop")
    path_map.add_argument("target", metavar="TARGET")
    _add_common(path_map)
    path_map.add_argument("--output", choices=("table", "json"), default="table")
    path_map.set_defaults(run=_paths)
    routers = commands.add_parser("routers", help="neighbors, routes and FIB as parsed")
    router_cli.configure(routers)
    _add_common(routers)
    routers.set_defaults(run=_routers)
    rehearsal = commands.add_parser("lab", help="the rehearsal network")
    lab.cli.configure(rehearsal)
    _add_logging(rehearsal)
    rehearsal.set_defaults(run=lab.cli.run)
    demo = commands.add_parser("demo", help="the outage in a rehearsal network, and the exporter that sees it")
    lab.cli.configure_demo(demo)
    _add_logging(demo)
    demo.set_defaults(run=lab.cli.run_demo)
    return parser


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config.file", dest="config_file", type=Path, default=Path(DEFAULT_CONFIG), metavar="FILE")
    _add_logging(parser)


def _add_logging(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--log.level", dest="log_level", choices=LEVELS, default="info")
    parser.add_argument("--log.format", dest="log_format", choices=FORMATS, default="logfmt")


def _add_serve(parser: argparse.ArgumentParser) -> None:
    _add_common(parser)
    parser.add_argument(
        "--config.check", dest="config_check", action="store_true", help="check the configuration file, then exit"
    )
    parser.add_argument(
        "--web.listen-address",
        dest="listen",
        action="append",
        metavar="ADDRESS",
        help=f"[HOST]:PORT to listen on, repeatable (default {DEFAULT_LISTEN})",
    )
    parser.add_argument(
        "--web.systemd-socket",
        dest="systemd_socket",
        action="store_true",
        help="use the listening sockets that the service manager hands over",
    )
    parser.add_argument("--web.route-prefix", dest="route_prefix", default="", metavar="PATH")
    parser.add_argument("--web.external-url", dest="external_url", default="", metavar="URL")
    parser.add_argument(
        "--web.enable-adhoc-probes",
        dest="adhoc_probes",
        action="store_true",
        help="/probe takes any target, as blackbox_exporter does; without it only configured ones, by name",
    )
    parser.add_argument(
        "--timeout-offset",
        dest="timeout_offset",
        type=_seconds,
        default=0.5,
        metavar="SECONDS",
        help="how long before Prometheus' scrape timeout /probe answers (default 0.5)",
    )
    parser.set_defaults(run=_serve)


def _seconds(text: str) -> float:
    """Of a flag; argparse turns a ValueError into a message."""
    value = float(text)
    if not 0 <= value <= _LONGEST_OFFSET:
        raise ValueError(text)
    return value


def _serve(options: argparse.Namespace) -> int:
    config = load(options.config_file)
    if options.config_check:
        print(f"{options.config_file}: ok, {_size(config)}")  # noqa: T201
        return 0
    return asyncio.run(
        serve(
            config,
            options.config_file,
            listen=options.listen or [DEFAULT_LISTEN],
            systemd_socket=options.systemd_socket,
            route_prefix=options.route_prefix,
            external_url=options.external_url,
            give_up_rights=options.give_up_rights,
            adhoc_probes=options.adhoc_probes,
            timeout_offset=options.timeout_offset,
        )
    )


def _check(options: argparse.Namespace) -> int:
    config = load(options.config_file)
    status = asyncio.run(_look(config, options, _status))
    if options.output == "json":
        _print_json(to_json(status))
    else:
        terminal.show_status(terminal.console(), status)
    return 0 if status.all_ok else 1


def _explain(options: argparse.Namespace) -> int:
    config = load(options.config_file)
    known = [node.name for node in config.nodes]
    if options.node not in known:
        print(f"no node {options.node!r}; there are {', '.join(known)}", file=sys.stderr)  # noqa: T201
        return 2
    return asyncio.run(_look(config, options, lambda monitor: _explained(monitor, options.node, options.syntax)))


async def _explained(monitor: Monitor, node: str, syntax: str | None) -> int:
    status = await _status(monitor)
    show_explanation(terminal.console(), status, monitor.views, node, syntax)
    own = next(one for one in status.nodes if one.name == node)
    return 0 if own.verdict == "ok" else 1


def _paths(options: argparse.Namespace) -> int:
    config = load(options.config_file)
    known = [target.name for target in config.targets]
    if options.target not in known:
        print(f"no target {options.target!r}; there are {', '.join(known)}", file=sys.stderr)  # noqa: T201
        return 2
    status = asyncio.run(_look(config, options, _learned))
    if options.output == "json":
        _print_json(paths.to_json(status, options.target))
    else:
        paths.show_paths(terminal.console(), status, options.target)
    return 0


async def _learned(monitor: Monitor) -> Status:
    await _status(monitor)
    with terminal.console(stderr=True).status("finding out which flows take which next hops"):
        await monitor.learn(_LEARNING_SECONDS, publish=True)
    return monitor.status()


def _routers(options: argparse.Namespace) -> int:
    router_cli.check(options)
    if options.replay is not None:
        return router_cli.replay(options)
    config = load(options.config_file)
    known = [router.name for router in config.routers]
    if options.name is not None and options.name not in known:
        print(f"no router {options.name!r}; there are {', '.join(known)}", file=sys.stderr)  # noqa: T201
        return 2
    if options.capture is not None and options.name is None and len(known) != 1:
        print(f"which router is to be captured? There are {', '.join(known)}", file=sys.stderr)  # noqa: T201
        return 2
    with router_cli.room_for_capture(options.capture):
        return asyncio.run(_look(config, options, lambda monitor: router_cli.read_routers(monitor, options, known)))


async def _status(monitor: Monitor) -> Status:
    with terminal.console(stderr=True).status("asking the routers and probing every path"):
        await monitor.full_round()
    return monitor.status()


async def _look(config: Config, options: argparse.Namespace, look: Callable[[Monitor], Awaitable[_T]]) -> _T:
    """One look at everything, with all that was opened closed again."""
    machine = Machine(__version__)
    await machine.open()
    if machine.scout.why_not:
        log.debug("flows cannot be traced: %s", machine.scout.why_not)
    if options.give_up_rights:
        rights.give_up(config, options.config_file, logging.DEBUG)
    monitor = Monitor(config, machine, __version__)
    try:
        return await look(monitor)
    finally:
        await monitor.close()
        await machine.close()


def _print_json(document: Mapping[str, Any]) -> None:
    terminal.print_json(document)


def _size(config: Config) -> str:
    return f"{len(config.routers)} routers, {len(config.nodes)} nodes, {len(config.targets)} targets"
