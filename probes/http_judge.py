"""What an http module says of an answer. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime

from multidict import CIMultiDict

from probes.failure import ProbeError
from probes.http_module import HeaderMatch, HttpModule
from probes.model import Failure, Identity
from probes.pattern import group
from probes.text import excerpt, identity_text

_DATE_CHARACTERS = 64
_LENGTH_DIGITS = 18


@dataclass(frozen=True, slots=True)
class Answer:
    """The last answer of a probe. `body` is what patterns see, `length` what was read, decompressed."""

    status: int
    version: float
    headers: CIMultiDict[str]
    https: bool
    moved: str = ""  # where a redirect that was not followed leads, in words
    body: str = ""
    length: int = 0
    whole: bool = True  # read to its end, within the limit


class PatternError(ProbeError):
    """A pattern decided."""


def judge_head(answer: Answer, module: HttpModule) -> None:
    """Raise ProbeError for the first expectation that status, version, scheme or header fields do not meet."""
    if not module.accepts(answer.status):
        raise _unexpected(f"status {answer.status}{answer.moved}")
    if not module.accepts_version(answer.version):
        raise _unexpected(f"HTTP/{answer.version:.1f}, which valid_http_versions does not hold")
    if module.fail_if_ssl and answer.https:
        raise _unexpected("the answer came over TLS")
    if module.fail_if_not_ssl and not answer.https:
        raise _unexpected("the answer did not come over TLS")
    for wanted in module.fail_if_header_matches:
        if any(wanted.regexp.search(value) for value in _values(answer, wanted)):
            raise _by_pattern(f"header {wanted.header} matches {excerpt(wanted.regexp.pattern)}")
    for wanted in module.fail_if_header_not_matches:
        values = list(_values(answer, wanted))
        if values and not any(wanted.regexp.search(value) for value in values):
            raise _by_pattern(f"header {wanted.header} does not match {excerpt(wanted.regexp.pattern)}")


def judge_body(answer: Answer, module: HttpModule) -> None:
    """The same for the body."""
    if not answer.whole:
        limit = f"body_size_limit ({module.body_size_limit} bytes)"
        raise _unexpected(f"body is longer than {limit if module.body_size_limit else f'{module.body_bytes} bytes'}")
    cut = f" in its first {module.judged_bytes} bytes" if answer.length > module.judged_bytes else ""
    for pattern in module.fail_if_body_matches_regexp:
        if pattern.search(answer.body):
            raise _by_pattern(f"body matches {excerpt(pattern.pattern)}")
    for pattern in module.fail_if_body_not_matches_regexp:
        if not pattern.search(answer.body):
            raise _by_pattern(f"body does not match {excerpt(pattern.pattern)}{cut}")


def named_by_header(identity: Identity | None, headers: CIMultiDict[str]) -> str | None:
    """What a header field calls the node."""
    if identity is None or identity.kind != "header":
        return None
    value = headers.get(identity.rule)
    return None if value is None else identity_text(value)


def named_by_body(identity: Identity | None, body: str) -> str | None:
    """What the body calls the node."""
    if identity is None or identity.kind != "body":
        return None
    value = group(identity.rule, body)
    return None if value is None else identity_text(value)


def content_length(status: int, headers: CIMultiDict[str]) -> int:
    """-1 where the answer does not tell; 0 where there is no body by definition (RFC 9112, section 6.3)."""
    if status < 200 or status in (204, 304):  # noqa: PLR2004
        return 0
    text = headers.get("Content-Length", "").strip()
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= _LENGTH_DIGITS else -1


def last_modified(headers: CIMultiDict[str]) -> float | None:
    """Seconds since the epoch."""
    text = headers.get("Last-Modified", "")
    if not text or len(text) > _DATE_CHARACTERS:
        return None
    try:
        moment = parsedate_to_datetime(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _values(answer: Answer, wanted: HeaderMatch) -> Iterator[str]:
    """A field that is missing fails both kinds of expectation, as in blackbox_exporter."""
    values = answer.headers.getall(wanted.header, [])
    if not values and not wanted.allow_missing:
        raise _by_pattern(f"header {wanted.header} is missing")
    yield from values


def _unexpected(detail: str) -> ProbeError:
    return ProbeError(Failure.EXPECTATION, detail)


def _by_pattern(detail: str) -> ProbeError:
    return PatternError(Failure.EXPECTATION, detail)
