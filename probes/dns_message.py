"""DNS messages as the prober sees them: a query out, an answer in as counted records of text.

dnspython reads messages (RFC 1035). From 2.9 on it bounds how often compression pointers may lead to pointers, which
older versions follow thousands of times for each name of a message that is made so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset
from dns.rdtypes.ANY.SOA import SOA

from probes.text import excerpt

_UNREADABLE = (dns.exception.DNSException, ValueError, ArithmeticError, LookupError)  # what dnspython raises for bytes
_HEADER_BYTES = 12


class MessageError(ValueError):
    """What came is no answer to the query; the text says why."""


class StrayError(MessageError):
    """It answers something else: over UDP one goes on waiting, as anybody can send it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer, its records in presentation format with tabs between the fields; `serial` is of an SOA."""

    rcode: int
    truncated: bool
    answer: tuple[str, ...]
    authority: tuple[str, ...]
    additional: tuple[str, ...]
    serial: int | None = None

    @property
    def rcode_text(self) -> str:
        return dns.rcode.to_text(dns.rcode.Rcode(self.rcode))


def query(name: str, kind: int, klass: int, message_id: int, *, recursion: bool) -> bytes:
    """A query's wire format, without EDNS, as blackbox_exporter sends it."""
    message = dns.message.QueryMessage(message_id)
    message.flags = dns.flags.Flag.RD if recursion else dns.flags.Flag(0)
    question = dns.rrset.RRset(
        dns.name.from_text(name), dns.rdataclass.RdataClass(klass), dns.rdatatype.RdataType(kind)
    )
    message.question.append(question)
    return message.to_wire()


def read(wire: bytes, asked: bytes) -> Answer:
    """What a message says; `asked` is the query. Raises MessageError. Large messages take up to a second of work."""
    message = parse(wire, asked, each_record=True)
    try:
        return Answer(
            rcode=int(message.rcode()),
            truncated=bool(message.flags & dns.flags.Flag.TC),
            answer=_texts(message.answer),
            authority=_texts(message.authority),
            additional=(*_texts(message.additional), *_option(message)),
            serial=_serial(message.answer),
        )
    except _UNREADABLE as error:
        raise _error(error) from error


def parse(wire: bytes, asked: bytes, *, each_record: bool = False) -> dns.message.Message:
    """The message itself, equal records said once unless `each_record` counts. As `read`."""
    if wire[:2] != asked[:2] or len(wire) < _HEADER_BYTES:
        raise StrayError("not an answer to this query (another message id)" if len(wire) > 1 else "an empty message")
    try:
        message = dns.message.from_wire(
            wire,
            one_rr_per_rrset=each_record,
            ignore_trailing=True,
            # A message that was cut off on its way out may end within a record: what is whole counts.
            continue_on_error=bool(wire[2] & dns.flags.Flag.TC >> 8),
        )
        _check(message, dns.message.from_wire(asked))
    except _UNREADABLE as error:
        raise _error(error) from error
    return message


def _error(error: Exception) -> MessageError:
    if isinstance(error, MessageError):
        return error
    return MessageError(f"no DNS message: {excerpt(str(error) or type(error).__name__)}")


def _check(message: dns.message.Message, asked: dns.message.Message) -> None:
    if not message.flags & dns.flags.Flag.QR:
        raise MessageError("a query, not an answer")
    if message.opcode() != dns.opcode.QUERY:
        raise MessageError(f"an answer to another kind of request ({dns.opcode.to_text(message.opcode())})")
    own, theirs = asked.question[0], message.question
    # RFC 1035 lets errors go without the question; servers that are in doubt about it do so.
    if not theirs and message.rcode() != dns.rcode.NOERROR:
        return
    if [(one.name, one.rdtype, one.rdclass) for one in theirs] != [(own.name, own.rdtype, own.rdclass)]:
        raise MessageError("an answer to another question")


def _texts(section: Sequence[dns.rrset.RRset]) -> tuple[str, ...]:
    return tuple(
        "\t".join(
            (
                one.name.to_text(),
                str(one.ttl),
                dns.rdataclass.to_text(one.rdclass),
                dns.rdatatype.to_text(one.rdtype),
                data.to_text(),
            )
        )
        for one in section
        for data in one
    )


def _option(message: dns.message.Message) -> tuple[str, ...]:
    """EDNS is a record of the additional section on the wire (RFC 6891), which dnspython keeps apart."""
    return () if message.edns < 0 else (f".\t0\tCLASS{message.payload}\tOPT\t",)


def _serial(section: Sequence[dns.rrset.RRset]) -> int | None:
    return next((int(data.serial) for one in section for data in one if isinstance(data, SOA)), None)
