"""PromQL in pieces. Every selector is held to the job and instance that were chosen above the dashboard."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from grafana.verdicts import PATH, SUMMARY, UNKNOWN

CHOSEN: Final = 'job=~"$job", instance=~"$instance"'
# Who a path's series are from and what they are about: metrics of a path are joined on these.
_PATH: Final = "target, vip, port, router, node, next_hop"
ON_PATH: Final = f"on (job, instance, {_PATH})"
RATE: Final = "[$__rate_interval]"

BROKEN: Final = 'verdict!="ok"'
DOWN: Final = f'verdict!~"ok|{"|".join(UNKNOWN)}"'
UNJUDGED: Final = f'verdict=~"{"|".join(UNKNOWN)}"'


def select(metric: str, *matchers: str) -> str:
    return f"{metric}{{{', '.join((CHOSEN, *matchers))}}}"


def path_rank(*matchers: str) -> str:
    """The rank of each path's verdict, with all labels, `verdict` too."""
    return _ranks("ecmp_path_verdict_info", {verdict: word.rank for verdict, word in PATH.items()}, matchers)


def summary_rank(metric: str, *matchers: str) -> str:
    """The same for ecmp_node_verdict_info and ecmp_target_verdict_info."""
    return _ranks(metric, {verdict: word.rank for verdict, word in SUMMARY.items()}, matchers)


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
    """The values of a path label with the most paths that are not ok now, filled up with others."""
    bad = named(select("ecmp_path_verdict_info", BROKEN, *matchers))
    every = named(select("ecmp_path_verdict_info", *matchers))
    return f"topk({limit}, count by ({label}) ({bad}) or count by ({label}) ({every}) * 0)"


def ever_troubled(label: str, limit: int, *matchers: str) -> str:
    """The same, of the time that the dashboard shows; the same set at every step of it."""
    bad = named(f"last_over_time({select('ecmp_path_verdict_info', BROKEN, *matchers)}[$__range] @ end())")
    every = named(f"last_over_time({select('ecmp_path_verdict_info', *matchers)}[$__range] @ end())")
    return f"topk({limit}, count by ({label}) ({bad}) or count by ({label}) ({every}) * 0)"


def _ranks(metric: str, ranks: dict[str, int], matchers: Iterable[str]) -> str:
    own = tuple(matchers)
    parts = [select(metric, *own, f'verdict="{verdict}"') + f" * {rank}" for verdict, rank in ranks.items()]
    return f"({' or '.join(parts)})"
