"""The configuration as it may be shown to whoever asks: without a secret. Pure."""

from __future__ import annotations

from typing import Any

import yaml

from exporter.config import Config, Module
from exporter.durations import format_duration

HIDDEN = "<hidden>"

_PLAIN_HEADERS = frozenset({"accept", "accept-encoding", "accept-language", "content-type", "host", "user-agent"})
# By the names that blackbox_exporter and Prometheus' HTTP client give to what may be a secret, or hold one.
_SECRETS = frozenset(
    {"bearer_token", "body", "client_secret", "credentials", "key", "passphrase", "password", "payload", "send"}
)
_HEADERS = frozenset({"headers", "http_headers", "proxy_connect_header", "metadata"})


def shown(config: Config) -> str:
    """The running configuration as YAML. Of a secret that stands in a file the path is shown; what may be one that
    stands in the configuration itself, headers, bodies and the query of a path too, is not.
    """
    values = config.model_dump(mode="json", exclude_none=True, exclude={"modules"})
    values["modules"] = {name: _module(module) for name, module in config.modules.items()}
    return yaml.safe_dump(values, sort_keys=False)


def shown_module(module: Module) -> str:
    """One module as YAML."""
    return yaml.safe_dump(_module(module), sort_keys=False)


def _module(module: Module) -> dict[str, Any]:
    settings = _masked(module.settings.model_dump(mode="json", exclude_unset=True))
    found: dict[str, Any] = {"prober": module.prober, module.prober: settings}
    return found if module.timeout is None else {**found, "timeout": format_duration(module.timeout)}


def _masked(value: Any, *, headers: bool = False) -> Any:
    if isinstance(value, list):
        return [_masked(one, headers=headers) for one in value]
    if not isinstance(value, dict):
        return value
    masked = {}
    for name, own in value.items():
        low = str(name).lower()
        secret = low not in _PLAIN_HEADERS if headers else low in _SECRETS
        if low == "path" and not headers and isinstance(own, str):
            path, mark, _ = own.partition("?")
            masked[name] = path + (f"?{HIDDEN}" if mark else "")
            continue
        masked[name] = HIDDEN if secret and own else _masked(own, headers=low in _HEADERS and not headers)
    return masked
