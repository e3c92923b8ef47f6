"""PromQL in pieces. Every selector is held to the job and instance that were chosen above the dashboard."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from grafana.verdicts import PATH, SUMMARY, UNKNOWN, Word

CHOSEN: Final = 'job=~"$job", instance=~"$instance"'
# Who a path's series are from and what they are about: metrics of a path are joined on these.
_PATH: Final = "target, vip, port, router, node, next_hop"
ON_PATH: Final = f"on (job, instance, {_PATH})"
RATE: Final = "[$__rate_interval]"

# The series of any target: what Prometheus, and the client libraries of most of its targets, know of it.
_EXPORTERS: Final = f"and on (job, instance) last_over_time(ecmp_exporter_build_info{{{CHOSEN}}}[1d])"

BROKEN: Final = 'verdict!="ok"'
DOWN: Final = f'verdict!~"ok|{"|".join(UNKNOWN)}"'
UNJUDGED: Final = f'verdict=~"{"|".join(UNKNOWN)}"'


def select(metric: str, *matchers: str) -> str:
    return f"{metric}{{{', '.join((CHOSEN, *matchers))}}}"


def of_exporters(vector: str) -> str:
    """Only what is about exporters, of metrics that every target has: those that were scraped within a day."""
    return f"({vector} {_EXPORTERS})"


def exporters_up() -> str:
    """`up` of exporters, and of all targets of the shipped job: one that never answered is an exporter as well."""
    return f"""({select("up", 'job="ecmp-exporter"')} or {of_exporters(select("up"))})"""


def worst_path(labels: str, *matchers: str) -> str:
    """The rank of the worst verdict on any path with these labels."""
    return _worst("ecmp_path_verdict_info", PATH, labels, matchers)


def worst_named(labels: str, *matchers: str) -> str:
    """The same by node and other labels, with the next hop's address where no node is known to own it."""
    return f"max by ({labels}) ({named(worst_path(f'{labels}, next_hop', *matchers))})"


def worst_summary(metric: str, labels: str, *matchers: str) -> str:
    """The same for ecmp_node_verdict_info and ecmp_target_verdict_info."""
    return _worst(metric, SUMMARY, labels, matchers)


def named(vector: str) -> str:
    """Puts a path's next hop in the place of its node where no node is known to own it."""
    both = f'label_join({vector}, "owner", "/", "node", "next_hop")'
    return f'label_replace({both}, "node", "$1", "owner", "/(.+)")'


def with_runbook(vector: str) -> str:
    """Adds the label `runbook`, the name of the alert whose runbook tells what to do about the verdict."""
    for verdict, word in PATH.items():
        if word.alert:
            vector = f'label_replace({vector}, "runbook", "{word.alert}", "verdict", "{verdict}")'
    return vector


def since(*matchers: str) -> str:
    """When each path got its verdict, with the label `verdict`."""
    verdict = select("ecmp_path_verdict_info", *matchers)
    return f"{verdict} * {ON_PATH} group_left () {select('ecmp_path_verdict_since_timestamp_seconds')}"


def count_or_zero(labels: str, vector: str, everything: str) -> str:
    """How many values `labels` have; 0 only if `everything` has series at all: silence is not taken for health."""
    return f"count(count by ({labels}) ({vector})) or count({everything}) * 0"


def count_paths(*matchers: str) -> str:
    """How many paths match, each counted once, however many exporters see it."""
    return count_or_zero(_PATH, select("ecmp_path_verdict_info", *matchers), select("ecmp_path_verdict_info"))


def most_troubled(label: str, limit: int, *matchers: str) -> str:
    """The values of `node` or `target` with the most paths that are not ok now, filled up with others."""
    bad = select("ecmp_path_verdict_info", BROKEN, *matchers)
    return _troubled(label, limit, bad, select("ecmp_path_verdict_info", *matchers))


def ever_troubled(label: str, limit: int, *matchers: str) -> str:
    """The same, of the time that the dashboard shows; the same set at every step of it."""
    bad = f"last_over_time({select('ecmp_path_verdict_info', BROKEN, *matchers)}[$__range] @ end())"
    return _troubled(label, limit, bad, f"{select('ecmp_path_verdict_info', *matchers)} @ end()")


def _troubled(label: str, limit: int, bad: str, every: str) -> str:
    if label == "node":
        bad, every = (named(f"count by (node, next_hop) ({one})") for one in (bad, every))
    return f"topk({limit}, sum by ({label}) ({bad}) or sum by ({label}) ({every}) * 0)"


def _worst(metric: str, words: Mapping[str, Word], labels: str, matchers: Iterable[str]) -> str:
    """From the worst verdict to the best: `or` keeps what comes first, and sees few series, as each is grouped."""
    own = tuple(matchers)
    ranked = sorted(words.items(), key=lambda item: -item[1].rank)
    parts = [
        f"group by ({labels}) ({select(metric, *own, f'verdict={chr(34)}{verdict}{chr(34)}')}) * {word.rank}"
        for verdict, word in ranked
    ]
    return f"({' or '.join(parts)})"
