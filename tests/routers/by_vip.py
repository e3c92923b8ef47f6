"""What is concluded of the paths to one VIP, by node; of a stranger's by its address."""

from __future__ import annotations

from exporter.status import PathStatus
from routers.model import Snapshot
from tests.routers import concluded
from tests.routers.captured import VIP


def paths_of(taken: Snapshot, vip: str = VIP) -> dict[str, PathStatus]:
    return {node: path for (one, node), path in concluded.paths_of(taken).items() if one == vip}


def verdicts_of(taken: Snapshot, vip: str = VIP) -> dict[str, str]:
    return {node: str(path.verdict) for node, path in paths_of(taken, vip).items()}
