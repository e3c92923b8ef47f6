"""The text of ZebOS command lines (EdgeOS; FortiOS and OcNOS print the same): its lines, headings, uptimes. Pure.

The shapes are those of answers that owners of such routers published: EdgeRouters of several models (metallb/metallb
issue 720; chitoku-k/edgerouter-exporter; notes of others), FortiOS, OcNOS. Releases of EdgeOS before ZebOS, and the
UniFi Security Gateway (metallb/metallb issue 926), print Quagga's, which differ little and are read as well.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from routers.jsontext import as_number, phrase
from routers.model import Answer

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

UPTIME = re.compile(r"never|\d{1,3}:\d\d:\d\d|(?:\d{1,4}[ywdhms]){1,6}")
_UNITS = {"y": 365 * 86_400, "w": 7 * 86_400, "d": 86_400, "h": 3600, "m": 60, "s": 1}
_LARGEST_AS = 2**32 - 1
_HALF = 2**16

_ESCAPE = re.compile(r"\x1b\[[0-9;?]{0,16}[A-Za-z]")
_PAGER = re.compile(r" ?--More--(?:\x08{1,99} {1,99}\x08{1,99}|\r {1,99}\r)?")
_VRF_TABLE = re.compile(r'IP(?:v6)? Route Table for VRF "([^"]{0,64})"|Routing table for VRF=([\w.-]{1,64})')
_VRF_LINE = re.compile(r"VRF:? \"?([\w.-]{1,64})\"?:?(?: (.{0,400}))?")
_DEFAULT_VRFS = {"", "0", "default", "Default-IP-Routing-Table"}
_NO_ROUTE = "% Network not in table"
_NO_BGP = "No BGP process is configured"
_COMPLAINTS = ("permission denied", "sudo:", "invalid command", "command not found", "no such file or directory")


def said(answer: Answer | None) -> str:
    """What the router printed. Raises ValueError with one short phrase for a refusal and for no answer.

    It may be empty: these command lines print nothing where there is nothing to show.
    """
    if answer is None:
        raise ValueError("not asked")
    if answer.error:
        raise ValueError(answer.error)
    if complaint := _complaint(answer.stdout):
        raise ValueError(complaint)
    if not answer.stdout.strip() and (answer.exit_status or answer.stderr.strip()):
        status = f"exit status {answer.exit_status}: " if answer.exit_status else ""
        raise ValueError(f"{status}{phrase(answer.stderr) or 'no message'}")
    return answer.stdout


def _complaint(text: str) -> str | None:
    """The line by which a command was refused. A route that does not exist is an answer."""
    for line in lines(text[:4000]):
        words = line.strip()
        if words.startswith("%") and words != _NO_ROUTE:
            return phrase(words)
        if any(complaint in words[:400].lower() for complaint in _COMPLAINTS):
            return phrase(words)
    return None


def no_such_route(text: str) -> bool:
    """Whether the BGP table was asked for an address that nothing in it covers, or there is no such table."""
    return any(line.strip() in {_NO_ROUTE, _NO_BGP} for line in lines(text))


def lines(text: str) -> list[str]:
    """The lines without what a terminal's pager and colours put between them."""
    return _PAGER.sub("", _ESCAPE.sub("", text)).replace("\x08", "").splitlines()


def of_default_vrf(found: Iterable[str]) -> list[str]:
    """The lines that speak of the default VRF: those below its heading, and those below no heading.

    A heading that stands in front of other words (FortiOS) is taken off them.
    """
    kept = []
    inside = True
    for line in found:
        if not line.startswith(("VRF", "IP", "Routing")):
            if inside:
                kept.append(line)
            continue
        heading = line.strip()
        if match := _VRF_TABLE.fullmatch(heading):
            inside = (match[1] or match[2] or "") in _DEFAULT_VRFS
        elif match := _VRF_LINE.fullmatch(heading):
            inside = match[1] in _DEFAULT_VRFS
            if inside and match[2]:
                kept.append(match[2])
        elif inside:
            kept.append(line)
    return kept


def seconds_of(uptime: str) -> int | None:
    """An uptime in seconds: `00:02:28`, `1d05h38m`, `03w0d00h`, `1y02w3d`; None for `never` and any other text."""
    if uptime == "never" or not UPTIME.fullmatch(uptime):
        return None
    if ":" in uptime:
        hours, minutes, seconds = map(int, uptime.split(":"))
        return hours * 3600 + minutes * 60 + seconds
    return sum(int(number) * _UNITS[unit] for number, unit in re.findall(r"(\d{1,4})([ywdhms])", uptime))


def as_of(text: str | None) -> int | None:
    """An AS number in either notation of RFC 5396: `4200000001` or `64086.59905`."""
    high, dot, low = (text or "").partition(".")
    numbers = [as_number(high), as_number(low) if dot else 0]
    if numbers[0] is None or numbers[1] is None:
        return None
    if dot:
        return numbers[0] * _HALF + numbers[1] if max(numbers[0], numbers[1]) < _HALF else None
    return numbers[0] if numbers[0] <= _LARGEST_AS else None


def first_said(names: Iterable[str], answers: Mapping[str, Answer]) -> str:
    """What the first of several ways to ask brought. Raises ValueError with the first one's reason if none did."""
    reasons = []
    for name in names:
        try:
            return said(answers.get(name))
        except ValueError as error:
            reasons.append(str(error))
    raise ValueError(reasons[0] if reasons else "not asked")
