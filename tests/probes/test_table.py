from __future__ import annotations

from probes.http_module import HttpModule
from probes.ssh import SshModule
from probes.table import NOT_YET, PROBERS


def test_each_prober_says_what_it_takes_and_tells() -> None:
    assert {name: prober.module for name, prober in PROBERS.items()} == {"http": HttpModule, "ssh": SshModule}
    assert {name: prober.identities for name, prober in PROBERS.items()} == {
        "http": ("body", "header"),
        "ssh": ("banner", "host_key"),
    }
    assert not NOT_YET & PROBERS.keys()
