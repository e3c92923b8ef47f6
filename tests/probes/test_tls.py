from __future__ import annotations

import asyncio
import hashlib
import json
import math
import ssl
import warnings
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa as rsa_key
from pydantic import ValidationError

from probes import tls
from probes.facts import TlsFacts
from probes.failure import ProbeError
from probes.model import Failure, Flow, Outcome, Request
from probes.table import Probers
from probes.tcp_module import TcpModule
from probes.tls import Contexts
from probes.tls_config import TlsConfig
from tests.probes.certificates import authority
from tests.probes.issued import Issued, issue
from tests.probes.servers import Handler, reset_at_once, saying, serving, silent

NAME = "www.example.org"
SECRET_WORD = "MIGHAgEA"  # how a private key in PKCS8 begins, whatever its curve
CA = authority().pem().decode()


async def probe(probers: Probers, port: int, host: str = NAME, *, seconds: float = 20.0, **config: Any) -> Outcome:
    module = TcpModule(tls=True, tls_config=TlsConfig.model_validate(config))
    return await probers.probe("tcp", Request(Flow("127.0.0.1", port), host, seconds), module)


def alerting(context: ssl.SSLContext) -> Handler:
    """TLS as OpenSSL speaks it: a server of asyncio's closes without the alert that says why."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        session = context.wrap_bio(incoming, outgoing, server_side=True)
        refused = False
        while not refused:
            try:
                session.do_handshake()
                break
            except ssl.SSLWantReadError:
                writer.write(outgoing.read())
                incoming.write(await reader.read(4096))
            except ssl.SSLError:
                refused = True
        writer.write(outgoing.read())
        await writer.drain()
        if not refused:
            await reader.read()

    return handler


async def read_and_close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    del writer
    await reader.read(4096)


async def against(probers: Probers, server: ssl.SSLContext, host: str = NAME, **config: Any) -> Outcome:
    async with serving(alerting(server)) as port:
        return await probe(probers, port, host, seconds=20.0, **config)


def seen(outcome: Outcome) -> TlsFacts:
    assert outcome.facts.tls is not None, outcome
    return outcome.facts.tls


def refused(values: dict[str, object]) -> str:
    with pytest.raises(ValidationError) as caught:
        TlsConfig.model_validate(values)
    return str(caught.value)


def test_every_key_of_prometheus_is_known() -> None:
    one = issue("client")
    config = TlsConfig.model_validate(
        {
            "ca": CA,
            "cert_file": "/client.pem",
            "key": one.key_pem(),
            "server_name": NAME,
            "insecure_skip_verify": True,
            "min_version": "TLS10",
            "max_version": "TLS13",
        }
    )
    assert config.server_name == NAME
    assert TlsConfig.model_validate({"ca_file": "/ca.pem", "cert": one.pem, "key_file": "/key.pem"}).key_file


@pytest.mark.parametrize("key", ["ca_ref", "cert_ref", "key_ref"])
def test_references_to_a_secrets_manager_are_refused_by_name(key: str) -> None:
    assert f"{key} is known to Prometheus" in refused({key: "vault"})


def test_contradictions_and_unknown_keys_are_errors() -> None:
    assert "ca and ca_file" in refused({"ca": CA, "ca_file": "/ca.pem"})
    assert "belong together" in refused({"cert_file": "/client.pem"})
    assert "belong together" in refused({"key_file": "/key.pem"})
    assert "is above max_version" in refused({"min_version": "TLS13", "max_version": "TLS12"})
    assert "min_version" in refused({"min_version": "SSL30"})
    assert "verify" in refused({"verify": False})


def test_a_key_is_never_shown() -> None:
    one = issue("client")
    config = TlsConfig.model_validate({"cert": one.pem, "key": one.key_pem()})
    for text in (repr(config), str(config), config.model_dump_json(), json.dumps(config.model_dump(mode="json"))):
        assert SECRET_WORD not in text
    for wrong in (one.key_pem(), one.key_pem()[:-80], one.key_pem().replace("PRIVATE", "SECRET")):
        bad = refused({"key": wrong, "key_file": "/key.pem", "cert": one.pem})
        assert SECRET_WORD not in bad


def test_text_that_is_no_pem_is_refused_when_it_is_read() -> None:
    one = issue("client")
    pem, key = one.pem, one.key_pem()
    cut = "\n".join(pem.splitlines()[:4] + pem.splitlines()[-1:])
    for wrong in ("junk", "/etc/ca.pem", cut, pem.replace("MII", "M-I", 1), key, pem + cut):
        for name in ("ca", "cert"):
            assert f"{name}\n  Value error, is no certificate in PEM form" in refused({name: wrong, "key": key})
    for wrong in ("junk", "/etc/key.pem", key[:-80], pem):
        assert "key\n  Value error, is no private key in PEM form" in refused({"cert": pem, "key": wrong})
    assert "is encrypted" in refused({"cert": pem, "key": one.key_pem(b"word")})
    assert TlsConfig.model_validate({"ca": f"# ours\n{CA}\n{pem}", "cert": pem, "key": f"{key}\n"}).ca
    rsa = rsa_key.generate_private_key(65537, 2048)
    for form in (serialization.PrivateFormat.TraditionalOpenSSL, serialization.PrivateFormat.PKCS8):
        text = rsa.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()
        assert TlsConfig.model_validate({"cert": pem, "key": text}).key
    form, secret = serialization.PrivateFormat.TraditionalOpenSSL, serialization.BestAvailableEncryption(b"word")
    text = rsa.private_bytes(serialization.Encoding.PEM, form, secret).decode()
    assert "is encrypted" in refused({"cert": pem, "key": text})


def test_contexts_are_kept_until_a_file_changes(tmp_path: Path) -> None:
    contexts = Contexts()
    path = tmp_path / "ca.pem"
    path.write_text(CA, encoding="ascii")
    config = TlsConfig(ca_file=str(path))
    first = contexts.context(config)
    assert contexts.context(TlsConfig(ca_file=str(path))) is first
    assert contexts.context(config, tls.HTTP2) is not first
    path.write_text(CA + issue("another", self_signed=True, is_authority=True).pem, encoding="ascii")
    second = contexts.context(config)
    assert second is not first
    assert len(second.get_ca_certs()) == 2
    contexts.clear()
    assert contexts.context(config) is not second


def test_a_file_that_cannot_be_used_is_this_machines_trouble(tmp_path: Path) -> None:
    missing, empty = tmp_path / "missing.pem", tmp_path / "empty.pem"
    empty.write_text("nothing\n", encoding="ascii")
    own = issue("client")
    locked = tmp_path / "locked.pem"
    locked.write_text(own.key_pem(b"word"), encoding="ascii")
    for config, words in (
        (TlsConfig(ca_file=str(missing)), f"tls_config ca_file {missing}: No such file"),
        (TlsConfig(ca_file=str(empty)), f"tls_config ca_file {empty}: no certificate"),
        (TlsConfig.model_validate({"cert": own.pem, "key": issue("other").key_pem()}), "key values mismatch"),
        (TlsConfig.model_validate({"cert": own.pem, "key_file": str(locked)}), "encrypted"),
    ):
        with pytest.raises(ProbeError) as caught:
            Contexts().context(config)
        assert caught.value.failure is Failure.LOCAL
        assert words in caught.value.detail, caught.value.detail
        assert SECRET_WORD not in caught.value.detail


async def test_facts_of_a_verified_session(probers: Probers, tmp_path: Path) -> None:
    middle = issue("intermediate", days=5, is_authority=True)
    leaf = issue(NAME, NAME, "*.example.org", days=20, issuer=middle)
    outcome = await against(probers, leaf.server(tmp_path), ca=CA)
    assert outcome.success, outcome.detail
    facts = seen(outcome)
    der = leaf.certificate.public_bytes(serialization.Encoding.DER)
    serial = f"{leaf.certificate.serial_number:x}"
    assert facts == TlsFacts(
        version="TLS 1.3",
        cipher=facts.cipher,
        earliest_expiry=middle.expiry,
        # The verified chain ends in the authority, which here ends first of all.
        chain_expiry=authority().certificate.not_valid_after_utc.timestamp(),
        fingerprint_sha256=hashlib.sha256(der).hexdigest(),
        subject=f"CN={NAME}",
        issuer="CN=intermediate",
        subject_alternative=f"{NAME},*.example.org",
        serial_number=serial.zfill(len(serial) + len(serial) % 2),
    )
    assert facts.cipher.startswith("TLS_")
    assert list(outcome.phases) == ["connect", "tls"]
    assert any("TLS 1.3" in line and f"CN={NAME}" in line for line in outcome.transcript)


async def test_an_unverified_session_has_no_verified_chain(probers: Probers, tmp_path: Path) -> None:
    leaf = issue(NAME, NAME, days=-3)
    outcome = await against(probers, leaf.server(tmp_path), insecure_skip_verify=True)
    assert outcome.success, outcome.detail
    assert seen(outcome).earliest_expiry == leaf.expiry
    assert seen(outcome).chain_expiry is None


@pytest.mark.parametrize(
    ("leaf", "words"),
    [
        (issue(NAME, NAME, days=-3), "certificate has expired"),
        (issue(NAME, NAME, self_signed=True), "self-signed certificate"),
        (issue(NAME, "other.example.org"), "Hostname mismatch"),
        (issue(NAME), "Hostname mismatch"),  # a common name names nobody: Go, and RFC 9525
    ],
)
async def test_a_refused_certificate_is_shown_with_its_expiry(
    probers: Probers, tmp_path: Path, leaf: Issued, words: str
) -> None:
    outcome = await against(probers, leaf.server(tmp_path), ca=CA)
    assert outcome.failure is Failure.TLS
    assert outcome.detail.startswith("TLS handshake: certificate not accepted: ")
    assert words in outcome.detail
    facts = seen(outcome)
    assert facts.earliest_expiry == leaf.expiry
    assert facts.subject == f"CN={NAME}"
    assert facts.chain_expiry is None
    assert facts.version == "TLS 1.3"
    assert any(f"certificate of CN={NAME}" in line for line in outcome.transcript)
    assert list(outcome.phases) == ["connect"]


async def test_each_certificate_of_ca_is_trusted_as_it_is(probers: Probers, tmp_path: Path) -> None:
    leaf = issue(NAME, NAME, self_signed=True)
    assert (await against(probers, leaf.server(tmp_path), ca=leaf.pem)).success
    middle = issue("intermediate", is_authority=True)
    assert (await against(probers, issue(NAME, NAME, issuer=middle).server(tmp_path), ca=middle.pem)).success


async def test_server_name_is_asked_for_and_verified(probers: Probers, tmp_path: Path) -> None:
    server = issue(NAME, NAME).server(tmp_path)
    names: list[str | None] = []
    server.sni_callback = lambda _sock, name, _context: names.append(name)
    assert (await against(probers, server, "10.0.0.1", ca=CA, server_name=NAME)).success
    assert (await against(probers, server, f"{NAME}.", ca=CA)).success
    assert not (await against(probers, server, "10.0.0.1", ca=CA)).success
    assert names == [NAME, NAME, None]
    for name in ("", ".example.org", "x" * 300):
        outcome = await against(probers, server, name, ca=CA)
        assert outcome.failure is Failure.LOCAL
        assert "no usable TLS server name" in outcome.detail


async def test_a_client_shows_its_own_certificate(probers: Probers, tmp_path: Path) -> None:
    server = issue(NAME, NAME).server(tmp_path)
    server.verify_mode = ssl.CERT_REQUIRED
    server.load_verify_locations(cadata=CA)
    server.maximum_version = ssl.TLSVersion.TLSv1_2  # with 1.3 a server refuses after the client's handshake is done
    own = issue("client")
    files = {"cert_file": tmp_path / "client.pem", "key_file": tmp_path / "client.key"}
    files["cert_file"].write_text(own.pem, encoding="ascii")
    files["key_file"].write_text(own.key_pem(), encoding="ascii")
    by_file = await against(probers, server, ca=CA, **{key: str(path) for key, path in files.items()})
    assert by_file.success, by_file.detail
    inline = await against(probers, server, ca=CA, cert=own.pem, key=own.key_pem())
    assert inline.success, inline.detail
    without = await against(probers, server, ca=CA)
    assert without.failure is Failure.TLS
    assert "handshake" in without.detail.lower()
    assert SECRET_WORD not in repr((by_file, inline))


async def test_versions_are_bounded(probers: Probers, tmp_path: Path) -> None:
    server = issue(NAME, NAME).server(tmp_path)
    server.maximum_version = ssl.TLSVersion.TLSv1_2
    assert seen(await against(probers, server, ca=CA)).version == "TLS 1.2"
    refused = await against(probers, server, ca=CA, min_version="TLS13")
    assert refused.failure is Failure.TLS
    newer = issue(NAME, NAME).server(tmp_path)
    assert seen(await against(probers, newer, ca=CA, max_version="TLS12")).version == "TLS 1.2"


@pytest.mark.parametrize(("version", "shown"), [("TLS10", "TLS 1.0"), ("TLS11", "TLS 1.1")])
async def test_old_versions_only_where_they_are_asked_for(
    probers: Probers, tmp_path: Path, version: str, shown: str
) -> None:
    server = issue(NAME, NAME).server(tmp_path)
    server.set_ciphers("DEFAULT:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        server.minimum_version = ssl.TLSVersion.TLSv1
        server.maximum_version = ssl.TLSVersion.TLSv1 if version == "TLS10" else ssl.TLSVersion.TLSv1_1
    assert (await against(probers, server, ca=CA)).failure is Failure.TLS
    for config in ({"min_version": version}, {"max_version": version}):
        outcome = await against(probers, server, ca=CA, **config)
        assert outcome.success, outcome.detail
        assert seen(outcome).version == shown


async def test_servers_that_speak_no_tls(probers: Probers) -> None:
    for handler, failure in (
        (saying(b"SSH-2.0-OpenSSH_9.2\r\n"), Failure.TLS),
        (saying(b"\x16\x03\x03\x40\x00" + b"\xff" * 20_000), Failure.TLS),
        (saying(b"\x15\x03\x03\x00\x02\x02\x28"), Failure.TLS),  # an alert: handshake failure
        (read_and_close, Failure.CLOSED),
        (reset_at_once, Failure.RESET),
    ):
        async with serving(handler) as port:
            outcome = await probe(probers, port)
        assert outcome.failure is failure, outcome
        assert outcome.detail.startswith("TLS handshake: ")
        assert outcome.facts.tls is None
        assert outcome.connected
    async with serving(silent) as port:
        outcome = await probe(probers, port, seconds=0.2)
    assert outcome.failure is Failure.TIMEOUT
    assert outcome.detail == "TLS handshake: no end within 0.2 s"


def test_a_certificate_that_nobody_can_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls, "_chain", lambda _session, method: (b"garbage",) if "unverified" in method else ())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    facts = tls.facts(context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname=NAME))
    assert facts is not None
    assert math.isnan(facts.earliest_expiry)
    assert facts.fingerprint_sha256 == ""


def test_before_the_server_has_spoken_there_is_nothing_to_tell() -> None:
    context = Contexts().context(None)
    session = context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname=NAME)
    assert tls.facts(session) is None
