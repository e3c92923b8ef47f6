"""Every fault under a real Prometheus and a real Alertmanager: the right alerts reach a webhook, and no other.

The shipped rules and routes with every duration divided; the exporter probes just as much more often. Several labs at
once, each takes the next fault when it is done with one: they mostly wait. The faults are played once, and the tests
look at what was seen.
"""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.error import HTTPError

import pytest

from lab.plan import RouterKind
from tests.chain.alert_cases import ALL_FAULTS
from tests.chain.cycles import GIVE_UP, Cycle, Fault, Patience, play, wait_until_clean
from tests.chain.scaled import Divisor, Scale
from tests.chain.watched import Pace, Watched, watched
from tests.grafana.queries import PanelQuery, annotation_queries, panel_queries

pytestmark = pytest.mark.lab

ROUTER: RouterKind = "frr" if os.geteuid() == 0 else "bird"
LABS = 7
# These would take haste for trouble: an exporter that starts takes as long to learn here as anywhere; rounds as short
# as these are missed where nothing answers; samples of flows are renewed by rounds.
AS_SHIPPED = frozenset({"EcmpExporterRoundsStopped", "EcmpExporterRoundsMissed", "EcmpFlowShareUneven"})
SCALE = Scale(waits=Divisor(60, 10), holds=Divisor(60, 3), alertmanager=Divisor(300, 3), as_shipped=AS_SHIPPED)
PACE = Pace(interval="2s", timeout="1s", poll="1s", scrape="1s", evaluate="1s", scale=SCALE)
# What a dashboard's variables are set to.
VARIABLES = {"node": "leviathan3", "target": "web", "router": "edge"}
QUERIES = (*panel_queries(VARIABLES), *annotation_queries(VARIABLES))
LIFE = 600  # seconds: no lab lives longer
# Alerts that no fault here brings about; promtool's tests fire each of them.
ONE_VANTAGE = "one exporter watches a lab: there is nobody to disagree with"
TOO_QUICK = "keeps its times, see AS_SHIPPED"
NOT_PROVOKED = {
    "EcmpTargetUnreachableFromVantage": ONE_VANTAGE,
    "EcmpNodeUnreachableFromVantage": ONE_VANTAGE,
    "EcmpPathFailsFromVantage": ONE_VANTAGE,
    "EcmpExporterRoundsStopped": TOO_QUICK,
    "EcmpExporterRoundsMissed": TOO_QUICK,
    "EcmpFlowShareUneven": TOO_QUICK,
    "EcmpVipUnreachable": "every fault of the lab hits IPv4 and IPv6 alike",
    "EcmpNodeInhibitor": "no fault of the lab takes the last path of web",
    "EcmpPathFlapping": "faults stay until they are healed",
    "EcmpBgpSessionFlapping": "faults stay until they are healed",
    "EcmpRouterUnknown": "the lab's router answers wholly or not at all",
    "EcmpTargetNameUnresolved": "the lab has no DNS",
    "EcmpExporterAbsent": "Prometheus keeps its one scrape target",
    "EcmpDnsMismatch": "the lab has no DNS",
    "EcmpCertificateExpiring": "the lab's servers speak no TLS",
    "EcmpBackendDiffers": "the lab's SSH servers are single, and nothing else of them can be compared",
}
PATIENCE = Patience(broken=60, healed=60, quiet=2, look=0.25, may_be_pending=AS_SHIPPED)


@dataclass(frozen=True, slots=True)
class Played:
    """What the labs saw: the cycle of each fault, the rules at the end, and which queries had data at some time."""

    cycles: dict[str, Cycle] = field(default_factory=dict)
    rules: list[dict[str, Any]] = field(default_factory=list)
    data: set[str] = field(default_factory=set)  # expressions
    errors: dict[str, str] = field(default_factory=dict)  # by expression


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Played:
    directory = tmp_path_factory.mktemp("alerts")
    found = Played()
    waiting = {transport: deque(_faults(transport)) for transport in ("ssh", "exec")}

    def one(number: int) -> None:
        transport = "exec" if number else "ssh"
        with (
            ThreadPoolExecutor(1) as hands,
            watched(f"alerts{number}", directory / str(number), router=ROUTER, pace=PACE, transport=transport) as lab,
        ):
            wait_until_clean(lab, PATIENCE)
            while fault := _next(waiting, transport):
                found.cycles[fault.name] = play(lab, fault, PATIENCE, hands)
            _look_back(lab, found)

    GIVE_UP.clear()
    with ThreadPoolExecutor(LABS) as pool:
        futures = [pool.submit(one, number) for number in range(LABS)]
        try:
            for future in as_completed(futures):
                future.result()
        except BaseException:
            GIVE_UP.set()  # the other labs heal what they are at, and end
            raise
    return found


def _faults(transport: str) -> list[Fault]:
    """The one whose alert waits longest first, those that nobody is told of last: no lab shall wait for another."""
    chosen = [fault for fault in ALL_FAULTS if fault.transport == transport]
    return sorted(chosen, key=lambda fault: (fault.name != "hash_addresses", not fault.alerts))


def _next(waiting: dict[str, deque[Fault]], transport: str) -> Fault | None:
    """The next fault for a lab; one whose router is read over SSH does for all, and does its own first."""
    if GIVE_UP.is_set():
        return None
    for faults in (waiting[transport], waiting["exec"]):
        with suppress(IndexError):
            return faults.popleft()
    return None


def _look_back(lab: Watched, found: Played) -> None:
    """Ask everything that rules record and dashboards show, over the lab's whole life."""
    rules = lab.monitoring.rules()
    found.rules.extend(rules)
    recorded = {rule["name"] for rule in rules if rule["type"] == "recording"}
    for expression in recorded | {query.expression for query in QUERIES}:
        try:
            if lab.monitoring.query_range(expression, LIFE, step=2):
                found.data.add(expression)
        except HTTPError as error:
            found.errors[expression] = error.read().decode()


@pytest.mark.parametrize("fault", ALL_FAULTS, ids=[fault.name.replace(" ", "-") for fault in ALL_FAULTS])
def test_the_right_alerts_and_no_other(played: Played, fault: Fault) -> None:
    cycle = played.cycles[fault.name]
    if fault.otherwise:  # which comes first is chance, and one may follow the other
        told = {*cycle.arrived, *cycle.late} - fault.perhaps
        assert told, str(cycle)
        assert told <= fault.alerts | fault.otherwise, str(cycle)
        assert cycle.clean, str(cycle)
        return
    assert set(cycle.arrived) - fault.perhaps == fault.alerts, str(cycle)
    assert cycle.settled, f"alerts kept coming: {cycle}"
    # A path that was inhibited by its target's alert is told when that one ends first.
    assert set(cycle.late) <= fault.perhaps, f"healing set off more alerts: {cycle}"
    assert cycle.clean, str(cycle)


def test_rules_are_evaluated_without_error(played: Played) -> None:
    assert played.rules
    assert {(rule["name"], rule["health"], rule.get("lastError", "")) for rule in played.rules} == {
        (rule["name"], "ok", "") for rule in played.rules
    }


def test_every_recording_rule_records_something(played: Played) -> None:
    recorded = {rule["name"] for rule in played.rules if rule["type"] == "recording"}
    assert recorded
    assert recorded - played.data == set()


def test_every_alert_is_provoked_here_or_named_as_one_that_is_not(played: Played) -> None:
    alerts = {rule["name"] for rule in played.rules if rule["type"] == "alerting"}
    fired = {name for cycle in played.cycles.values() for name, _ in cycle.firing}
    assert alerts - fired - NOT_PROVOKED.keys() == set()
    assert NOT_PROVOKED.keys() - alerts == set(), "exceptions for alerts that are no more"


@pytest.mark.parametrize("query", QUERIES, ids=["-".join(query.key).replace(" ", "-") for query in QUERIES])
def test_every_query_of_every_panel_has_data(played: Played, query: PanelQuery) -> None:
    assert query.expression not in played.errors, played.errors[query.expression]
    assert query.expression in played.data or query.not_in_lab is not None
