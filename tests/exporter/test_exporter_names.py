from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import dns.asyncresolver
import dns.exception
import dns.resolver
import dns.rrset
import pytest

from exporter.names import Names

HOST = "www.example.org"
Said = list[str] | Exception


@dataclass(frozen=True)
class Answer:
    rrset: dns.rrset.RRset | None


def failure(kind: type[Exception]) -> Exception:
    return kind()  # dnspython's exceptions have untyped constructors


class Zone:
    """What the resolver answers, by record type; `ttl` of every answer."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.answers: dict[str, Said] = {"A": ["203.0.113.10"], "AAAA": []}
        self.ttl = 60
        self.asked: list[tuple[str, str]] = []
        zone = self

        class Resolver:
            async def resolve(self, host: str, kind: str, **options: object) -> object:
                assert options["search"] is False
                return zone.answer(host, kind)

        monkeypatch.setattr(dns.asyncresolver, "Resolver", Resolver)

    def answer(self, host: str, kind: str) -> object:
        self.asked.append((host, kind))
        said = self.answers[kind]
        if isinstance(said, Exception):
            raise said
        return Answer(dns.rrset.from_text_list(host, self.ttl, "IN", kind, said) if said else None)


@pytest.fixture
def zone(monkeypatch: pytest.MonkeyPatch) -> Zone:
    return Zone(monkeypatch)


async def looked_up(names: Names, now: float, hosts: Iterable[str] = (HOST,)) -> tuple[bool, tuple[str, ...]]:
    return await names.refresh(hosts, now), names.vips(HOST)


async def test_every_answer_is_a_vip(zone: Zone) -> None:
    zone.answers = {"A": ["203.0.113.11", "203.0.113.10"], "AAAA": ["2001:0db8:0::10"]}
    names = Names()
    assert names.success(HOST) is None
    assert names.vips(HOST) == ()
    assert await looked_up(names, 0.0) == (True, ("2001:db8::10", "203.0.113.10", "203.0.113.11"))
    assert names.success(HOST) is True


async def test_an_address_is_never_looked_up(zone: Zone) -> None:
    names = Names()
    assert not await names.refresh(["203.0.113.22", "2001:db8::1"], 0.0)
    assert zone.asked == []
    assert names.vips("2001:0db8::0001") == ("2001:db8::1",)
    assert names.success("203.0.113.22") is None


@pytest.mark.parametrize("error", [dns.exception.Timeout, dns.resolver.NXDOMAIN, dns.resolver.NoNameservers, OSError])
async def test_a_look_up_that_fails_keeps_what_is_known(zone: Zone, error: type[Exception]) -> None:
    names = Names()
    await looked_up(names, 0.0)
    zone.answers = {"A": failure(error), "AAAA": failure(error)}
    assert await looked_up(names, 1000.0) == (False, ("203.0.113.10",))
    assert names.success(HOST) is False
    zone.answers = {"A": ["203.0.113.99"], "AAAA": []}
    assert await looked_up(names, 2000.0) == (True, ("203.0.113.99",))
    assert names.success(HOST) is True


async def test_one_family_that_fails_takes_nothing_away(zone: Zone) -> None:
    zone.answers = {"A": ["203.0.113.10"], "AAAA": ["2001:db8::10"]}
    names = Names()
    await looked_up(names, 0.0)
    zone.answers = {"A": ["203.0.113.11"], "AAAA": failure(dns.exception.Timeout)}
    assert await looked_up(names, 1000.0) == (True, ("2001:db8::10", "203.0.113.10", "203.0.113.11"))
    assert names.success(HOST) is False


async def test_an_empty_answer_takes_nothing_away(zone: Zone) -> None:
    names = Names()
    await looked_up(names, 0.0)
    zone.answers = {"A": [], "AAAA": []}
    assert await looked_up(names, 1000.0) == (False, ("203.0.113.10",))
    assert names.success(HOST) is False


@pytest.mark.parametrize(("ttl", "kept"), [(60, 60), (1, 15), (86400, 300)])
async def test_an_answer_is_kept_for_its_time_within_bounds(zone: Zone, ttl: int, kept: int) -> None:
    zone.ttl = ttl
    names = Names()
    await looked_up(names, 100.0)
    await looked_up(names, 100.0 + kept - 1)
    assert len(zone.asked) == 2
    await looked_up(names, 100.0 + kept)
    assert len(zone.asked) == 4


async def test_the_same_answer_in_another_order_is_no_change(zone: Zone) -> None:
    zone.answers["A"] = ["203.0.113.10", "203.0.113.11"]
    names = Names()
    await looked_up(names, 0.0)
    zone.answers["A"] = ["203.0.113.11", "203.0.113.10"]
    assert (await looked_up(names, 1000.0))[0] is False


async def test_a_name_that_is_wanted_no_more_is_forgotten(zone: Zone) -> None:
    names = Names()
    await looked_up(names, 0.0)
    await names.refresh([], 1.0)
    assert names.vips(HOST) == ()
    assert zone.asked == [(HOST, "A"), (HOST, "AAAA")]
