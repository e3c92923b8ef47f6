"""Gives up the rights that the exporter does not need once it runs (capabilities(7), Linux only).

Kept are CAP_NET_RAW, for traces and ICMP echoes, and CAP_NET_ADMIN where `ip` has to change policy routing.
A process of uid 0 without the others is an ordinary user who owns root's files.
"""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass
from typing import Final

CAP_SETPCAP: Final = 8
CAP_NET_ADMIN: Final = 12
CAP_NET_RAW: Final = 13

_NAMES: Final = {CAP_NET_RAW: "CAP_NET_RAW", CAP_NET_ADMIN: "CAP_NET_ADMIN"}
_VERSION_3: Final = 0x20080522  # <linux/capability.h>
_MOST_CAPABILITIES: Final = 64
# <linux/prctl.h>
_PR_CAPBSET_READ: Final = 23
_PR_CAPBSET_DROP: Final = 24
_PR_SET_NO_NEW_PRIVS: Final = 38
_PR_CAP_AMBIENT: Final = 47
_PR_CAP_AMBIENT_IS_SET: Final = 1
_PR_CAP_AMBIENT_RAISE: Final = 2
_PR_CAP_AMBIENT_CLEAR_ALL: Final = 4

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class _Sets:
    """Bit masks over capability numbers."""

    effective: int
    permitted: int
    inheritable: int


def drop(*, net_admin: bool, children: bool) -> str:
    """Give up every capability but CAP_NET_RAW and, when asked, CAP_NET_ADMIN; what was kept, in one phrase.

    Capabilities belong to threads: call it before any thread starts (in the main thread, before the event
    loop has an executor), and after privileged files are read and privileged ports bound.

    `children` False: no command that this process starts can get more back, not even as uid 0 or through a
    setuid file; it has CAP_NET_ADMIN if `net_admin`. `children` True: commands have the rights that they would
    have had without this call: those of uid 0 get all back by exec, those of others what was in the ambient
    set, which stays permitted here for that, and is no longer effective.

    Raises OSError only where the kernel refuses what it grants to every process.
    """
    held = _get()
    kept = held.permitted & (_bit(CAP_NET_RAW) | (_bit(CAP_NET_ADMIN) if net_admin else 0))
    passed_on = kept & _bit(CAP_NET_ADMIN)
    if children:
        passed_on |= _ambient()
    elif held.effective & _bit(CAP_SETPCAP):  # without it the bounding set stays; no_new_privs suffices
        _bound(kept)
    _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    _set(_Sets(effective=kept, permitted=kept | passed_on, inheritable=passed_on))
    for number in _numbers(passed_on):
        _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, number)
    if not children:
        _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    return _phrase(held, kept)


def _phrase(held: _Sets, kept: int) -> str:
    if not held.permitted:
        return "had no capability to give up"
    return f"kept {' and '.join(_NAMES[number] for number in _numbers(kept)) or 'no capability'}"


def _bit(number: int) -> int:
    return 1 << number


def _numbers(mask: int) -> list[int]:
    return [number for number in range(_MOST_CAPABILITIES) if mask & _bit(number)]


def _bound(kept: int) -> None:
    """Take everything else out of the bounding set; the numbers are dense up to the kernel's last."""
    number = 0
    while _libc.prctl(_PR_CAPBSET_READ, _long(number), _long(0), _long(0), _long(0)) != -1:
        if not kept & _bit(number):
            _prctl(_PR_CAPBSET_DROP, number)
        number += 1


def _ambient() -> int:
    mask = 0
    for number in range(_MOST_CAPABILITIES):
        arguments = (_long(_PR_CAP_AMBIENT_IS_SET), _long(number), _long(0), _long(0))
        if _libc.prctl(_PR_CAP_AMBIENT, *arguments) == 1:
            mask |= _bit(number)
    return mask


def _get() -> _Sets:
    data = _data()
    _check(_libc.capget(_header(), data), "capget")
    return _Sets(*(data[field] | data[field + 3] << 32 for field in range(3)))


def _set(sets: _Sets) -> None:
    masks = (sets.effective, sets.permitted, sets.inheritable)
    data = _data(*(mask & 0xFFFFFFFF for mask in masks), *(mask >> 32 for mask in masks))
    _check(_libc.capset(_header(), data), "capset")


def _header() -> ctypes.Array[ctypes.c_uint32]:
    """The calling thread's (pid 0)."""
    return (ctypes.c_uint32 * 2)(_VERSION_3, 0)


def _data(*words: int) -> ctypes.Array[ctypes.c_uint32]:
    """Effective, permitted, inheritable: the low halves, then the high ones."""
    return (ctypes.c_uint32 * 6)(*words)


def _long(value: int) -> ctypes.c_ulong:
    return ctypes.c_ulong(value)  # prctl takes variable arguments: their size has to be right


def _prctl(option: int, *arguments: int) -> None:
    filled = [_long(value) for value in (*arguments, 0, 0, 0, 0)[:4]]
    _check(_libc.prctl(option, *filled), "prctl")


def _check(result: int, name: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), name)
