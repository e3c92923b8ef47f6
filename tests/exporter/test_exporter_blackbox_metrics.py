"""blackbox_exporter's metrics from what probes saw; tests/parity holds them to blackbox_exporter itself."""

from __future__ import annotations

from dataclasses import replace

import pytest

from exporter.blackbox_metrics import PATH_LABELS, Seen, families
from probes.facts import ExchangeFacts, Facts, HttpFacts, SshFacts, TlsFacts
from probes.model import Failure
from probes.table import PROBERS

GOOD = Seen("http", "127.0.0.1", True, None, 0.5, 0.1, {"connect": 0.1, "processing": 0.1})
TLS = TlsFacts("TLS 1.3", "TLS_AES_128_GCM_SHA256", 2e9, None, "ab", "CN=a", "CN=b", "a,b", "01")


def values(*seen: Seen) -> dict[str, dict[tuple[str, ...], float]]:
    return {family.name: dict(family.values) for family in families(seen)}


@pytest.mark.parametrize(
    ("address", "version", "hashed"),
    [("127.0.0.1", 4, 3668918509), ("::1", 6, 1751717746), (None, 0, 0)],
)
def test_addresses(address: str | None, version: int, hashed: int) -> None:
    """127.0.0.1 and ::1 as blackbox_exporter 0.23 told them."""
    found = values(replace(GOOD, address=address))
    assert found["probe_ip_protocol"] == {(): version}
    assert found["probe_ip_addr_hash"] == {(): hashed}


def test_the_interface_of_an_address_is_not_part_of_it() -> None:
    here, there = values(replace(GOOD, address="fe80::1%eth0")), values(replace(GOOD, address="fe80::1"))
    assert here["probe_ip_addr_hash"] == there["probe_ip_addr_hash"] != {(): 0}


@pytest.mark.parametrize("prober", PROBERS)
def test_every_prober_can_have_seen_nothing(prober: str) -> None:
    found = values(replace(GOOD, prober=prober, success=False, failure=Failure.DNS, address=None, phases={}))
    assert found["probe_success"] == {(): 0}
    assert found["probe_failure_info"] == {("dns",): 1}
    assert not [name for name in found if name.startswith("probe_tls")]


def test_a_body_that_does_not_end_takes_the_rest_of_the_time() -> None:
    answered = replace(GOOD, facts=Facts(http=HttpFacts(200, 1.1)))
    assert values(answered)["probe_http_duration_seconds"]["transfer",] == pytest.approx(0.2)
    assert values(GOOD)["probe_http_duration_seconds"]["transfer",] == 0


def test_certificates_are_told_where_blackbox_exporter_tells_them() -> None:
    refused = replace(GOOD, success=False, failure=Failure.TLS, facts=Facts(tls=TLS))
    assert "probe_ssl_earliest_cert_expiry" not in values(refused)
    told = values(replace(GOOD, facts=Facts(tls=TLS, http=HttpFacts(200, 1.1, tls=True))))
    assert told["probe_ssl_earliest_cert_expiry"] == {(): 2e9}
    assert told["probe_ssl_last_chain_expiry_timestamp_seconds"] == {(): -62135596800}
    assert told["probe_ssl_last_chain_info"] == {("ab", "CN=a", "CN=b", "a,b", "01"): 1}
    tcp = replace(GOOD, prober="tcp", facts=Facts(tls=TLS))
    assert "probe_tls_version_info" not in values(tcp)
    assert "probe_tls_version_info" in values(replace(tcp, phases={"tls": 0.1}))


def test_paths_are_told_apart() -> None:
    first = replace(GOOD, prober="tcp", path=("edge", "203.0.113.10", "n1", "10.0.0.1"))
    second = replace(first, success=False, failure=Failure.TIMEOUT, path=("edge", "203.0.113.10", "n2", "10.0.0.2"))
    found = {family.name: family for family in families([first, second])}
    assert found["probe_success"].labels == PATH_LABELS
    assert found["probe_success"].values == {first.path: 1, second.path: 0}
    assert found["probe_failure_info"].values == {("timeout", *second.path): 1}


def test_labels_of_an_exchange() -> None:
    first = replace(
        GOOD,
        prober="tcp",
        facts=Facts(exchange=ExchangeFacts(labels={"version": "9", "more": "x"})),
        path=("edge", "v", "n1", "h"),
    )
    second = replace(first, facts=Facts(exchange=ExchangeFacts(labels={"other": "y"})), path=("edge", "v", "n2", "h"))
    found = {family.name: family for family in families([first, second])}["probe_expect_info"]
    assert set(found.labels) == {"version", "more", "other", *PATH_LABELS}
    rows = [dict(zip(found.labels, row, strict=True)) for row in found.values]
    assert [(row["version"], row["other"], row["node"]) for row in rows] == [("9", "", "n1"), ("", "y", "n2")]


def test_ssh() -> None:
    facts = Facts(ssh=SshFacts("2.0", "OpenSSH_9.2p1", "Debian-2"))
    found = values(replace(GOOD, prober="ssh", facts=facts, phases={"banner": 0.25}))
    assert found["probe_ssh_info"] == {("2.0", "OpenSSH_9.2p1", "Debian-2", ""): 1}
    assert found["probe_ssh_duration_seconds"] == {("banner",): 0.25}
