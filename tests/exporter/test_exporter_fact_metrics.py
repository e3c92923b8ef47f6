from __future__ import annotations

from dataclasses import replace

from exporter.board import Board
from exporter.status import Tally
from probes.facts import NOTHING
from tests.exporter.scenario import NOW, build
from tests.exporter.statuses import run
from tests.exporter.test_exporter_metrics import RICH, samples, value


def test_values_of_what_probes_saw() -> None:
    board, world = Board("0.0.test"), build(RICH)
    run(board, world)
    status = run(board, world)
    own = {"target": "web", "node": "leviathan1"}
    assert value(status, "ecmp_path_tls_earliest_expiry_timestamp_seconds", **own) == [NOW + 86400]
    assert value(status, "ecmp_path_tls_info", **own, version="TLS 1.3", fingerprint_sha256="ab" * 32) == [1]
    assert value(status, "ecmp_path_http_status_code", **own) == [200]
    assert value(status, "ecmp_path_tcp_handshake_rtt_seconds", **own) == [0.0005]
    assert value(status, "ecmp_path_tcp_retransmits_total", **own) == [4], "of both rounds"
    assert value(status, "ecmp_path_ssh_info", **own, software="OpenSSH_9.2p1", comment="Debian-2") == [1]
    assert value(status, "ecmp_path_tcp_retransmits_total", node="leviathan3") == [], "no flow exercises it"
    assert value(status, "ecmp_path_tls_info", node="leviathan3") == []


def test_what_probes_did_not_see_is_left_out() -> None:
    board, world = Board("0.0.test"), build(RICH)
    status = run(board, world)
    bare = tuple(
        replace(
            target,
            paths=tuple(
                replace(path, tally=Tally(), result=path.result and replace(path.result, facts=NOTHING))
                for path in target.paths
            ),
        )
        for target in status.targets
    )
    found = {name for name, _ in samples(replace(status, targets=bare))}
    assert "ecmp_path_up" in found
    assert not {name for name in found if name.startswith(("ecmp_path_tls", "ecmp_path_tcp", "ecmp_path_http"))}
