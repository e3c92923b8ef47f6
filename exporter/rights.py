"""Gives up, once everything is open, the rights that the configuration does not need; what a reload then lacks."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path

from exporter import privileges
from exporter.config import Config

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Rights:
    """`net_admin`: policy routes can be changed. `commands`: what routers' commands are run with is as it was."""

    net_admin: bool
    commands: bool


ALL = Rights(net_admin=True, commands=True)


def needed(config: Config) -> Rights:
    """What this configuration needs beside raw sockets."""
    return Rights(
        net_admin=config.probing.direct_steering,
        commands=any(router.exec is not None for router in config.routers),
    )


def give_up(config: Config, path: Path, level: int) -> Rights:
    """Keep what this configuration, read from `path`, needs; says at `level` what that is. See privileges.drop."""
    wanted = needed(config)
    try:
        kept = privileges.drop(net_admin=wanted.net_admin, children=wanted.commands)
    except OSError as error:
        log.warning("the rights that are not needed could not be given up: %s", error)
        return ALL
    log.log(level, "%s", kept)
    if path.exists() and not os.access(path, os.R_OK, effective_ids=True):
        log.warning(
            "%s can be read no more, so a reload will fail: the right to read files of other users was given up; "
            "let root own it",
            path,
        )
    return wanted


def lacking(kept: Rights, config: Config) -> str:
    """What does not work with this configuration because it was given up before; empty if everything does."""
    wanted = needed(config)
    found = []
    if wanted.commands and not kept.commands:
        found.append("commands of exec routers run without rights, and sudo cannot get them any")
    # Where commands have all rights, `ip` has CAP_NET_ADMIN.
    if wanted.net_admin and not (kept.net_admin or kept.commands):
        found.append("direct_steering has no CAP_NET_ADMIN")
    return "" if not found else f"{' and '.join(found)}: given up at start, when no one needed it; restart the exporter"
