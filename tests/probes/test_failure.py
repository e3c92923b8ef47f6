from __future__ import annotations

import errno

import pytest

from probes import failure
from probes.model import Failure


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (errno.ECONNREFUSED, Failure.REFUSED),
        (errno.ECONNRESET, Failure.RESET),
        (errno.EPIPE, Failure.RESET),
        (errno.EHOSTUNREACH, Failure.UNREACHABLE),
        (errno.ENETUNREACH, Failure.UNREACHABLE),
        (errno.EACCES, Failure.UNREACHABLE),
        (errno.ETIMEDOUT, Failure.TIMEOUT),
        (errno.EMFILE, Failure.LOCAL),
        (errno.ENOBUFS, Failure.LOCAL),
        (errno.EPERM, Failure.LOCAL),
        (None, Failure.CLOSED),
    ],
)
def test_from_the_network(code: int | None, expected: Failure) -> None:
    error = failure.network(code, "banner")
    assert error.failure is expected
    assert error.detail.startswith("banner: ")


@pytest.mark.parametrize("code", [errno.ENETUNREACH, errno.EACCES, errno.EAFNOSUPPORT, errno.EMFILE, None])
def test_from_this_machine_says_nothing_of_the_path(code: int | None) -> None:
    assert failure.local(code, "send to 192.0.2.1").failure is Failure.LOCAL


def test_answered_and_local_are_apart() -> None:
    assert not any(kind.answered and kind.local for kind in Failure)
    assert {kind for kind in Failure if not (kind.answered or kind.local)} == {
        Failure.TIMEOUT,
        Failure.UNREACHABLE,
        Failure.DNS,
    }
