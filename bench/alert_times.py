"""How long alerts take with the shipped rules, routes and intervals (`make alert-times`): docs/alert-times.md.

Each fault in a lab of its own, with a real exporter, Prometheus and Alertmanager; nothing is sped up. Takes about an
hour, for the alert that waits longest, and needs root and Debian's frr, prometheus and prometheus-alertmanager.
"""

from __future__ import annotations

import argparse
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from tests.chain.alert_cases import ALL_FAULTS
from tests.chain.cycles import GIVE_UP, Cycle, Fault, Named, Patience, play, wait_until_clean
from tests.chain.monitoring import SHIPPED
from tests.chain.watched import Pace, watched

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "alert-times.md"
# Alertmanager holds tickets back for five minutes; notes for an hour, but they are not told that it is over.
PATIENCE = Patience(broken=900, healed=1200, quiet=90, look=1)
# Notes that come after ten minutes and half an hour are waited for only where they are the point.
SLOW = frozenset({"EcmpFlowShareUneven", "EcmpPathsUnverified"})
LONG_PATIENCE = replace(PATIENCE, broken=3000)
# A lab that starts takes all the processor it gets: one at a time, so that none measures the start of another.
STARTING = threading.Lock()

HEAD = """\
# How long alerts take

Written by `make alert-times` (`bench/alert_times.py`); not edited by hand. Each fault was broken and healed once, in a
lab of its own, under the shipped rules and `alertmanager.yml` (only its receivers are pointed to a webhook) and the
default intervals: probes, router and scrapes every 15 s; rules every 15 s unless their group says 10 s. It is one run:
each stage is up to one interval shorter or longer, as the fault falls late or early in it.

- {when}, {labs} labs at a time on {machine}
- {prometheus}; {alertmanager}; FRR as the router
- rules and exporter: commit {commit}

All figures are seconds. *Verdict*, *firing* and *webhook* count from the moment at which breaking began: until
`/api/v1/status` showed the fault on all paths that it hits (`-`: no verdict shows it), until Prometheus fired, until
Alertmanager's notification arrived. *Resolved* counts from the moment at which healing began until the webhook was told
that the alert is over; `-` where the receiver is not told. An alert that is told of several nodes, targets or addresses
has the time of the first, and of the last that is over. What should not have come, or should have and did not, is
marked **so**.

| fault | verdict | alert | about | firing | webhook | resolved |
|---|--:|---|---|--:|--:|--:|
"""


@dataclass(frozen=True, slots=True)
class Row:
    """One alert of one fault, in seconds; None for what did not come."""

    alert: str
    subjects: tuple[str, ...]
    firing: float | None
    webhook: float
    resolved: float | None


def main() -> int:
    options = _options()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    chosen = [fault for fault in ALL_FAULTS if not options.only or any(word in fault.name for word in options.only)]
    head = _head(datetime.now(UTC), _commit(), options.labs)

    def write(cycles: dict[str, Cycle]) -> None:
        if not options.only:
            PAGE.write_text(render(chosen, cycles, head), encoding="utf-8")

    with tempfile.TemporaryDirectory() as directory:
        source = shutil.copytree(SHIPPED, Path(directory, "shipped"))  # which nobody changes meanwhile
        cycles = _played(chosen, options.labs, Path(directory), source, write)
    if options.only:
        print(render(chosen, cycles, head))
    return 0 if all(fault.name in cycles for fault in chosen) else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--labs", type=int, default=4, help="how many at once (default 4)")
    parser.add_argument("--only", nargs="+", metavar="WORD", help="faults with these words; printed, not written")
    return parser.parse_args()


def _played(
    faults: list[Fault], labs: int, directory: Path, source: Path, write: Callable[[dict[str, Cycle]], None]
) -> dict[str, Cycle]:
    """What each lab saw, written after each fault. One that could not be played is told of and left out."""
    # Those that wait longest first, so that they do not wait alone at the end.
    order = sorted(faults, key=lambda fault: not fault.name.startswith("hash_"))
    cycles: dict[str, Cycle] = {}
    telling = threading.Lock()

    def one(number: int, fault: Fault) -> None:
        try:
            cycle = _cycle(fault, directory / str(number), source)
        except Exception as error:  # noqa: BLE001 (the other labs go on)
            with telling:
                print(f"{fault.name}: {error!r}", file=sys.stderr, flush=True)
            return
        with telling:
            cycles[fault.name] = cycle
            write(cycles)
            print(cycle, file=sys.stderr, flush=True)

    with ThreadPoolExecutor(labs) as pool:
        futures = [pool.submit(one, number, fault) for number, fault in enumerate(order)]
        try:
            wait(futures)
        except KeyboardInterrupt:
            GIVE_UP.set()  # and take the labs down
            pool.shutdown(cancel_futures=True)
            raise
    return cycles


def _cycle(fault: Fault, directory: Path, source: Path) -> Cycle:
    name = f"times{directory.name}"
    with ExitStack() as stack:
        hands = stack.enter_context(ThreadPoolExecutor(1))
        with STARTING:
            if GIVE_UP.is_set():
                raise InterruptedError
            whole = watched(name, directory, router="frr", pace=Pace(source=source), transport=fault.transport)
            lab = stack.enter_context(whole)
        wait_until_clean(lab, PATIENCE)
        slow = SLOW - {name for name, _ in fault.alerts}
        # Which alerts come is what is to be found out here: none is waited for by name, but those that take very long.
        waited = frozenset(alert for alert in fault.alerts if alert[0] in SLOW)
        patience = LONG_PATIENCE if waited else PATIENCE
        return play(lab, replace(fault, alerts=waited), replace(patience, may_be_pending=slow), hands)


def render(faults: list[Fault], cycles: dict[str, Cycle], head: list[str]) -> str:
    """The page. A fault without a cycle has a row that says so."""
    rows = [line for fault in faults for line in _rows(fault, cycles.get(fault.name))]
    return "\n".join([*head, *rows, *_foot(faults, cycles)]) + "\n"


def _head(began: datetime, commit: str, labs: int) -> list[str]:
    head = HEAD.format(
        when=f"{began:%Y-%m-%d %H:%M} UTC",
        labs=labs,
        machine=_machine(),
        prometheus=_version("prometheus"),
        alertmanager=_version("prometheus-alertmanager"),
        commit=commit,
    )
    return head.splitlines()


def _rows(fault: Fault, cycle: Cycle | None) -> list[str]:
    if cycle is None:
        return [f"| {fault.name} | - | not played | | | | |"]
    cells = [
        f"{_marked(row.alert, wrong=_unwanted(fault, row))} | {', '.join(row.subjects)} "
        f"| {_number(row.firing)} | {_number(row.webhook)} | {_number(row.resolved)}"
        for row in _alerts(cycle)
    ]
    cells += [
        f"**{name}, after healing** | {subject} | | {_number(at)} |" for (name, subject), at in cycle.late.items()
    ]
    cells += [f"**{name}, missing** | {subject} | | |" for name, subject in sorted(fault.alerts - cycle.arrived.keys())]
    first, *others = cells or ["none | | | |"]
    return [f"| {fault.name} | {_number(cycle.verdict)} | {first} |", *(f"| | | {other} |" for other in others)]


def _unwanted(fault: Fault, row: Row) -> bool:
    return any((row.alert, subject) not in fault.alerts | fault.perhaps for subject in row.subjects)


def _marked(name: str, *, wrong: bool) -> str:
    return f"**{name}**" if wrong else name


def _alerts(cycle: Cycle) -> list[Row]:
    """By alert, in the order in which they arrived: the first of its name to fire and arrive, the last to resolve."""
    names: dict[str, list[Named]] = {}
    for key in sorted(cycle.arrived, key=lambda key: cycle.arrived[key]):
        names.setdefault(key[0], []).append(key)
    return [
        Row(
            name,
            tuple(sorted(subject for _, subject in keys)),
            min((cycle.firing[key] for key in keys if key in cycle.firing), default=None),
            min(cycle.arrived[key] for key in keys),
            max((cycle.resolved[key] for key in keys if key in cycle.resolved), default=None),
        )
        for name, keys in names.items()
    ]


def _foot(faults: list[Fault], cycles: dict[str, Cycle]) -> list[str]:
    quiet = [
        f"- {fault.name}: {', '.join(sorted({name for name, _ in found}))}"
        for fault in faults
        if (cycle := cycles.get(fault.name)) and (found := cycle.suppressed)
    ]
    return [
        "",
        "## Fired, and told nobody",
        "",
        "Inhibited, as one fault shall be told once; or of the kind that only serves to inhibit. Where such an alert",
        "ends together with the one that inhibits it, the notice that all is over can name both.",
        "",
        *(quiet or ["None."]),
    ]


def _number(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds:.0f}"


def _machine() -> str:
    processors = len(Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\nprocessor"))
    return f"{processors} processors, Linux {platform.release()}"


def _version(program: str) -> str:
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    return (done.stdout or done.stderr).split(" (")[0].replace(", version", "")


def _commit() -> str:
    """What was measured: the commit, and whether exporter, lab or rules differ from it."""
    commit = _git("rev-parse", "--short", "HEAD")
    changed = _git("status", "--porcelain", "--", "exporter", "probes", "routers", "lab", "prometheus")
    return f"{commit} with uncommitted changes" if changed else commit


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=True, cwd=ROOT)
    return done.stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
