"""Longest prefix match over many routes, for many addresses. Pure."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Generic, TypeVar

from routers.jsontext import as_prefix

if TYPE_CHECKING:
    from collections.abc import Iterable

    from routers.jsontext import Prefix

T = TypeVar("T")


class Longest(Generic[T]):
    """Routes by prefix. An address costs one look-up per length of prefix, however many routes there are."""

    def __init__(self, rows: Iterable[tuple[Prefix, T]]) -> None:
        self._rows: dict[Prefix, list[T]] = {}
        for prefix, row in rows:
            self._rows.setdefault(prefix, []).append(row)
        lengths = {(prefix.version, prefix.prefixlen) for prefix in self._rows}
        self._lengths = sorted(lengths, reverse=True)

    def of(self, vip: str, shortest: int = 1) -> list[T]:
        """The rows of the longest prefix that covers an address and is at least `shortest` long; () for none."""
        version = ipaddress.ip_address(vip).version
        for family, length in self._lengths:
            if family != version or length < shortest:
                continue
            prefix = as_prefix(f"{vip}/{length}")
            if prefix is not None and prefix in self._rows:
                return self._rows[prefix]
        return []
