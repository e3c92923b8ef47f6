"""A whole capture made anonymous: every address, hardware address and name in its texts, the same everywhere. Pure."""

from __future__ import annotations

import hashlib
import ipaddress
import re
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from routers.anonymous import Addresses, branches
from routers.captures import Capture
from routers.model import IPV4, IPV6, Answer, Command, OracleFlow, Query

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

REMOVED = "removed"

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_TOKEN = re.compile(
    r"(?:"
    r"(?<![\w:.-])(?P<mac>[0-9A-Fa-f]{2}(?P<by>[:-])(?:[0-9A-Fa-f]{2}(?P=by)){4}[0-9A-Fa-f]{2})(?![\w:-])"
    r"|(?<![\w:.-])(?P<dotted>(?:[0-9A-Fa-f]{4}\.){2}[0-9A-Fa-f]{4})(?![\w:-]|\.\w)"
    r"|(?<![\w:.%])(?P<v6>(?=[0-9A-Fa-f]{0,4}:)[0-9A-Fa-f:]{2,40})(?!\.?\w)"
    r"|(?<![\w%])(?P<quoted>(?:[0-9A-Fa-f]{0,4}%3[Aa]){2,8}[0-9A-Fa-f]{0,4})(?!\w)"
    r"|(?<![A-Za-z0-9.])(?P<v4>(?:\d{1,3}\.){3}\d{1,3})(?!\.?\d)"
    r")(?:(?P<slash>\\?/|%2[Ff])(?P<length>\d{1,3})(?!\d))?(?P<gap> {2,80})?"
)
_LEAF = r"(?:\[\s{0,8}\{\s{0,8}\"data\"\s{0,8}:\s{0,8})?"  # how Junos wraps every value
_NAME_KEYS = r"[\w-]{0,40}(?:host[-_]?name|domain[-_]?name|sys[-_]?name|system[-_]name|node[-_]?name)|fqdn"
_NAMED = re.compile(
    rf"\"(?:{_NAME_KEYS})\"\s{{0,8}}:\s{{0,8}}{_LEAF}\"(?P<json>[\w.-]{{1,253}})\""
    r"|^(?:[\w.-]{1,64}@)?(?P<prompt>[\w.-]{1,253})(?:[#>] ?|:~\$ )(?=show )"
    r"|FRRouting \S{1,60} \((?P<frr>[\w.-]{1,253})\)"
    r"|^ ?(?:Hostname(?: is|:)|set system host-name|hostname) ?(?P<plain>[\w.-]{1,253})(?=[ \t]*$)",
    re.MULTILINE | re.IGNORECASE,
)
_DESCRIBED = re.compile(
    rf"(?P<json>\"[\w-]{{0,40}}(?:desc|descr|description|comment|ifalias)\"\s{{0,8}}:\s{{0,8}}{_LEAF})\"(?:[^\"\\]|\\.){{1,2000}}\""
    r"|(?P<text>(?<![\w\"-])description:? {1,40})(?:\"[^\"\n]{0,2000}\"|'[^'\n]{0,2000}'|[^\s\"';:][^\n\";]{0,2000})",
    re.IGNORECASE,
)
_WORD = re.compile(r"(?<![\w.-])(?P<word>[\w-]{1,63}(?:\.[\w-]{1,63}){0,20})(?![\w-])(?P<gap> {2,80})?")
_TELLING = re.compile(r"[\d.-]")
_LONGEST_NAME = 253


@dataclass(frozen=True, slots=True)
class Anonymiser:
    """Replaces in any text of one capture: what is equal before is equal afterwards."""

    addresses: Addresses
    names: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def text(self, text: str) -> str:
        """A text of the router's in which nothing names a place or a machine, as far as that can be told."""
        text = _DESCRIBED.sub(_undescribed, text)
        text = _TOKEN.sub(self._token, text)
        if not self.names:
            return text
        text = _NAMED.sub(self._in_place, text)
        return _WORD.sub(self._word, text)

    def address(self, text: str) -> str:
        """Another IP address for one. Raises ValueError for text that is none."""
        own = ipaddress.ip_address(text)
        return str(type(own)(self.addresses.of(own.version, int(own))))

    def name(self, name: str) -> str:
        return self.names.get(name, name)

    def _token(self, match: re.Match[str]) -> str:
        slash, length, gap = match["slash"] or "", match["length"] or "", match["gap"] or ""
        if match["mac"] or match["dotted"]:
            old = match["mac"] or match["dotted"]
            new = self._hardware(old)
        elif match["quoted"]:
            old = match["quoted"]
            new = self._ip(re.sub("%3a", ":", old, flags=re.IGNORECASE), length).replace(":", "%3A")
        else:
            old = match["v6"] or match["v4"]
            new = self._ip(old, length)
        return f"{new}{slash}{length}{_fitted(old, new, gap)}"

    def _ip(self, text: str, length: str) -> str:
        own, address = _parsed(text)
        if address is None:
            return text
        host = address.max_prefixlen - min(int(length or address.max_prefixlen), address.max_prefixlen)
        other = self.addresses.of(address.version, int(address))
        if not int(address) & ((1 << host) - 1):
            other = other >> host << host  # a network: the bits of its hosts stay zero
        new = str(type(address)(other))
        return (new.upper() if own != own.lower() else new) + text[len(own) :]

    def _hardware(self, text: str) -> str:
        """A local address for another one; those of groups, and zero, stay."""
        digits = re.sub(r"[^0-9a-fA-F]", "", text)
        if int(digits[:2], 16) & 1 or not int(digits, 16):
            return text
        other = "02" + hashlib.blake2b(digits.lower().encode(), key=self.addresses.key, digest_size=5).hexdigest()
        letters = iter(other if digits == digits.lower() else other.upper())
        return "".join(next(letters) if one.isalnum() else one for one in text)

    def _in_place(self, match: re.Match[str]) -> str:
        group = match.lastgroup or "json"
        start, end = (at - match.start() for at in match.span(group))
        return match[0][:start] + self.name(match[group]) + match[0][end:]

    def _word(self, match: re.Match[str]) -> str:
        old = match["word"]
        new = self._telling(old)
        if new == old and "." in old:
            new = ".".join(map(self._telling, old.split(".")))
        return new + _fitted(old, new, match["gap"] or "")

    def _telling(self, word: str) -> str:
        """A name is replaced wherever it stands, unless it may be a word of the router's language."""
        if not _TELLING.search(word):
            return word
        if word in self.names:
            return self.names[word]
        own, dash, number = word.rpartition("-")  # RouterOS calls the session of the connection `node1` `node1-1`
        return f"{self.name(own)}{dash}{number}" if number.isdecimal() else word


def anonymised(capture: Capture, key: bytes) -> Capture:
    """The same capture with other addresses and names. `key` is 16 random bytes or more, for this capture alone."""
    replacer = anonymiser(capture, key)
    return Capture(
        manifest=replace(
            capture.manifest,
            router=replacer.name(capture.manifest.router),
            query=_query(capture.manifest.query, replacer),
            nodes=MappingProxyType(
                {replacer.name(name): tuple(map(replacer.address, own)) for name, own in capture.manifest.nodes.items()}
            ),
            commands=tuple(_command(one, replacer) for one in capture.manifest.commands),
            flows=tuple(_flow(one, replacer) for one in capture.manifest.flows),
            anonymised=True,
        ),
        answers=_answers(capture.answers, replacer),
        oracle=_answers(capture.oracle, replacer),
    )


def anonymiser(capture: Capture, key: bytes) -> Anonymiser:
    """What replaces in this capture; the same for the same key."""
    texts = list(_texts(capture))
    found: dict[int, set[int]] = {IPV4: set(), IPV6: set()}
    for text in texts:
        for match in _TOKEN.finditer(text):
            quoted = match["quoted"]
            spelled = match["v4"] or match["v6"] or (quoted and re.sub("%3a", ":", quoted, flags=re.IGNORECASE)) or ""
            _, address = _parsed(spelled)
            if address is not None:
                found[address.version].add(int(address))
    together = {family: branches(family, numbers) for family, numbers in found.items()}
    manifest = capture.manifest
    names = dict.fromkeys((manifest.router, *manifest.nodes))
    for text in texts:
        names |= dict.fromkeys(match[match.lastgroup or "json"] for match in _NAMED.finditer(text))
    chosen = (name for name in names if name and len(name) <= _LONGEST_NAME and _parsed(name)[1] is None)
    return Anonymiser(
        Addresses(key, MappingProxyType(together)),
        MappingProxyType({name: f"host{number}" for number, name in enumerate(chosen, start=1)}),
    )


def _texts(capture: Capture) -> Iterator[str]:
    manifest = capture.manifest
    for name, answer in (*capture.answers.items(), *capture.oracle.items()):
        yield from (name, answer.stdout, answer.stderr, answer.error or "")
    for command in manifest.commands:
        yield from (*command.argv, command.stdin or "")
    yield from (*manifest.query.vips, *manifest.query.node_addresses, *manifest.query.sources.values())
    for addresses in manifest.nodes.values():
        yield from addresses


def _parsed(text: str) -> tuple[str, _Address | None]:
    """An address, and its spelling without a colon that may follow it in a sentence.

    Nor with the 4 that follows one which fills its column in ZebOS's `show ip bgp summary` (BGP's version).
    """
    for own in dict.fromkeys((text, text.removesuffix(":"), text.removesuffix("4"))):
        try:
            return own, ipaddress.ip_address(own)
        except ValueError:
            continue
    return text, None


def _fitted(old: str, new: str, gap: str) -> str:
    """The spaces behind a word, so many that what follows stays in its column, where there is room."""
    return " " * max(1, len(gap) + len(old) - len(new)) if gap else ""


def _undescribed(match: re.Match[str]) -> str:
    return f'{match["json"]}"{REMOVED}"' if match["json"] else f"{match['text']}{REMOVED}"


def _answers(answers: Mapping[str, Answer], replacer: Anonymiser) -> Mapping[str, Answer]:
    return MappingProxyType(
        {
            replacer.text(name): Answer(
                replacer.text(answer.stdout),
                replacer.text(answer.stderr),
                answer.exit_status,
                None if answer.error is None else replacer.text(answer.error),
            )
            for name, answer in answers.items()
        }
    )


def _query(query: Query, replacer: Anonymiser) -> Query:
    def each(addresses: Iterable[str]) -> tuple[str, ...]:
        return tuple(map(replacer.address, addresses))

    sources = {replacer.address(vip): replacer.address(own) for vip, own in query.sources.items()}
    return Query(
        each(query.vips), each(query.node_addresses), MappingProxyType(sources), query.vrf, query.default_routes
    )


def _command(command: Command, replacer: Anonymiser) -> Command:
    stdin = None if command.stdin is None else replacer.text(command.stdin)
    return Command(replacer.text(command.name), tuple(map(replacer.text, command.argv)), stdin, command.raw)


def _flow(flow: OracleFlow, replacer: Anonymiser) -> OracleFlow:
    return replace(flow, source=replacer.address(flow.source), destination=replacer.address(flow.destination))
