"""RouterOS 7 over REST: what is asked, and rows out of what comes back. Every value is a string.

REST is the console over HTTP ("REST API", help.mikrotik.com/docs): GET of a menu and POST of its `print` both only
read. `.proplist` chooses properties; `.query` has the words of an API query, pushed on a stack, and `#|` replaces two
by whether one of them holds ("API", the same manual, "Queries").
"""

from __future__ import annotations

import ipaddress
import json
import re
from typing import TYPE_CHECKING, Any

from routers.jsontext import as_dict, as_number, as_prefix, as_text, parse, phrase
from routers.model import IPV4, Answer, Command, family_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

Row = dict[str, Any]

_ROUTE_PROPERTIES = (
    "dst-address,routing-table,afi,contribution,active,filtered,unreachable,disabled,inactive,ecmp,blackhole,"
    "bgp,bgp-net,static,connect,ospf,rip,isis,dhcp,vpn,modem,slaac,gateway,immediate-gw,distance,belongs-to,"
    "bgp.session,bgp.nexthop,bgp.as-path,bgp.local-pref,bgp.weight,bgp.med,bgp.origin,bgp.igp-metric,bgp.communities"
)
_PREFIXES_PER_REQUEST = 200
_DURATION = re.compile(
    r"(?:(\d{1,9})w)?(?:(\d{1,9})d)?(?:(\d{1,9})h)?(?:(\d{1,9})m(?!s))?(?:(\d{1,9})s)?(?:\d{1,9}ms)?"
)
_CLOCK = re.compile(r"(?:(\d{1,9})w)?(?:(\d{1,9})d)?(\d{1,2}):(\d{2}):(\d{2})(?:\.\d{1,9})?")
_SCALE = (7 * 86_400, 86_400, 3_600, 60, 1)


def get(name: str, menu: str, properties: str | None = None) -> Command:
    """The rows of a menu. Properties keep what is secret, such as a connection's `tcp-md5-key`, on the router."""
    return Command(name, ("GET", f"/rest{menu}" + (f"?.proplist={properties}" if properties else "")))


def every_route(name: str, menu: str) -> Command:
    """Each route of a table: for a router that refuses queries."""
    return get(name, menu, _ROUTE_PROPERTIES)


def covering_routes(name: str, vips: Iterable[str], *, default_routes: bool) -> Iterator[Command]:
    """Every route whose prefix covers one of the VIPs, in as few requests as their number allows."""
    wanted = dict.fromkeys(prefix for vip in vips for prefix in _covering(vip, 0 if default_routes else 1))
    prefixes = list(wanted)
    for number, start in enumerate(range(0, len(prefixes), _PREFIXES_PER_REQUEST), start=1):
        yield _routes_to(f"{name} {number}", prefixes[start : start + _PREFIXES_PER_REQUEST])


def routes_to(name: str, prefixes: Sequence[str]) -> Iterator[Command]:
    """Routes of some prefixes, asked for as those that cover VIPs are: one request, or none for no prefix."""
    if prefixes:
        yield _routes_to(name, prefixes[:_PREFIXES_PER_REQUEST])


def _routes_to(name: str, prefixes: Sequence[str]) -> Command:
    words = [f"dst-address={prefix}" for prefix in prefixes]
    query = [*words, "#" + "|" * (len(words) - 1)] if len(words) > 1 else words
    body = json.dumps({".proplist": _ROUTE_PROPERTIES.split(","), ".query": query}, separators=(",", ":"))
    return Command(name, ("POST", "/rest/routing/route/print"), stdin=body)


def networks_of(addresses: Iterable[Row]) -> list[str]:
    """The networks of the router's own addresses that are in use: to each of them it has a connected route."""
    found = []
    for row in addresses:
        address, _, length = (as_text(row.get("address")) or "").partition("/")
        prefix = as_prefix(f"{as_text(row.get('network')) or address}/{length}")  # `network`: the other end's, of a /32
        if prefix is not None and not yes(row.get("disabled")) and not yes(row.get("invalid")):
            found.append(str(prefix))
    return list(dict.fromkeys(found))


def _covering(vip: str, shortest: int) -> Iterator[str]:
    """Raises ValueError for text that is no address."""
    for length in range(32 if family_of(vip) == IPV4 else 128, shortest - 1, -1):
        yield str(ipaddress.ip_network(f"{vip}/{length}", strict=False))


def rows(name: str, answers: Mapping[str, Answer]) -> list[Row]:
    """The rows of an answer, none of them empty. Raises ValueError with one short phrase if it has none to give."""
    answer = answers.get(name, Answer(error="not asked"))
    if answer.error is not None:
        raise ValueError(answer.error)
    if answer.exit_status:
        raise ValueError(_refusal(answer))
    document = parse(answer.stdout)
    if isinstance(document, dict) and "error" in document:
        raise ValueError(_refusal(answer))
    if not isinstance(document, list) or not all(isinstance(row, dict) and row for row in document):
        raise ValueError("no list of rows")
    return document


def properties(name: str, answers: Mapping[str, Answer]) -> Row:
    """The properties of a menu without rows, which is one object. Raises ValueError as `rows` does."""
    answer = answers.get(name, Answer(error="not asked"))
    document = parse(answer.stdout) if answer.error is None and not answer.exit_status else None
    if isinstance(document, dict) and document and "error" not in document:
        return document
    return next(iter(rows(name, answers)), {})


def _refusal(answer: Answer) -> str:
    """What RouterOS says: `{"error": 400, "message": "Bad Request", "detail": "no such command"}`."""
    try:
        document = as_dict(parse(answer.stdout))
    except ValueError:
        document = {}
    said = [text for key in ("message", "detail") if (text := as_text(document.get(key)))]
    status = document.get("error") if isinstance(document.get("error"), int) else answer.exit_status
    return phrase(f"HTTP status {status}: {', '.join(said) or answer.stderr or 'no reason given'}")


def refused(name: str, answers: Mapping[str, Answer]) -> bool:
    """The router answered, but with something else than rows: asking in another way may help."""
    if name not in answers or answers[name].error is not None:
        return False
    try:
        rows(name, answers)
    except ValueError:
        return True
    return False


def yes(value: object) -> bool:
    """A flag that is set; one that is not set may be absent."""
    return value is True or value in ("true", "yes")


def no(value: object) -> bool:
    """A flag that is told to be off."""
    return value is False or value in ("false", "no")


def number(value: object) -> int | None:
    """The whole number that a value stands for; None for anything else."""
    return as_number(value if isinstance(value, str) else str(value) if type(value) is int else None)


def words(value: object) -> tuple[str, ...]:
    """The members of a property that may have several."""
    parts = value if isinstance(value, list) else value.split(",") if isinstance(value, str) else []
    return tuple(part.strip() for part in parts if isinstance(part, str) and part.strip())


def seconds(value: object) -> float | None:
    """The length of `1w2d3h4m5s280ms` or `2d03:04:05`; None for anything else, nothing included."""
    text = value if isinstance(value, str) else ""
    match = (_DURATION.fullmatch(text) or _CLOCK.fullmatch(text)) if text else None
    if match is None:
        return None
    return float(sum(int(part or 0) * scale for part, scale in zip(match.groups(), _SCALE, strict=True)))


def bare(address: str) -> str:
    """An address without its interface (`%ether1`), VRF (`@blue`) and port (`+179`)."""
    return re.split(r"[%@+]", address, maxsplit=1)[0]
