"""TLS for every prober: contexts that are made once, and what a session showed.

Verification is as in Go, which Prometheus' programs are written in: every certificate of `ca_file` is trusted as it
is, names are looked for in the certificate's alternative names alone, and RFC 5280's finer points, which Python
demands from 3.13 on and many private authorities miss, are not demanded.
"""

from __future__ import annotations

import math
import os
import ssl
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from probes.facts import TlsFacts
from probes.failure import ProbeError
from probes.model import Failure
from probes.text import excerpt, identity_text
from probes.tls_config import TlsConfig

HTTP1 = ("http/1.1",)
HTTP2 = ("h2",)

_HANDSHAKE = "TLS handshake"
_NAMES_CHARACTERS = 512  # of all alternative names together
_VERSIONS = {
    "TLS10": ssl.TLSVersion.TLSv1,
    "TLS11": ssl.TLSVersion.TLSv1_1,
    "TLS12": ssl.TLSVersion.TLSv1_2,
    "TLS13": ssl.TLSVersion.TLSv1_3,
}
_AS_BLACKBOX = {"TLSv1": "TLS 1.0", "TLSv1.1": "TLS 1.1", "TLSv1.2": "TLS 1.2", "TLSv1.3": "TLS 1.3"}

DEFAULT = TlsConfig()


@dataclass(frozen=True, slots=True)
class _Made:
    context: ssl.SSLContext
    files: tuple[tuple[int, int, int] | None, ...]


class Contexts:
    """TLS contexts by configuration and ALPN protocols; one is made anew when a file that it came from changed."""

    def __init__(self) -> None:
        self._made: dict[tuple[TlsConfig, tuple[str, ...]], _Made] = {}

    def context(self, config: TlsConfig | None, alpn: tuple[str, ...] = ()) -> ssl.SSLContext:
        """Raises ProbeError (local) for files that cannot be used."""
        config = config or DEFAULT
        files = tuple(_state(path) for path in (config.ca_file, config.cert_file, config.key_file))
        made = self._made.get((config, alpn))
        if made is None or made.files != files:
            made = self._made[config, alpn] = _Made(_context(config, alpn), files)
        return made.context

    def clear(self) -> None:
        """Everything is read anew."""
        self._made.clear()


class SslObject(ssl.SSLObject):
    """What our contexts make, for asyncio as well: a refused certificate can be looked at, too.

    OpenSSL keeps the chain that the server sent also when it does not verify.
    """

    def do_handshake(self) -> None:
        try:
            super().do_handshake()
        except ssl.SSLCertVerificationError as error:
            error.shown = facts(self)  # type: ignore[attr-defined]
            raise


def facts(session: ssl.SSLObject) -> TlsFacts | None:
    """What the session showed, from as soon as the server has sent its certificates; None before."""
    sent = _chain(session, "get_unverified_chain")
    if not sent:
        return None
    with _tolerant():
        leaf = _parsed(sent[0])
        verified = _chain(session, "get_verified_chain") if _is_verified(session) else ()
        cipher = session.cipher()
        version = session.version() or ""  # until the handshake is done, only the cipher tells, and only of 1.3
        if not version and cipher is not None and cipher[1] == "TLSv1.3":
            version = cipher[1]
        return TlsFacts(
            version=_AS_BLACKBOX.get(version, version),
            cipher="" if cipher is None else cipher[0],
            earliest_expiry=_earliest(sent),
            chain_expiry=_earliest(verified) if verified else None,
            fingerprint_sha256=_text(lambda: leaf.fingerprint(hashes.SHA256()).hex()) if leaf else "",
            subject=_text(leaf.subject.rfc4514_string) if leaf else "",
            issuer=_text(leaf.issuer.rfc4514_string) if leaf else "",
            subject_alternative=_text(lambda: _dns_names(leaf), _NAMES_CHARACTERS) if leaf else "",
            serial_number=_text(lambda: _serial(leaf)) if leaf else "",
        )


def shown(error: BaseException) -> TlsFacts | None:
    """What a server showed whose certificate was refused with `error`."""
    found = getattr(error, "shown", None)
    return found if isinstance(found, TlsFacts) else None


def tls_error(error: ssl.SSLError, doing: str = _HANDSHAKE) -> ProbeError:
    """TLS was refused, by the peer's certificate, by its alert, or by what it sent instead."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return ProbeError(Failure.TLS, f"{doing}: certificate not accepted: {excerpt(error.verify_message)}")
    if isinstance(error, ssl.SSLEOFError):
        return ProbeError(Failure.CLOSED, f"{doing}: connection closed before its end")
    return ProbeError(Failure.TLS, f"{doing}: {excerpt(error.reason or str(error))}")


def server_name(config: TlsConfig | None, host: str) -> str:
    """The name that is verified and sent as SNI."""
    name = config.server_name if config is not None and config.server_name else host
    return name.removesuffix(".")


def in_words(seen: TlsFacts) -> str:
    """One line for a transcript."""
    return f"{seen.version}, {seen.cipher}; certificate of {seen.subject or 'nobody'}, issued by {seen.issuer}"


def _context(config: TlsConfig, alpn: tuple[str, ...]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.sslobject_class = SslObject
    context.hostname_checks_common_name = False
    context.verify_flags = ssl.VERIFY_X509_TRUSTED_FIRST | ssl.VERIFY_X509_PARTIAL_CHAIN
    _allow_versions(context, config)
    _load_authorities(context, config)
    _load_own(context, config)
    if config.insecure_skip_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if alpn:
        context.set_alpn_protocols(list(alpn))
    return context


def _allow_versions(context: ssl.SSLContext, config: TlsConfig) -> None:
    lowest = config.min_version or ("TLS12" if (config.max_version or "TLS13") >= "TLS12" else config.max_version)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # TLS 1.0 and 1.1, which the operator asked for
        context.minimum_version = _VERSIONS[lowest or "TLS12"]
        if config.max_version:
            context.maximum_version = _VERSIONS[config.max_version]
    if lowest in ("TLS10", "TLS11"):
        context.set_ciphers("DEFAULT:@SECLEVEL=0")  # they hash with SHA-1, which no other level allows


def _load_authorities(context: ssl.SSLContext, config: TlsConfig) -> None:
    try:
        if config.ca:
            context.load_verify_locations(cadata=config.ca)
        elif config.ca_file:
            context.load_verify_locations(cafile=config.ca_file)
        else:
            context.load_default_certs()
    except (OSError, ValueError) as error:
        source = f"ca_file {config.ca_file}" if config.ca_file else "ca"
        raise ProbeError(Failure.LOCAL, f"tls_config {source}: {_reason(error)}") from error


def _load_own(context: ssl.SSLContext, config: TlsConfig) -> None:
    key = config.key.get_secret_value() if config.key else ""
    if not (config.cert or config.cert_file):
        return
    try:
        with _readable(config.cert, config.cert_file) as cert_file, _readable(key, config.key_file) as key_file:
            context.load_cert_chain(cert_file, key_file, password=_no_password)
    except (OSError, ValueError) as error:
        source = config.cert_file or "cert"
        raise ProbeError(Failure.LOCAL, f"tls_config {source}: {_reason(error)}") from error


@contextmanager
def _readable(text: str | None, path: str | None) -> Iterator[str]:
    """A path for OpenSSL, which reads files alone; text is held in memory and nowhere else."""
    if path:
        yield path
        return
    descriptor = os.memfd_create("tls_config", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, (text or "").encode())
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def _no_password() -> str:
    raise ValueError("the key is encrypted, and there is nobody to ask for its password")  # OpenSSL would ask


def _reason(error: Exception) -> str:
    """Never holds what a file holds."""
    if isinstance(error, ssl.SSLError):
        return (error.reason or str(error)).replace("_", " ").lower()
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)


def _state(path: str | None) -> tuple[int, int, int] | None:
    if path is None:
        return None
    try:
        now = os.stat(path)  # noqa: PTH116 - once for each probe
    except OSError:
        return None
    return now.st_mtime_ns, now.st_ino, now.st_size


def _is_verified(session: ssl.SSLObject) -> bool:
    if session.context.verify_mode is not ssl.CERT_REQUIRED:
        return False
    try:
        return bool(session.getpeercert(binary_form=True))
    except ValueError:  # the handshake is not done
        return False


def _chain(session: ssl.SSLObject, method: str) -> Sequence[bytes]:
    """DER certificates, the server's own first. Python 3.13 has a public method; the private one is of 3.10."""
    public = getattr(session, method, None)
    if public is not None:
        return tuple(public())
    private = getattr(session._sslobj, method)  # type: ignore[attr-defined]  # noqa: SLF001
    return tuple(ssl.PEM_cert_to_DER_cert(certificate.public_bytes()) for certificate in private() or ())


def _parsed(certificate: bytes) -> x509.Certificate | None:
    try:
        return x509.load_der_x509_certificate(certificate)
    except ValueError:
        return None


def _earliest(certificates: Sequence[bytes]) -> float:
    """NaN where none can be read."""
    ends: list[float] = []
    for certificate in map(_parsed, certificates):
        with suppress(ValueError):
            if certificate is not None:
                ends.append(certificate.not_valid_after_utc.timestamp())
    return min(ends, default=math.nan)


def _dns_names(certificate: x509.Certificate) -> str:
    """As blackbox_exporter gives them: DNS names alone."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return ""
    return ",".join(found.value.get_values_for_type(x509.DNSName))


def _serial(certificate: x509.Certificate) -> str:
    number = abs(certificate.serial_number)  # Go, too, writes the magnitude
    return number.to_bytes((number.bit_length() + 7) // 8, "big").hex()


def _text(read: Callable[[], str], limit: int = 256) -> str:
    """What a certificate holds, which may be anything: printable and bounded."""
    try:
        return identity_text(read()[:limit])
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        return ""


@contextmanager
def _tolerant() -> Iterator[None]:
    """A certificate that breaks a rule is shown as it is, without a word on our own standard error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
