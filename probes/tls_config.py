"""How a module configures TLS: Prometheus' schema. Pure; what is made of it is in probes.tls."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, SecretStr, model_validator
from pydantic_core import PydanticCustomError

UNSUPPORTED = "unsupported_key"  # the type of an error whose context tells, by key, why there is no such key here

_BLOCK = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----\s(.*?)-----END \1-----", re.DOTALL)
_SEQUENCE = 0x30  # of ASN.1: what certificates and keys are
_LONG = 0x80


def unsupported(found: Mapping[str, str]) -> PydanticCustomError:
    """The error for keys that are known elsewhere, each with a sentence."""
    return PydanticCustomError(UNSUPPORTED, "{said}", {"said": "; ".join(found.values()), "found": dict(found)})


def _is_der(text: str) -> bool:
    """Whether base64 `text` is one whole ASN.1 sequence."""
    try:
        data = base64.b64decode("".join(text.split()), validate=True)
    except ValueError:
        return False
    if len(data) < 2 or data[0] != _SEQUENCE:  # noqa: PLR2004 - tag and length
        return False
    if data[1] < _LONG:
        return len(data) == 2 + data[1]
    start = 2 + data[1] - _LONG
    return len(data) == start + int.from_bytes(data[2:start], "big")


def _certificates(text: str) -> str:
    found = [body for label, body in _BLOCK.findall(text) if label.endswith("CERTIFICATE")]
    if text and not (found and all(map(_is_der, found))):
        raise ValueError(
            "is no certificate in PEM form, which begins with -----BEGIN CERTIFICATE-----; for a path there is the key "
            "of this name with _file"
        )
    return text


def _private_key(secret: SecretStr) -> SecretStr:
    text = secret.get_secret_value()
    found = [(label, body) for label, body in _BLOCK.findall(text) if label.endswith("PRIVATE KEY")]
    if any("ENCRYPTED" in label or "ENCRYPTED" in body for label, body in found):
        raise ValueError("is encrypted, and there is nobody to ask for its password; give the key without one")
    if text and not (found and all(_is_der(body) for _, body in found)):
        raise ValueError(
            "is no private key in PEM form, which begins with -----BEGIN PRIVATE KEY-----; for a path there is key_file"
        )
    return secret


Certificates = Annotated[str, AfterValidator(_certificates)]
Version = Literal["TLS10", "TLS11", "TLS12", "TLS13"]


class TlsConfig(BaseModel):
    """Prometheus' `tls_config`. `ca` or `ca_file` replaces the system's authorities; `server_name` is verified and
    sent as SNI; `cert` and `key` are this client's own. A dump masks `key`.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, hide_input_in_errors=True)
    _references: ClassVar[tuple[str, ...]] = ("ca_ref", "cert_ref", "key_ref")

    insecure_skip_verify: bool = False
    ca: Certificates | None = None
    ca_file: str | None = None
    cert: Certificates | None = None
    cert_file: str | None = None
    key: Annotated[SecretStr, AfterValidator(_private_key)] | None = None
    key_file: str | None = None
    server_name: str | None = None
    min_version: Version | None = None
    max_version: Version | None = None

    @model_validator(mode="before")
    @classmethod
    def _no_references(cls, values: Any) -> Any:
        found = {
            name: f"{name} is known to Prometheus, but there is no secrets manager here; use "
            + name.replace("_ref", "_file")
            for name in cls._references
            if isinstance(values, dict) and name in values
        }
        if found:
            raise unsupported(found)
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
