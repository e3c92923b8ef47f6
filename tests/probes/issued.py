"""Certificates that are wrong in one respect, or right in a particular one."""

from __future__ import annotations

import datetime as dt
import ssl
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.probes.certificates import authority


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate with its key, and the certificates that are sent after it."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    above: tuple[x509.Certificate, ...] = ()

    @property
    def pem(self) -> str:
        return "".join(one.public_bytes(serialization.Encoding.PEM).decode() for one in (self.certificate, *self.above))

    @property
    def expiry(self) -> float:
        return self.certificate.not_valid_after_utc.timestamp()

    def key_pem(self, password: bytes | None = None) -> str:
        encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
        if password is not None:
            encryption = serialization.BestAvailableEncryption(password)
        form = serialization.PrivateFormat.PKCS8
        return self.key.private_bytes(serialization.Encoding.PEM, form, encryption).decode()

    def server(self, directory: Path) -> ssl.SSLContext:
        """A server's context that sends it."""
        path = directory / f"{self.certificate.serial_number:x}.pem"
        path.write_text(self.pem + self.key_pem(), encoding="ascii")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context


def issue(
    common_name: str,
    *names: str,
    days: float = 10,
    issuer: Issued | None = None,
    self_signed: bool = False,
    is_authority: bool = False,
) -> Issued:
    """Of the test authority, unless said otherwise; `days` from now it ends (before now if negative)."""
    key = ec.generate_private_key(ec.SECP256R1())
    now = dt.datetime.now(dt.UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    above = issuer.certificate if issuer else authority().certificate
    signer = key if self_signed else issuer.key if issuer else authority().key
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if self_signed else above.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=30))
        .not_valid_after(now + dt.timedelta(days=days))
    )
    if names:
        alternative = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
        builder = builder.add_extension(alternative, critical=False)
    if is_authority:
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    certificate = builder.sign(signer, hashes.SHA256())
    return Issued(certificate, key, (issuer.certificate, *issuer.above) if issuer else ())
