"""How a module configures TLS: Prometheus' schema. Pure; what is made of it is in probes.tls."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, SecretStr, model_validator

Version = Literal["TLS10", "TLS11", "TLS12", "TLS13"]


class TlsConfig(BaseModel):
    """Prometheus' `tls_config`. `ca` or `ca_file` replaces the system's authorities; `server_name` is verified and
    sent as SNI; `cert` and `key` are this client's own. A dump masks `key`.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)
    _references: ClassVar[tuple[str, ...]] = ("ca_ref", "cert_ref", "key_ref")

    insecure_skip_verify: bool = False
    ca: str | None = None
    ca_file: str | None = None
    cert: str | None = None
    cert_file: str | None = None
    key: SecretStr | None = None
    key_file: str | None = None
    server_name: str | None = None
    min_version: Version | None = None
    max_version: Version | None = None

    @model_validator(mode="before")
    @classmethod
    def _no_references(cls, values: Any) -> Any:
        for name in cls._references if isinstance(values, dict) else ():
            if name in values:
                file = name.replace("_ref", "_file")
                raise ValueError(f"{name} is known to Prometheus, but there is no secrets manager here; use {file}")
        return values

    @model_validator(mode="after")
    def _consistent(self) -> TlsConfig:
        for name in ("ca", "cert", "key"):
            if getattr(self, name) and getattr(self, f"{name}_file"):
                raise ValueError(f"{name} and {name}_file say the same thing; keep one")
        if bool(self.cert or self.cert_file) != bool(self.key or self.key_file):
            raise ValueError("a client's certificate and its key belong together: cert_file and key_file")
        if self.min_version and self.max_version and self.min_version > self.max_version:
            raise ValueError(f"min_version {self.min_version} is above max_version {self.max_version}")
        return self
