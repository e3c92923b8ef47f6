from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import pytest

from exporter.config import Module, Resolver, Target
from exporter.dns_status import Lookup
from exporter.names import GONE_LOOKUPS, GONE_SECONDS, Names, Wanted, wanted_by
from exporter.resolvers import Found, Resolvers
from probes.dns_module import DnsModule
from probes.ssh_module import SshModule

HOST = "www.example.org"
WANTED = Wanted(HOST)
V4, V6 = "203.0.113.10", "2001:db8::10"


@dataclass
class Zone(Resolvers):
    """What each resolver says, by family: addresses, or an error."""

    said: dict[str, dict[int, list[str] | str]] = field(default_factory=lambda: {"system": {4: [V4], 6: []}})
    ttl: float = 60.0
    asked: list[str] = field(default_factory=list)
    configured: list[Resolver] = field(default_factory=list)

    def configure(self, configs: Iterable[Resolver]) -> None:
        self.configured = list(configs)

    async def close(self) -> None:
        """Nothing is open."""

    async def look_up(self, resolver: str, host: str, families: Sequence[int], now: float) -> Found:
        self.asked.append(resolver)
        answers = {family: self.said[resolver][family] for family in families}
        failed = {family: answer for family, answer in answers.items() if isinstance(answer, str)}
        addresses = sorted(address for answer in answers.values() if isinstance(answer, list) for address in answer)
        missing = not failed and not addresses
        error = next(iter(failed.values()), f"{host} does not exist" if missing else None)
        lookup = Lookup(resolver, now, tuple(addresses), error, answered=not failed, missing=missing)
        return Found(lookup, self.ttl if addresses else None, frozenset(failed))


@pytest.fixture
def zone() -> Zone:
    return Zone()


@pytest.fixture
def names(zone: Zone) -> Names:
    return Names(zone)


async def vips(names: Names, now: float, wanted: Wanted = WANTED) -> tuple[str, ...]:
    await names.refresh([wanted], now)
    return names.vips(wanted)


async def test_every_answer_is_a_vip(zone: Zone, names: Names) -> None:
    zone.said["system"] = {4: ["203.0.113.11", V4], 6: [V6]}
    assert names.vips(WANTED) == ()
    assert names.lookups(WANTED) == ()
    assert await names.refresh([WANTED], 0.0)
    assert names.vips(WANTED) == (V6, V4, "203.0.113.11")
    assert [one.success for one in names.lookups(WANTED)] == [True]


async def test_an_address_is_never_looked_up(zone: Zone, names: Names) -> None:
    assert not await names.refresh([Wanted("203.0.113.22"), Wanted("2001:db8::1")], 0.0)
    assert zone.asked == []
    assert names.vips(Wanted("2001:0db8::0001")) == ("2001:db8::1",)
    assert names.lookups(Wanted("203.0.113.22")) == ()


async def test_changes_are_followed(zone: Zone, names: Names) -> None:
    assert await vips(names, 0.0) == (V4,)
    zone.said["system"] = {4: [V4, "203.0.113.11"], 6: []}
    assert await vips(names, 60.0) == (V4, "203.0.113.11")
    zone.said["system"] = {4: ["203.0.113.11"], 6: []}
    assert await vips(names, 120.0) == ("203.0.113.11",)
    assert not await names.refresh([WANTED], 180.0), "nothing changed"


async def test_a_look_up_that_fails_keeps_what_is_known(zone: Zone, names: Names) -> None:
    await vips(names, 0.0)
    zone.said["system"] = {4: "no answer", 6: "no answer"}
    for now in range(60, 100_000, 600):
        assert await vips(names, now) == (V4,)
        assert [one.error for one in names.lookups(WANTED)] == ["no answer"]
    zone.said["system"] = {4: ["203.0.113.99"], 6: []}
    assert await vips(names, 100_000.0) == ("203.0.113.99",)


async def test_one_family_that_fails_keeps_its_addresses_and_the_other_follows(zone: Zone, names: Names) -> None:
    zone.said["system"] = {4: [V4], 6: [V6]}
    await vips(names, 0.0)
    zone.said["system"] = {4: ["203.0.113.11"], 6: "no answer"}
    assert await vips(names, 60.0) == (V6, "203.0.113.11")
    zone.said["system"] = {4: [], 6: "no answer"}
    assert await vips(names, 120.0) == (V6, "203.0.113.11"), "nothing but a failure and an empty answer"


async def test_a_name_that_is_gone_is_given_up_when_it_was_said_often_and_for_long(zone: Zone, names: Names) -> None:
    await vips(names, 0.0)
    zone.said["system"] = {4: [], 6: []}
    now, said = 60.0, 0
    while now - 60.0 < GONE_SECONDS:
        assert await vips(names, now) == (V4,)
        now, said = now + 15.0, said + 1
    assert said > GONE_LOOKUPS
    assert await vips(names, now) == ()


async def test_a_name_that_is_looked_up_seldom_is_not_given_up_by_two_answers(zone: Zone, names: Names) -> None:
    await vips(names, 0.0)
    zone.said["system"] = {4: [], 6: []}
    for count in range(1, GONE_LOOKUPS):
        assert await vips(names, count * 10 * GONE_SECONDS) == (V4,)
    assert await vips(names, GONE_LOOKUPS * 10 * GONE_SECONDS) == ()


async def test_a_name_that_comes_back_starts_anew(zone: Zone, names: Names) -> None:
    await vips(names, 0.0)
    for begin in (60.0, 1000.0, 2000.0):
        zone.said["system"] = {4: [], 6: []}
        for now in (begin, begin + 100.0, begin + 200.0):
            assert await vips(names, now) == (V4,)
        zone.said["system"] = {4: [V4], 6: []}
        assert await vips(names, begin + 300.0) == (V4,)


@pytest.mark.parametrize(("ttl", "kept"), [(60, 60), (1, 15), (86400, 300)])
async def test_an_answer_is_kept_for_its_time_within_bounds(zone: Zone, names: Names, ttl: int, kept: int) -> None:
    zone.ttl = ttl
    await vips(names, 100.0)
    await vips(names, 100.0 + kept - 1)
    assert len(zone.asked) == 1
    await vips(names, 100.0 + kept)
    assert len(zone.asked) == 2


async def test_while_one_resolver_fails_all_are_asked_again_soon(zone: Zone, names: Names) -> None:
    zone.ttl = 300.0
    zone.said["public"] = {4: "no answer", 6: "no answer"}
    wanted = Wanted(HOST, ("system", "public"))
    await vips(names, 0.0, wanted)
    await vips(names, 15.0, wanted)
    assert zone.asked == ["system", "public"] * 2


async def test_the_first_resolver_decides(zone: Zone, names: Names) -> None:
    zone.said["public"] = {4: ["198.51.100.1"], 6: []}
    assert await vips(names, 0.0, Wanted(HOST, ("system", "public"))) == (V4,)
    assert await vips(names, 0.0, Wanted(HOST, ("public", "system"))) == ("198.51.100.1",)


async def test_a_name_that_others_are_asked_about_keeps_its_addresses_until_they_speak(
    zone: Zone, names: Names
) -> None:
    zone.said["system"] = {4: [V4], 6: [V6]}
    await vips(names, 0.0)
    wanted = Wanted(HOST, ("public",))
    zone.said["public"] = {4: "no answer", 6: "no answer"}
    assert names.vips(wanted) == (V6, V4)
    assert names.vips(Wanted(HOST, ("public",), (4,))) == (V4,)
    assert await vips(names, 1.0, wanted) == (V6, V4)


async def test_another_configuration_is_asked_at_once(zone: Zone, names: Names) -> None:
    await vips(names, 0.0)
    names.configure([Resolver(name="public", address="192.0.2.53")])
    await vips(names, 1.0)
    assert len(zone.asked) == 2
    assert [one.name for one in zone.configured] == ["public"]


async def test_a_name_that_is_wanted_no_more_is_forgotten(zone: Zone, names: Names) -> None:
    await vips(names, 0.0)
    await names.refresh([], 1.0)
    assert names.vips(WANTED) == ()
    assert zone.asked == ["system"]


def target(**keys: object) -> Target:
    return Target.model_validate({"name": "www", "address": HOST, "port": 443, "module": "m", **keys})


@pytest.mark.parametrize(
    ("settings", "families"),
    [
        ({}, (4, 6)),
        ({"preferred_ip_protocol": "ip4"}, (4, 6)),
        ({"preferred_ip_protocol": "ip4", "ip_protocol_fallback": False}, (4,)),
        ({"preferred_ip_protocol": "ip6", "ip_protocol_fallback": False}, (6,)),
        ({"ip_protocol_fallback": False}, (6,)),
    ],
)
def test_every_address_is_probed_unless_the_module_forbids_a_family(
    settings: dict[str, object], families: tuple[int, ...]
) -> None:
    module = Module("m", "dns", DnsModule.model_validate({"query_name": "x.example.org", **settings}))
    assert wanted_by(target(), module) == Wanted(HOST, ("system",), families)


def test_a_module_without_such_keys_wants_both() -> None:
    found = wanted_by(target(resolvers=["a", "b"]), Module("m", "ssh", SshModule()))
    assert found == Wanted(HOST, ("a", "b"), (4, 6))


async def test_the_status_of_a_target(zone: Zone, names: Names) -> None:
    module = Module("m", "ssh", SshModule())
    wanted = target(expected_addresses=[V4, "2001:db8::/32"])
    assert names.status(wanted, module) is None
    zone.said["system"] = {4: ["203.0.113.66"], 6: [V6]}
    await names.refresh([wanted_by(wanted, module)], 0.0)
    status = names.status(wanted, module)
    assert status is not None
    assert (status.unexpected, status.missing) == (("203.0.113.66",), (V4,))
    assert names.status(target(address=V4), module) is None
