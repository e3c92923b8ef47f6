"""Server certificates, good and bad, and the TLS contexts that use them."""

from __future__ import annotations

import datetime as dt
import ipaddress
import ssl
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.probes.certificates import authority

_DAY = dt.timedelta(days=1)


@dataclass(frozen=True)
class Certificates:
    """TLS contexts of servers; `ca_file` verifies all but the self-signed one, which names no authority."""

    directory: Path
    good: ssl.SSLContext
    other_name: ssl.SSLContext
    expired: ssl.SSLContext
    self_signed: ssl.SSLContext


def ca_file(directory: Path) -> Path:
    return directory / "authority.pem"


def certificates(directory: Path) -> Certificates:
    """Make them all, as files in a directory."""
    ca_file(directory).write_bytes(authority().pem())
    return Certificates(
        directory,
        good=_context(directory / "good.pem", "localhost", "127.0.0.1"),
        other_name=_context(directory / "other.pem", "other.test"),
        expired=_context(directory / "expired.pem", "127.0.0.1", ended=True),
        self_signed=_context(directory / "self.pem", "127.0.0.1", self_signed=True),
    )


def _context(path: Path, *names: str, ended: bool = False, self_signed: bool = False) -> ssl.SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
    end = dt.datetime.now(dt.UTC) + (-_DAY if ended else _DAY)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if self_signed else authority().certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(end - 5 * _DAY)
        .not_valid_after(end)
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
    )
    certificate = builder.sign(key if self_signed else authority().key, hashes.SHA256())
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + private)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
