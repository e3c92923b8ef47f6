"""What `ecmp-exporter routers --output=json` prints: every router's tables as the parser understood them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from exporter.status import RouterStatus
from routers.model import NextHop, OracleFlow, Snapshot

_LEFT_OUT = frozenset({"router", "platform", "taken_at", "problems"})  # they stand above the tables


def to_json(
    routers: Iterable[RouterStatus],
    snapshots: Mapping[str, Snapshot | None],
    flows: Mapping[str, Mapping[OracleFlow, NextHop | None]],
) -> dict[str, Any]:
    """A document whose keys are never missing; null means that the router does not tell, as in the model."""
    return {"routers": [_router(one, snapshots.get(one.name), flows.get(one.name)) for one in routers]}


def _router(
    router: RouterStatus, snapshot: Snapshot | None, flows: Mapping[OracleFlow, NextHop | None] | None
) -> dict[str, Any]:
    tables = None
    if snapshot is not None:
        tables = {one.name: plain(getattr(snapshot, one.name)) for one in fields(snapshot) if one.name not in _LEFT_OUT}
        if snapshot.sessions is not None:
            tables["sessions"] = [plain(session) | {"node": node} for session, node in router.sessions]
    return {
        "name": router.name,
        "platform": router.platform,
        "up": router.up,
        "error": router.error,
        "taken_at": router.taken_at,
        "problems": [] if snapshot is None else list(snapshot.problems),
        "tables": tables,
        "flows": None if flows is None else [{**plain(flow), "next_hop": plain(hop)} for flow, hop in flows.items()],
    }


def plain(value: object) -> Any:
    """A value of the model as JSON has it; sets sorted."""
    if is_dataclass(value) and not isinstance(value, type):
        return {one.name: plain(getattr(value, one.name)) for one in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(own) for key, own in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted(map(plain, value))
    if isinstance(value, (list, tuple)):
        return [plain(own) for own in value]
    return value
