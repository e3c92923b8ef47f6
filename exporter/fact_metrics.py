"""What the metrics say of each path's last answer: certificate, status, connection, banner. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from exporter.status import PathStatus, Status
from exporter.steering_metrics import Family
from probes.facts import Facts

PATH = ("target", "vip", "port", "router", "node", "next_hop")


def families(status: Status) -> Iterator[Family]:
    """Every metric of what probes saw besides success or failure; a path without an answer has none."""
    expiry: dict[tuple[str, ...], float] = {}
    tls: dict[tuple[str, ...], float] = {}
    code: dict[tuple[str, ...], float] = {}
    rtt: dict[tuple[str, ...], float] = {}
    again: dict[tuple[str, ...], float] = {}
    ssh: dict[tuple[str, ...], float] = {}
    for path in status.paths:
        labels = labels_of(path)
        if path.tally.over_tcp:
            again[labels] = path.tally.retransmits
        facts = path.result.facts if path.result is not None else Facts()
        if facts.tls is not None:
            expiry[labels] = facts.tls.earliest_expiry
            tls[*labels, facts.tls.version, facts.tls.cipher, facts.tls.fingerprint_sha256] = 1
        if facts.http is not None:
            code[labels] = facts.http.status_code
        if facts.tcp is not None:
            rtt[labels] = facts.tcp.handshake_rtt_seconds
        if facts.ssh is not None:
            ssh[*labels, facts.ssh.protocol, facts.ssh.software, facts.ssh.comment, facts.ssh.host_key or ""] = 1
    yield Family(
        "ecmp_path_tls_earliest_expiry_timestamp_seconds",
        "When the first of the certificates expires that the server sent to the last probe.",
        PATH,
        expiry,
    )
    yield Family(
        "ecmp_path_tls_info",
        "The TLS session of the last probe, and the server's own certificate.",
        (*PATH, "version", "cipher", "fingerprint_sha256"),
        tls,
    )
    yield Family("ecmp_path_http_status_code", "The status code that the last probe got.", PATH, code)
    yield Family(
        "ecmp_path_tcp_handshake_rtt_seconds", "The kernel's round trip in the last probe's handshake.", PATH, rtt
    )
    yield Family(
        "ecmp_path_tcp_retransmits",
        "TCP segments of probes through the path that were sent again.",
        PATH,
        again,
        counts=True,
    )
    yield Family(
        "ecmp_path_ssh_info",
        "What the SSH server said of itself to the last probe, and its host key where it was asked for.",
        (*PATH, "protocol", "software", "comment", "host_key"),
        ssh,
    )


def labels_of(path: PathStatus) -> tuple[str, ...]:
    """The values of PATH."""
    return (path.target, path.vip, str(path.port), path.router, path.node or "", path.next_hop or "")
