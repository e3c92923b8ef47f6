from __future__ import annotations

import pytest

from probes.http_module import HttpModule
from probes.ssh import SshModule
from probes.table import NOT_YET, PROBERS, module_model


def test_models() -> None:
    assert module_model("http") is HttpModule
    assert module_model("ssh") is SshModule
    assert not NOT_YET & PROBERS.keys()


@pytest.mark.parametrize("prober", sorted(NOT_YET))
def test_later(prober: str) -> None:
    with pytest.raises(ValueError, match=f"{prober} is known to blackbox_exporter, not supported yet"):
        module_model(prober)


def test_unknown() -> None:
    with pytest.raises(ValueError, match="unknown prober htp, expected one of: http, ssh"):
        module_model("htp")
