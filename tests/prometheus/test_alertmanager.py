"""The example configuration of Alertmanager: amtool takes it and its routes; a real Alertmanager inhibits by it."""

from __future__ import annotations

import asyncio
import re
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from aiohttp import web

from tests.prometheus import expressions
from tests.prometheus.expressions import ROOT

CONFIG = ROOT / "prometheus" / "alertmanager.yml"
RECEIVERS = {"critical": "pager", "warning": "tickets", "info": "notes"}
ALERTS = [rule for rule in expressions.rules() if rule.alert is not None]
SEVERITIES = {str(rule.alert): rule.labels["severity"] for rule in reversed(ALERTS)}
BINARY = shutil.which("prometheus-alertmanager") or "alertmanager"

NODE = {"node": "n3"}
ROUTER = {"router": "edge"}
TARGET = {"target": "web"}
VIP = {**TARGET, "vip": "203.0.113.10"}
PATH = {**VIP, "port": "80", **ROUTER, **NODE, "next_hop": "10.0.0.13"}
INSTANCE = {"instance": "a:10179", "vantage": "home"}
OTHER = {"instance": "b:10179", "vantage": "dc"}


def test_amtool_takes_it() -> None:
    subprocess.run(["amtool", "check-config", str(CONFIG)], check=True, capture_output=True, timeout=30)


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: f"{rule.alert}-{rule.labels.get('severity')}")
def test_each_alert_goes_to_whom_its_severity_says(rule: expressions.Rule) -> None:
    severity = rule.labels["severity"]
    receiver = "nobody" if rule.alert == "EcmpNodeInhibitor" else RECEIVERS[severity]
    command = ["amtool", "config", "routes", "test", f"--config.file={CONFIG}", f"--verify.receivers={receiver}"]
    labels = [f"alertname={rule.alert}", f"severity={severity}", "job=ecmp-exporter", "node=n3"]
    done = subprocess.run([*command, *labels], capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_receiver_is_a_real_one() -> None:
    urls = re.findall(r"\w+://[^\"' ]+", CONFIG.read_text(encoding="utf-8"))
    assert urls
    assert all(url.startswith("http://127.0.0.1:") for url in urls)


def test_inhibitions_name_alerts_that_exist() -> None:
    rules = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))["inhibit_rules"]
    for matcher in [one for rule in rules for key in ("source_matchers", "target_matchers") for one in rule[key]]:
        found = re.fullmatch(r"(\w+) (=~|!~|=|!=) \"(.*)\"", matcher)
        assert found is not None, matcher
        if found[1] == "alertname":
            assert all(any(re.fullmatch(part, name) for name in SEVERITIES) for part in alternatives(found[3])), matcher


def alternatives(pattern: str) -> list[str]:
    """The words of `A|B(C|D)`: A, BC and BD."""
    inner = re.search(r"([^|]*)\(([^()]*)\)([^|]*)", pattern)
    if inner is None:
        return pattern.split("|")
    whole = "|".join(f"{inner[1]}{part}{inner[3]}" for part in inner[2].split("|"))
    return alternatives(pattern[: inner.start()] + whole + pattern[inner.end() :])


@dataclass(frozen=True, slots=True)
class Case:
    """Whether `source` silences `target`, each an alert's name and labels."""

    source: str
    target: str
    having: Mapping[str, str]
    of: Mapping[str, str]
    inhibited: bool = True
    severity: str | None = None  # of the source, where it has two

    def __str__(self) -> str:
        return f"{self.source}-{self.target}-{'yes' if self.inhibited else 'no'}"


CASES = [
    # router down: BGP causes, of that router only
    *(
        Case("EcmpRouterDown", name, ROUTER, {**ROUTER, **NODE})
        for name in (
            "EcmpNeighborMissing",
            "EcmpBgpSessionDown",
            "EcmpBgpSessionFlapping",
            "EcmpRouteMissing",
            "EcmpRouteFiltered",
            "EcmpRouteUnused",
            "EcmpRouteNotInstalled",
            "EcmpStaleRoute",
            "EcmpUnexpectedNextHop",
            "EcmpRouterSnapshotStale",
        )
    ),
    Case("EcmpRouterDown", "EcmpBgpSessionDown", ROUTER, {"router": "other", **NODE}, inhibited=False),
    Case("EcmpRouterDown", "EcmpNodeUnreachable", ROUTER, NODE, inhibited=False),
    Case("EcmpRouterDown", "EcmpTargetUnreachable", ROUTER, TARGET, inhibited=False),
    Case("EcmpRouterSnapshotStale", "EcmpBgpSessionDown", {**ROUTER, **INSTANCE}, {**ROUTER, **NODE}, inhibited=False),
    # node down: its sessions and routes; that it is no neighbor is another fault
    Case("EcmpNodeDown", "EcmpBgpSessionDown", NODE, {**ROUTER, **NODE}),
    Case("EcmpNodeDown", "EcmpRouteMissing", NODE, {**ROUTER, **NODE, "vip": "203.0.113.10"}),
    Case("EcmpNodeDown", "EcmpNeighborMissing", NODE, {**ROUTER, **NODE}, inhibited=False),
    Case("EcmpNodeDown", "EcmpBgpSessionDown", NODE, {**ROUTER, "node": "n1"}, inhibited=False),
    Case("EcmpNodeDown", "EcmpNodeUnreachable", NODE, NODE, inhibited=False),
    # node unreachable: its paths
    Case("EcmpNodeUnreachable", "EcmpPathBlackhole", NODE, PATH),
    Case("EcmpNodeUnreachable", "EcmpPathServiceDown", NODE, PATH),
    Case("EcmpNodeUnreachable", "EcmpPathFailsFromVantage", NODE, {**PATH, **OTHER}),
    Case("EcmpNodeUnreachable", "EcmpPathBlackhole", NODE, {**PATH, "node": "n1"}, inhibited=False),
    Case("EcmpNodeUnreachable", "EcmpBgpSessionDown", NODE, {**ROUTER, **NODE}, inhibited=False),
    # target unreachable: its addresses, its paths, its nodes
    Case("EcmpTargetUnreachable", "EcmpPathBlackhole", TARGET, PATH),
    Case("EcmpTargetUnreachable", "EcmpVipUnreachable", TARGET, VIP),
    Case("EcmpTargetUnreachable", "EcmpRedundancyLost", TARGET, {**VIP, **ROUTER}),
    # its node is quiet only if it became unreachable with it (EcmpNodeInhibitor, below): it may be lost later
    Case("EcmpTargetUnreachable", "EcmpNodeUnreachable", {**TARGET, **NODE}, NODE, inhibited=False),
    # that its service is down there is no reason why others fail on that node
    *(
        Case("EcmpTargetUnreachable", name, {**TARGET, **NODE}, {**PATH, "target": "ssh"}, inhibited=False)
        for name in ("EcmpPathBlackhole", "EcmpPathServiceDown", "EcmpPathFlapping", "EcmpPathFailsFromVantage")
    ),
    Case("EcmpTargetUnreachable", "EcmpNodeUnreachable", TARGET, NODE, inhibited=False),
    Case("EcmpTargetUnreachable", "EcmpPathBlackhole", TARGET, {**PATH, "target": "ssh"}, inhibited=False),
    Case("EcmpTargetUnreachable", "EcmpNeighborMissing", {**TARGET, **NODE}, {**ROUTER, **NODE}, inhibited=False),
    Case("EcmpTargetUnreachable", "EcmpTargetNameUnresolved", TARGET, TARGET, inhibited=False),
    # what answers show may be why a target fails, and is told beside it
    *(
        Case("EcmpTargetUnreachable", name, {**TARGET, **NODE}, TARGET, inhibited=False)
        for name in ("EcmpCertificateExpiring", "EcmpDnsMismatch", "EcmpBackendDiffers")
    ),
    Case("EcmpCertificateExpiring", "EcmpTargetUnreachable", TARGET, TARGET, inhibited=False, severity="critical"),
    Case("EcmpTargetNameUnresolved", "EcmpDnsMismatch", TARGET, TARGET, inhibited=False),
    # a name that stands for other addresses lacks its own
    *(
        Case("EcmpDnsMismatch", "EcmpDnsMismatch", {**TARGET, "mismatch": "unexpected"}, {**TARGET, "mismatch": other})
        for other in ("missing", "disagree")
    ),
    Case(
        "EcmpDnsMismatch",
        "EcmpDnsMismatch",
        {**TARGET, "mismatch": "unexpected"},
        {"target": "other", "mismatch": "disagree"},
        inhibited=False,
    ),
    Case("EcmpNodeInhibitor", "EcmpNodeUnreachable", NODE, NODE),
    Case("EcmpNodeInhibitor", "EcmpNodeUnreachable", NODE, {"node": "n1"}, inhibited=False),
    Case("EcmpVipUnreachable", "EcmpPathBlackhole", VIP, PATH),
    Case("EcmpVipUnreachable", "EcmpPathBlackhole", VIP, {**PATH, "vip": "203.0.113.22"}, inhibited=False),
    Case("EcmpPathBlackhole", "EcmpPathFlapping", PATH, PATH),
    # everything fails at once: the prober's own link
    *(
        Case("EcmpProberIsolated", name, INSTANCE, labels, severity="critical")
        for name, labels in (
            ("EcmpTargetUnreachable", TARGET),
            ("EcmpNodeUnreachable", NODE),
            ("EcmpPathBlackhole", PATH),
            ("EcmpNodeDown", NODE),
            ("EcmpRouterDown", ROUTER),
            ("EcmpRouterSnapshotStale", {**ROUTER, **INSTANCE}),
            ("EcmpBackendDiffers", TARGET),
            ("EcmpCertificateExpiring", TARGET),
        )
    ),
    Case("EcmpProberIsolated", "EcmpExporterDown", INSTANCE, OTHER, inhibited=False, severity="critical"),
    Case("EcmpProberIsolated", "EcmpTargetUnreachable", INSTANCE, TARGET, inhibited=False, severity="warning"),
    Case(
        "EcmpProberIsolated",
        "EcmpNodeUnreachableFromVantage",
        INSTANCE,
        {"vantage": "home", **NODE},
        severity="warning",
    ),
    Case(
        "EcmpProberIsolated",
        "EcmpNodeUnreachableFromVantage",
        INSTANCE,
        {"vantage": "dc", **NODE},
        inhibited=False,
        severity="warning",
    ),
    Case("EcmpProberIsolated", "EcmpRouterSnapshotStale", INSTANCE, {**INSTANCE, **ROUTER}, severity="warning"),
    Case(
        "EcmpProberIsolated",
        "EcmpRouterSnapshotStale",
        INSTANCE,
        {**OTHER, **ROUTER},
        inhibited=False,
        severity="warning",
    ),
    # exporter down
    Case("EcmpExporterDown", "EcmpRouterSnapshotStale", INSTANCE, {**INSTANCE, **ROUTER}, severity="warning"),
    Case("EcmpExporterDown", "EcmpExporterReloadFailed", INSTANCE, INSTANCE, severity="warning"),
    # of a vantage point with several exporters, also what the living ones find
    Case(
        "EcmpExporterDown", "EcmpNodeUnreachableFromVantage", INSTANCE, {"vantage": "home", **NODE}, severity="warning"
    ),
    Case(
        "EcmpExporterDown",
        "EcmpNodeUnreachableFromVantage",
        INSTANCE,
        {"vantage": "dc", **NODE},
        inhibited=False,
        severity="warning",
    ),
    Case(
        "EcmpExporterDown",
        "EcmpRouterSnapshotStale",
        INSTANCE,
        {**OTHER, **ROUTER},
        inhibited=False,
        severity="warning",
    ),
    Case("EcmpExporterDown", "EcmpBgpSessionDown", INSTANCE, {**ROUTER, **NODE}, severity="critical"),
    Case("EcmpExporterDown", "EcmpBgpSessionDown", INSTANCE, {**ROUTER, **NODE}, inhibited=False, severity="warning"),
    Case("EcmpExporterDown", "EcmpTargetUnreachable", INSTANCE, TARGET, inhibited=False, severity="critical"),
    Case("EcmpExporterDown", "EcmpDnsMismatch", INSTANCE, TARGET, severity="critical"),
]


@dataclass(slots=True)
class Alertmanager:
    """One that runs; what its receivers were sent stands in `sent`, by receiver."""

    url: str
    client: aiohttp.ClientSession
    sent: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    async def post(self, *alerts: tuple[str, Mapping[str, str]]) -> None:
        now = datetime.now(UTC).isoformat()
        body = [
            {
                "labels": {"job": "ecmp-exporter", "alertname": name, "severity": SEVERITIES[name], **labels},
                "startsAt": now,
            }
            for name, labels in alerts
        ]
        async with self.client.post(f"{self.url}/api/v2/alerts", json=body) as answer:
            assert answer.status == 200, await answer.text()

    async def alerts(self) -> list[dict[str, Any]]:
        async with self.client.get(f"{self.url}/api/v2/alerts") as answer:
            found: list[dict[str, Any]] = await answer.json()
            return found


async def eventually(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not true():  # noqa: ASYNC110  (another process decides when)
            await asyncio.sleep(0.05)


def hurried(port: int) -> str:
    """The shipped configuration, with receivers of the test and no waiting."""
    config = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
    for route in (config["route"], *config["route"]["routes"]):
        route |= {"group_wait": "1s", "group_interval": "1s"}
    for receiver in config["receivers"]:
        for hook in receiver.get("webhook_configs", ()):
            hook["url"] = f"http://127.0.0.1:{port}/{receiver['name']}"
    return yaml.safe_dump(config)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.fixture
async def alertmanager(tmp_path: Path) -> AsyncIterator[Alertmanager]:
    sent: dict[str, list[dict[str, Any]]] = {}

    async def receive(request: web.Request) -> web.Response:
        sent.setdefault(request.match_info["receiver"], []).append(await request.json())
        return web.Response()

    app = web.Application()
    app.router.add_post("/{receiver}", receive)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    (tmp_path / "alertmanager.yml").write_text(hurried(runner.addresses[0][1]), encoding="utf-8")
    port = free_port()
    with (tmp_path / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            BINARY,
            f"--config.file={tmp_path}/alertmanager.yml",
            f"--storage.path={tmp_path}/data",
            f"--web.listen-address=127.0.0.1:{port}",
            "--cluster.listen-address=",
            stdout=log,
            stderr=log,
        )
    try:
        async with aiohttp.ClientSession() as client:
            url = f"http://127.0.0.1:{port}"
            await ready(client, url)
            yield Alertmanager(url, client, sent)
    finally:
        process.terminate()
        await process.wait()
        await runner.cleanup()


async def ready(client: aiohttp.ClientSession, url: str) -> None:
    async with asyncio.timeout(60):
        while True:
            try:
                async with client.get(f"{url}/-/ready") as answer:
                    if answer.status == 200:
                        return
            except aiohttp.ClientConnectionError:
                pass
            await asyncio.sleep(0.05)


async def test_inhibitions(alertmanager: Alertmanager) -> None:
    """Every case in a cluster of its own."""
    for number, case in enumerate(CASES):
        source = {**case.having, **({"severity": case.severity} if case.severity else {})}
        await alertmanager.post((case.source, {**source, "cluster": str(number)}))
    for number, case in enumerate(CASES):
        await alertmanager.post((case.target, {**case.of, "cluster": str(number)}))
    # Who is inhibited is worked out when it is asked for, by the sources that the inhibitor has got from its queue: all
    # of them, once what was posted after them has been sent on.
    await alertmanager.post(
        *(("EcmpExporterAbsent", {"cluster": str(n), **case.of, "probe": "end"}) for n, case in enumerate(CASES))
    )
    await eventually(lambda: len(told(alertmanager, "EcmpExporterAbsent")) == len(CASES))
    held = await alertmanager.alerts()
    wrong = [
        f"{case}: {state}"
        for number, case in enumerate(CASES)
        if ((state := state_of(case, number, held)) == "suppressed") is not case.inhibited
    ]
    assert wrong == []


def state_of(case: Case, number: int, held: list[dict[str, Any]]) -> str:
    """Of the case's target, whose source may be an alert of the same name."""
    wanted = {"cluster": str(number), "alertname": case.target, **case.of}
    (found,) = [one for one in held if wanted.items() <= one["labels"].items()]
    return str(found["status"]["state"])


def told(alertmanager: Alertmanager, name: str) -> set[str]:
    return {
        alert["labels"]["cluster"]
        for messages in alertmanager.sent.values()
        for message in messages
        for alert in message["alerts"]
        if alert["labels"]["alertname"] == name
    }


async def test_the_outage_is_one_page_and_one_ticket(alertmanager: Alertmanager) -> None:
    """leviathan3 is no neighbor: what the rules fire for it, as seen on the rehearsal network, reaches people once."""
    node = {"node": "leviathan3"}
    path = {"router": "edge", **node}
    await alertmanager.post(
        ("EcmpNodeInhibitor", node),
        ("EcmpTargetUnreachable", {"target": "gitea-ssh", **node}),
        ("EcmpNodeUnreachable", node),
        ("EcmpNeighborMissing", path),
    )
    await eventually(lambda: "pager" in alertmanager.sent and "tickets" in alertmanager.sent)
    # Whatever else is due comes no later than what is posted only now.
    await alertmanager.post(("EcmpTargetUnreachable", {"target": "last", "node": "leviathan9"}))
    await eventually(lambda: len(alertmanager.sent["pager"]) > 1)
    page, last = alertmanager.sent["pager"]
    assert page["groupLabels"] == {"job": "ecmp-exporter", **node}
    assert [alert["labels"]["alertname"] for alert in page["alerts"]] == ["EcmpTargetUnreachable"]
    assert last["groupLabels"]["node"] == "leviathan9"
    (ticket,) = alertmanager.sent["tickets"]
    assert [alert["labels"]["alertname"] for alert in ticket["alerts"]] == ["EcmpNeighborMissing"]
