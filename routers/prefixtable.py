"""Rows of a routing table by their prefix: which ones cover an address, longest prefix first. Pure."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

from routers.jsontext import as_prefix

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from routers.jsontext import Prefix

Row = TypeVar("Row")


@dataclass(slots=True)
class PrefixTable(Generic[Row]):
    """Looks once per prefix length that occurs, so that many addresses and many rows do not multiply."""

    default_routes: bool  # False: rows of a default route are not taken
    _rows: dict[tuple[int, int, int], tuple[Prefix, list[Row]]] = field(default_factory=dict)
    _lengths: dict[int, set[int]] = field(default_factory=dict)
    _read: dict[str, Prefix | None] = field(default_factory=dict)

    def add(self, text: object, row: Row) -> None:
        """Take a row by its prefix as text; what is no prefix is left out."""
        if not isinstance(text, str):
            return
        if text not in self._read:
            self._read[text] = as_prefix(text)
        prefix = self._read[text]
        if prefix is None or (prefix.prefixlen == 0 and not self.default_routes):
            return
        key = (prefix.version, prefix.prefixlen, int(prefix.network_address))
        self._rows.setdefault(key, (prefix, []))[1].append(row)
        self._lengths.setdefault(prefix.version, set()).add(prefix.prefixlen)

    def covering(self, address: str) -> Iterator[tuple[Prefix, Sequence[Row]]]:
        """The prefixes that cover an address and their rows, longest first. Raises ValueError for no address."""
        host = ipaddress.ip_address(address)
        for length in sorted(self._lengths.get(host.version, ()), reverse=True):
            shift = host.max_prefixlen - length
            found = self._rows.get((host.version, length, int(host) >> shift << shift))
            if found is not None:
                yield found
