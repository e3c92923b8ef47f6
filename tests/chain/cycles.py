"""One fault broken and healed under the eyes of Prometheus and Alertmanager: what fired, what arrived, and when."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from tests.chain.monitoring import Alert, Labels, Notice
from tests.chain.rehearsal import Verdicts
from tests.chain.test_faults import OK
from tests.chain.watched import Watched

# What tells alerts of one name apart, as far as this lab is concerned.
_SUBJECT = ("node", "target", "router")

GIVE_UP = threading.Event()  # set: every cycle ends as it stands, and heals

Named = tuple[str, str]  # alert, and the node, target or router that it is about


@dataclass(frozen=True, slots=True)
class Fault:
    """What is broken and healed, when verdicts show it, and the alerts that must reach the webhook: these only.

    `seen` is None where no verdict shows it. `transport` is how the router has to be read.
    """

    name: str
    break_: Callable[[Watched], object]
    heal: Callable[[Watched], object]
    seen: Callable[[Verdicts], bool] | None
    alerts: frozenset[Named]
    perhaps: frozenset[Named] = frozenset()  # alerts that chance decides about
    otherwise: frozenset[Named] = frozenset()  # these are right as well
    transport: str = "exec"


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds: to wait for what must come; and for nothing more to come before it is believed that nothing will.

    Alerts in `may_be_pending` are not waited for while they only pend.
    """

    broken: float
    healed: float
    quiet: float
    look: float
    may_be_pending: frozenset[str] = frozenset()


@dataclass(slots=True)
class Cycle:
    """What was seen. Seconds from the moment at which breaking (or healing) began."""

    fault: str
    in_effect: float = 0.0
    verdict: float | None = None
    firing: dict[Named, float] = field(default_factory=dict)
    arrived: dict[Named, float] = field(default_factory=dict)
    notices: list[Notice] = field(default_factory=list)
    settled: bool = False
    healed_in_effect: float = 0.0
    healed_verdict: float | None = None
    resolved: dict[Named, float] = field(default_factory=dict)
    late: dict[Named, float] = field(default_factory=dict)  # arrived for the first time after healing began
    clean: bool = False
    left: str = ""  # what was still there when patience ended

    @property
    def suppressed(self) -> frozenset[Named]:
        """Alerts that fired and that nobody was told of: inhibited."""
        return frozenset(self.firing) - frozenset(self.arrived)

    def __str__(self) -> str:
        """What happened when, for a person who wonders why."""
        lines = [f"{self.fault}: in effect {self.in_effect:.1f}, verdict {self.verdict}, healed {self.healed_verdict}"]
        for alert in sorted({*self.firing, *self.arrived, *self.late}):
            kinds = {"firing": self.firing, "arrived": self.arrived, "late": self.late, "resolved": self.resolved}
            times = ", ".join(f"{kind} {found[alert]:.1f}" for kind, found in kinds.items() if alert in found)
            lines.append(f"  {' '.join(alert)}: {times}")
        return "\n".join([*lines, self.left])


def named(labels: Labels) -> Named:
    return labels["alertname"], next((labels[key] for key in _SUBJECT if labels.get(key)), "")


@dataclass(frozen=True, slots=True)
class Look:
    """All at one moment; `notices` are those of this cycle."""

    verdicts: Verdicts
    alerts: list[Alert]
    held: Sequence[Mapping[str, object]]
    notices: list[Notice]


def play(watched: Watched, fault: Fault, patience: Patience, pool: ThreadPoolExecutor) -> Cycle:
    """Break it, wait until nothing more happens, heal it, and wait until all is as before."""
    cycle = Cycle(fault.name)
    before = len(watched.monitoring.webhook.notices)
    begun = time.monotonic()
    broken = pool.submit(fault.break_, watched)
    broken.add_done_callback(lambda _: setattr(cycle, "in_effect", time.monotonic() - begun))
    quiet_since = None
    for look in _looks(watched, before, begun + patience.broken, patience):
        now = time.monotonic()
        _note_broken(cycle, fault, look, begun)
        shown = fault.seen is None or cycle.verdict is not None
        as_wanted = broken.done() and shown and fault.alerts <= cycle.arrived.keys()
        quiet_since = (quiet_since or now) if as_wanted and _nothing_to_come(look) else None
        if quiet_since is not None and now - quiet_since >= patience.quiet:
            cycle.settled = True
            break
    broken.result()
    _heal(watched, fault, patience, pool, cycle, before)
    return cycle


def _heal(
    watched: Watched, fault: Fault, patience: Patience, pool: ThreadPoolExecutor, cycle: Cycle, before: int
) -> None:
    begun = time.monotonic()
    healed = pool.submit(fault.heal, watched)
    healed.add_done_callback(lambda _: setattr(cycle, "healed_in_effect", time.monotonic() - begun))
    quiet_since = None
    for look in _looks(watched, before, begun + patience.healed, patience):
        now = time.monotonic()
        _note_healed(cycle, look, begun)
        left = _left(look, fault.perhaps | fault.otherwise)
        quiet_since = (quiet_since or now) if healed.done() and not left else None
        if quiet_since is not None and now - quiet_since >= patience.quiet:
            cycle.clean = True
            break
        cycle.left = left
    healed.result()


def _looks(watched: Watched, before: int, until: float, patience: Patience) -> Iterator[Look]:
    while time.monotonic() < until and not GIVE_UP.is_set():
        at = time.monotonic()
        monitoring = watched.monitoring
        verdicts = watched.verdicts()
        alerts = [
            alert
            for alert in monitoring.alerts()
            if alert.state == "firing" or alert.name not in patience.may_be_pending
        ]
        yield Look(verdicts, alerts, monitoring.held(), list(monitoring.webhook.notices[before:]))
        time.sleep(max(0.0, at + patience.look - time.monotonic()))


def _note_broken(cycle: Cycle, fault: Fault, look: Look, begun: float) -> None:
    passed = time.monotonic() - begun
    if cycle.verdict is None and fault.seen is not None and fault.seen(look.verdicts):
        cycle.verdict = passed
    for alert in look.alerts:
        if alert.state == "firing":
            cycle.firing.setdefault(named(alert.labels), passed)
    for notice in look.notices:
        if notice.status == "firing" and notice.receiver.tells:
            cycle.arrived.setdefault(named(notice.labels), notice.at - begun)
    cycle.notices = look.notices


def _note_healed(cycle: Cycle, look: Look, begun: float) -> None:
    if cycle.healed_verdict is None and look.verdicts == OK:
        cycle.healed_verdict = time.monotonic() - begun
    for notice in look.notices:
        subject = named(notice.labels)
        if not notice.receiver.tells:
            continue
        if notice.status == "firing" and subject not in cycle.arrived:
            cycle.late.setdefault(subject, notice.at - begun)
        elif notice.status == "resolved" and notice.at > begun:
            cycle.resolved[subject] = notice.at - begun
    cycle.notices = look.notices


def _nothing_to_come(look: Look) -> bool:
    """No alert is on its way: each one fires, and somebody was told of it or an inhibition has it."""
    told = {notice.fingerprint for notice in look.notices if notice.status == "firing"}
    return all(alert.state == "firing" for alert in look.alerts) and all(
        one["fingerprint"] in told or _suppressed(one) for one in look.held
    )


def _suppressed(held: Mapping[str, object]) -> bool:
    status = held["status"]
    return isinstance(status, dict) and status["state"] == "suppressed"


def _left(look: Look, unresolved: frozenset[Named] = frozenset()) -> str:
    """What is not yet as in a healthy lab; empty when all is.

    `unresolved`: alerts that may have been told and be over without a word: Alertmanager tells nobody that an alert is
    over which is inhibited by then.
    """
    last = {notice.fingerprint: notice for notice in look.notices}
    open_notices = (one for one in last.values() if one.status == "firing" and one.receiver.tells_resolved)
    opened = [name for one in open_notices if (name := named(one.labels)) not in unresolved]
    parts = {
        "verdicts": {path: verdict for path, verdict in look.verdicts.items() if OK.get(path) != verdict},
        "alerts": [(*named(alert.labels), alert.state) for alert in look.alerts],
        "held by Alertmanager": [one["fingerprint"] for one in look.held],
        "never resolved": opened,
    }
    missing = [] if look.verdicts else ["the exporter does not answer"]
    return "; ".join([*missing, *(f"{what}: {found}" for what, found in parts.items() if found)])


def wait_until_clean(watched: Watched, patience: Patience) -> None:
    """Until a new lab is healthy and nothing fires; AssertionError, with what is left, if it never is."""
    until = time.monotonic() + patience.healed
    left = "nothing was looked at"
    for look in _looks(watched, len(watched.monitoring.webhook.notices), until, patience):
        if not (left := _left(look)):
            return
    raise AssertionError(f"a lab with nothing broken: {left}")
