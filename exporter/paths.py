"""`ecmp-exporter paths`: which flows take which next hop of a target, and how that is known."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from exporter import steering_status
from exporter.coverage import DEFAULT_CONFIDENCE, flows_needed_for
from exporter.durations import format_duration, timestamp
from exporter.hashing import HashKind
from exporter.shares import SIGNIFICANCE
from exporter.status import Status, TargetStatus, VipStatus
from exporter.steering import Method
from exporter.steering_status import HopSteering, SteeringStatus, TrustStatus
from probes.ports import Source
from routers.model import family_of

_NUMBERS = ("flows", "share", "expected")
_MOST_PORTS = 4  # shown of one next hop; the JSON document has all
_HASHES_ON = {
    HashKind.FIVE_TUPLE: "addresses and ports; a flow keeps its next hop",
    HashKind.ADDRESSES: "addresses only; other source ports change nothing",
    HashKind.PER_PACKET: "nothing that a flow keeps: packets of one flow take different next hops",
    HashKind.RANDOM: "nothing that a flow keeps: connections of one flow take different next hops",
    HashKind.UNKNOWN: "not known yet",
}


def path_maps(status: Status, name: str) -> tuple[SteeringStatus, ...]:
    """The path map of each VIP of a target at each router; one without next hops says in `why_not_stronger` why.

    Empty for a target whose name stands for no address.
    """
    target = next(one for one in status.targets if one.name == name)
    known = {(one.vip, one.router): one for one in status.steering if one.target == name}
    maps = []
    for stage in target.stages:
        found = known.get((stage.vip, stage.router))
        if found is None or stage.installed == 0:
            found = _without_next_hops(status, target, stage)
        maps.append(found)
    return tuple(maps)


def to_json(status: Status, name: str) -> dict[str, Any]:
    """The document of `ecmp-exporter paths --output=json`; no key is ever missing."""
    maps = path_maps(status, name)
    return {
        "generated_at": timestamp(status.generated_at),
        "target": name,
        "vips": steering_status.to_json(maps),
        "routers": [
            {
                "name": one.router,
                "family": one.family,
                "hash": one.hashing,
                "hop_distance": one.hop_distance,
                "oracle_agreement": one.oracle_agreement,
                "oracle_compared": one.oracle_compared,
                "trace_agreement": one.trace_agreement,
                "trace_compared": one.trace_compared,
            }
            for one in status.trust
            if any(_is_behind(path_map, one) for path_map in maps)
        ],
    }


def show_paths(out: Console, status: Status, name: str) -> None:
    """For each VIP and router what is known of its flows, then the next hops."""
    maps = path_maps(status, name)
    if not maps:
        out.print(Text(f"{name}: no address of it is known, so there is nothing to put a flow on", style="yellow"))
    for number, one in enumerate(maps):
        if number:
            out.print()
        where = f"[{one.vip}]:{one.port}" if ":" in one.vip else f"{one.vip}:{one.port}"
        out.print(Text.assemble((one.target, "bold"), f" at {where} through {one.router}"))
        if not one.hops:
            out.print(Text(f"  {one.why_not_stronger}", style="yellow"))
            continue
        trust = next((found for found in status.trust if _is_behind(one, found)), None)
        out.print(_facts(one, trust, status.generated_at))
        out.print(_next_hops(one))


def _without_next_hops(status: Status, target: TargetStatus, stage: VipStatus) -> SteeringStatus:
    return SteeringStatus(
        target=target.name,
        vip=stage.vip,
        port=target.port,
        router=stage.router,
        method=Method.NONE,
        why_not_stronger=_why_no_map(status, target, stage),
        hashing=HashKind.UNKNOWN,
        hops=(),
        sampled=0,
        p_value=None,
        polarised=None,
        rehash=None,
        probes=0,
        covered=0,
    )


def _why_no_map(status: Status, target: TargetStatus, stage: VipStatus) -> str:
    if stage.installed == 0:
        return f"{stage.router} forwards {stage.vip} nowhere: it has no next hop for it"
    own = [path for path in target.paths if (path.router, path.vip) == (stage.router, stage.vip)]
    if own and not any(path.crossed for path in own):
        return f"the prober's flows are not known to pass {stage.router}"
    if stage.installed is None:
        error = next((one.error for one in status.routers if one.name == stage.router), None)
        return f"{stage.router} did not tell its next hops for {stage.vip}{': ' + error if error else ''}"
    return "no flow was sent to it yet"


def _is_behind(one: SteeringStatus, trust: TrustStatus) -> bool:
    return (one.router, family_of(one.vip)) == (trust.router, trust.family)


def _facts(one: SteeringStatus, trust: TrustStatus | None, now: float) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, style="dim")
    table.add_column(overflow="fold")
    several = len(one.hops) > 1
    rows: list[tuple[str, str, bool]] = [("method", _method(one), one.method == Method.NONE)]
    if one.why_not_stronger:
        rows.append(("not stronger", one.why_not_stronger, False))
    if several:
        rows.append(("hashes on", _hashes_on(one), one.hashing not in (HashKind.FIVE_TUPLE, HashKind.UNKNOWN)))
    if several and trust is not None:
        rows += [("compared", said, False) for said in _compared(trust)]
        rows += [("distance", _distance(trust.hop_distance), False)]
    rows.append(("probes", _probes(one), False))
    if several:
        rows.append(("spread", _spread(one), bool(one.polarised)))
    if one.rehash is not None:
        rows.append(("last change", _last_change(one, now), False))
    if one.strangers:
        rows.append(("strangers", f"{', '.join(one.strangers)}: forwards flows, and is not in the FIB", True))
    if one.unseen:
        rows.append(("unseen", f"{', '.join(one.unseen)}: in the FIB, and none of the sampled flows took it", True))
    for name, text, wrong in rows:
        table.add_row(f"  {name}", Text(text, style="yellow" if wrong else ""))
    return table


def _method(one: SteeringStatus) -> str:
    sure = [hop.confidence for hop in one.hops if _is_known(hop)]
    return (
        f"{one.method}, confidence {min(sure):.2f}" if sure else f"{one.method}, no flow is proven to take any next hop"
    )


def _hashes_on(one: SteeringStatus) -> str:
    text = _HASHES_ON.get(HashKind(one.hashing), one.hashing)
    if one.hashing == HashKind.ADDRESSES:
        needed = flows_needed_for([hop.expected_share for hop in one.hops])
        addresses = {source.address for hop in one.hops for source in hop.sources}
        text += (
            f"; {needed} source addresses meet every next hop with probability {DEFAULT_CONFIDENCE:.0%}, "
            f"the known flows start from {len(addresses)}"
        )
    return text


def _compared(trust: TrustStatus) -> Iterable[str]:
    if trust.oracle_agreement is not None:
        yield f"the router's own answer was right for {trust.oracle_agreement:.0%} of {trust.oracle_compared} flows"
    if trust.trace_agreement is not None:
        yield (
            f"connections took the way of traced packets for {trust.trace_agreement:.0%} "
            f"of {trust.trace_compared} flows"
        )


def _distance(hops: int | None) -> str:
    if hops is None:
        return "not known: no next hop answered a packet with a small TTL"
    return f"the next hops are {hops} hop{'' if hops == 1 else 's'} away"


def _probes(one: SteeringStatus) -> str:
    paths = "path" if len(one.hops) == 1 else "paths"
    ratio = f", {one.probes / one.covered:.1f} per path" if one.covered else ""
    return f"{one.probes} sent in the last round, {one.covered} of {len(one.hops)} {paths} covered{ratio}"


def _spread(one: SteeringStatus) -> str:
    sample = f"{one.sampled} flows sampled"
    if one.polarised is None or one.p_value is None:
        return f"{sample}, too few to judge"
    value = f"p-value {one.p_value:.2g}"
    if one.polarised:
        return f"{sample}, polarised: not the shares that the weights say, beyond chance ({value})"
    if one.p_value < SIGNIFICANCE:
        return f"{sample}, uneven, but no more than few hash buckets explain ({value})"
    return f"{sample}, as even as chance has it ({value})"


def _last_change(one: SteeringStatus, now: float) -> str:
    if one.rehash is None:
        return ""
    ago = f"{format_duration(max(0.0, now - one.rehash.at))} ago"
    if not one.rehash.compared:
        return f"the next hops changed {ago}; no flow was learned both before and after"
    ratio = one.rehash.moved / one.rehash.compared
    return f"the next hops changed {ago}; {one.rehash.moved} of {one.rehash.compared} flows moved ({ratio:.0%})"


def _next_hops(one: SteeringStatus) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold", show_edge=False)
    for column in ("  next hop", "node", "method", "confidence", "flows", "source ports", "share", "expected"):
        table.add_column(column, overflow="fold", justify="right" if column in _NUMBERS else "left")
    for hop in one.hops:
        known = _is_known(hop)
        table.add_row(
            f"  {hop.next_hop}",
            hop.node or "-",
            one.method if known else "-",
            f"{hop.confidence:.2f}" if known else "-",
            str(len(hop.sources)),
            _source_ports(hop.sources),
            _share(hop),
            f"{hop.expected_share:.1%}",
        )
    return table


def _is_known(hop: HopSteering) -> bool:
    """Whether flows are believed to take it; a sweep may have met it without proving anything."""
    return bool(hop.sources) and hop.confidence > 0


def _share(hop: HopSteering) -> str:
    return "-" if hop.share is None else f"{hop.share:.1%}"


def _source_ports(sources: Sequence[Source]) -> str:
    shown = [_source(source) for source in sources[:_MOST_PORTS]]
    more = len(sources) - len(shown)
    return ", ".join([*shown, f"and {more} more"] if more else shown) or "-"


def _source(source: Source) -> str:
    if source.address is None:
        return str(source.port)
    return f"[{source.address}]:{source.port}" if ":" in source.address else f"{source.address}:{source.port}"
