"""The system calls that container engines permit by default, as an OCI runtime wants them.

From the profile of golang-github-containers-common, which buildah needs: Podman's own, and but for details Docker's.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final

PROFILE: Final = Path("/usr/share/containers/seccomp.json")
_NAMES: Final = {"x86_64": ("amd64", "SCMP_ARCH_X86_64"), "aarch64": ("arm64", "SCMP_ARCH_AARCH64")}


def default(capabilities: Collection[str]) -> dict[str, Any]:
    """The section `linux.seccomp` for a container that may have these capabilities."""
    profile = json.loads(PROFILE.read_text())
    name, number = _NAMES[platform.machine()]
    (more,) = (one["subArchitectures"] or [] for one in profile["archMap"] if one["architecture"] == number)
    return {
        "defaultAction": profile["defaultAction"],
        "defaultErrnoRet": profile["defaultErrnoRet"],
        "architectures": [number, *more],
        "syscalls": [_rule(one) for one in profile["syscalls"] if _applies(one, name, capabilities)],
    }


def _applies(rule: Mapping[str, Any], machine: str, capabilities: Collection[str]) -> bool:
    wanted, excluded = rule["includes"], rule["excludes"]
    if machine not in wanted.get("arches", [machine]) or machine in excluded.get("arches", []):
        return False
    return set(wanted.get("caps", [])) <= set(capabilities) and not set(excluded.get("caps", [])) & set(capabilities)


def _rule(rule: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: rule[name] for name in ("names", "action", "args") if rule.get(name)}
    return kept | ({} if rule.get("errnoRet") is None else {"errnoRet": rule["errnoRet"]})
