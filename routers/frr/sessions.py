"""FRR's BGP sessions and instances, in the JSON of `show bgp vrf all summary` and `neighbors`. Pure.

Field names: bgpd/bgp_vty.c. An AS number is a number, or text where `bgp ... as-notation dot` is set (FRR 8.5 and
later, asn_asn2json in lib/asn.c).
"""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from routers.asn import as_asn
from routers.jsontext import as_address, as_dict, as_int, as_prefix, as_text
from routers.model import IPV4, IPV6, Session, SessionState

if TYPE_CHECKING:
    from collections.abc import Mapping

SUMMARY = "show bgp vrf all summary json"
NEIGHBORS = "show bgp vrf all neighbors json"
DEFAULT_VRF = "default"

_FAMILIES = {"ipv4Unicast": IPV4, "ipv6Unicast": IPV6}
_STATES = {state.value.lower(): state for state in SessionState}
_INTERFACE = re.compile(r"[A-Za-z][A-Za-z0-9_./-]{0,63}")


def of_vrf(document: dict[str, Any] | None, vrf: str | None) -> dict[str, Any] | None:
    """What a document holds on one VRF; on all of them where none is asked for."""
    if document is None or vrf is None:
        return document
    return {vrf: document[vrf]} if vrf in document else {}


def instance(summary: dict[str, Any] | None, vrf: str | None = None) -> tuple[int | None, bool | None]:
    """A VRF's AS number and `as-path multipath-relax`."""
    local_as, relaxed = None, None
    for family in as_dict((summary or {}).get(vrf or DEFAULT_VRF)).values():
        local_as = as_asn(as_dict(family).get("as")) or local_as
        relax = as_dict(as_dict(family).get("bestPath")).get("multiPathRelax")
        if relax is not None:
            relaxed = str(relax).lower() == "true"
    return local_as, relaxed


def sessions_of(
    summary: dict[str, Any] | None, detail: dict[str, Any] | None, problems: list[str]
) -> tuple[Session, ...] | None:
    """Sessions from whichever of the two answers could be read; None when neither could."""
    rows, details = _rows(summary, problems), _details(detail, problems)
    if rows is None and details is None:
        return None
    rows, details = rows or {}, details or {}
    sessions = (
        session_of(peer, rows.get(peer, {}), details.get(peer, {})) for peer in dict.fromkeys((*rows, *details))
    )
    return tuple(session for session in sessions if session)


def _rows(summary: dict[str, Any] | None, problems: list[str]) -> dict[str, dict[int, dict[str, Any]]] | None:
    """Peer -> family -> row; the default VRF wins where two hold the same peer."""
    if summary is None:
        return None
    rows: dict[str, dict[int, dict[str, Any]]] = {}
    for vrf in sorted(summary, key=lambda name: name == DEFAULT_VRF):
        for name, family in _FAMILIES.items():
            found = as_dict(summary[vrf]).get(name, {})
            peers = as_dict(found).get("peers", {})
            if not all(isinstance(each, dict) for each in (summary[vrf], found, peers, *as_dict(peers).values())):
                problems.append(f"{SUMMARY}: not in the expected shape")
                return None
            for peer, row in peers.items():
                rows.setdefault(peer, {})[family] = row
    return rows


def _details(detail: dict[str, Any] | None, problems: list[str]) -> dict[str, dict[str, Any]] | None:
    """Peer -> row, told from a VRF's own fields by being an object."""
    if detail is None:
        return None
    details: dict[str, dict[str, Any]] = {}
    for vrf in sorted(detail, key=lambda name: name == DEFAULT_VRF):
        peers = as_dict(detail[vrf])
        if not isinstance(detail[vrf], dict) or any(
            as_address(peer) and not isinstance(row, dict) for peer, row in peers.items()
        ):
            problems.append(f"{NEIGHBORS}: not in the expected shape")
            return None
        details.update({peer: row for peer, row in peers.items() if isinstance(row, dict)})
    return details


def session_of(peer: str, rows: Mapping[int, dict[str, Any]], detail: dict[str, Any]) -> Session | None:
    interface = None if as_address(peer) else peer
    if interface is not None and not _INTERFACE.fullmatch(interface):
        return None
    address = as_address(peer) or as_address(detail.get("bgpNeighborAddr")) or peer
    row = next(iter(rows.values()), {})
    shown = as_text(detail.get("bgpState")) or as_text(row.get("state")) or ""
    peer_states = {as_text(one.get("peerState")) for one in rows.values()}
    state = _STATES.get(shown.split(" ", 1)[0].lower(), SessionState.UNKNOWN)
    up = state is SessionState.ESTABLISHED
    afis = {family: as_dict(as_dict(detail.get("addressFamilyInfo")).get(n)) for n, family in _FAMILIES.items()}
    return Session(
        address=address,
        state=state,
        remote_as=as_asn(detail.get("remoteAs", row.get("remoteAs"))) or None,  # 0: "external", none yet
        local_as=as_asn(detail.get("localAs", row.get("localAs"))),
        admin_down=detail.get("adminShutDown") is True or "Admin" in peer_states,
        dynamic=row.get("dynamicPeer") is True or "peerSubnetRangeGroup" in detail,
        passive="Passive" in peer_states,
        last_error=None if up else _last_error(detail),
        established_at=_established_at(row, detail) if up else None,
        prefixes_received=_counts({family: one.get("pfxRcd") for family, one in rows.items()}),
        families=_negotiated(detail) if up else frozenset((*rows, *(family for family in afis if afis[family]))),
        policy_missing="Policy" in peer_states,
        prefix_limit_hit="PfxCt" in peer_states or "(PfxCt)" in (as_text(row.get("state")) or ""),
        keeps_filtered=frozenset(f for f in afis if afis[f].get("inboundSoftConfigPermit") is True) if detail else None,
        prefixes_filtered=_counts(
            {family: as_dict(afi.get("prefixStats")).get("inboundFiltered") for family, afi in afis.items()}
        ),
        interface=interface,
        router_id=as_address(detail.get("remoteRouterId")) if up else None,
    )


def _counts(values: Mapping[int, object]) -> Mapping[int, int]:
    counts = {family: as_int(value) for family, value in values.items()}
    return MappingProxyType({family: count for family, count in counts.items() if count is not None})


def _last_error(detail: dict[str, Any]) -> str | None:
    parts = (as_text(detail.get("lastResetDueTo")), as_text(detail.get("lastNotificationReason")))
    return ": ".join(part[:200] for part in parts if part) or None


def _established_at(row: dict[str, Any], detail: dict[str, Any]) -> float | None:
    """Since when; on a session that is down FRR gives the time of its end under the same names."""
    seconds = detail.get("bgpTimerUpEstablishedEpoch", row.get("peerUptimeEstablishedEpoch"))
    return float(epoch) if (epoch := as_int(seconds, high=2**40)) else None


def _negotiated(detail: dict[str, Any]) -> frozenset[int] | None:
    offers = as_dict(as_dict(detail.get("neighborCapabilities")).get("multiprotocolExtensions"))
    if not offers:
        return None
    return frozenset(
        family for name, family in _FAMILIES.items() if as_dict(offers.get(name)).get("advertisedAndReceived")
    )


def dynamic_ranges(peer_groups: str) -> tuple[str, ...]:
    """The prefixes below the lines `N IPv4 listen range(s)`."""
    ranges: list[str] = []
    listing = False
    for line in map(str.strip, peer_groups.splitlines()):
        if line.endswith("listen range(s)"):
            listing = True
        elif listing and (prefix := as_prefix(line)):
            ranges.append(str(prefix))
        else:
            listing = False
    return tuple(ranges)


def limits_of(config: str, vrf: str | None = None) -> dict[int, dict[str, int]]:
    """Family -> "ibgp" or "ebgp" -> maximum-paths, from the `router bgp` block of a VRF (None: the default one)."""
    limits: dict[int, dict[str, int]] = {IPV4: {}, IPV6: {}}
    family: int | None = None
    ours = False
    for line in map(str.strip, config.splitlines()):
        if line.startswith("router bgp"):
            words = line.split()
            named = words[words.index("vrf") + 1 : words.index("vrf") + 2] if "vrf" in words else [DEFAULT_VRF]
            ours, family = named == [vrf or DEFAULT_VRF], None
        if match := re.fullmatch(r"address-family ipv([46]) unicast", line):
            family = int(match[1])
        elif line == "exit-address-family":
            family = None
        elif ours and family and (match := re.fullmatch(r"maximum-paths (ibgp )?(\d{1,4})(?: .*)?", line)):
            limits[family]["ibgp" if match[1] else "ebgp"] = int(match[2])
    return limits


def lowest(limits: Mapping[int, Mapping[str, int]]) -> dict[str, int]:
    found: dict[str, int] = {}
    for family in limits.values():
        for kind, limit in family.items():
            found[kind] = min(limit, found.get(kind, limit))
    return found
