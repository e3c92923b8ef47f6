"""Who answered: paths of one target whose servers differ, so that some flows reach a wrong backend. Pure.

Compared are what cannot differ between honest replicas for long: the SSH banner, the SSH host key, the certificate.
What most paths show is taken for right; where nothing has a majority (two paths that differ), nobody is blamed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from exporter.config import IdentityRule
from exporter.fact_metrics import PATH, labels_of
from exporter.status import PathStatus, Status
from exporter.steering_metrics import Family
from probes.facts import Facts

_MOST_NAMED = 4  # values, and paths with each, in one sentence
_SHOWN_OF_FINGERPRINT = 16  # hexadecimal digits


@dataclass(frozen=True, slots=True)
class _Trait:
    """Something that a server shows of itself; `of` is None where a probe did not see it, or must not compare it."""

    name: str
    of: Callable[[Facts], str | None]


def compared(paths: Sequence[PathStatus], identity: IdentityRule | None) -> list[PathStatus]:
    """The paths of one target, each with what its server differs in, also at the end of its reason."""
    found: dict[int, list[str]] = {}  # by position: an entry says that the path was compared
    for trait in _traits(identity):
        for position, difference in _by_majority(trait, paths).items():
            found.setdefault(position, []).extend([difference] if difference else [])
    if identity is not None and identity.kind == "host_key":
        for position, difference in _by_map(identity.map, paths).items():
            found.setdefault(position, []).extend([difference] if difference else [])
    return [_marked(path, found.get(position)) for position, path in enumerate(paths)]


def families(status: Status) -> Iterator[Family]:
    """`ecmp_path_backend_differs`, for paths with something to be compared with."""
    yield Family(
        "ecmp_path_backend_differs",
        "Whether the path's server shows another banner, host key or certificate than most paths of its target.",
        PATH,
        {labels_of(path): float(path.differs is not None) for path in status.paths if path.compared},
    )


def _marked(path: PathStatus, differences: list[str] | None) -> PathStatus:
    if differences is None:
        return path
    if not differences:
        return replace(path, compared=True)
    said = "; ".join(differences)
    return replace(path, compared=True, differs=said, reason=f"{path.reason}; but {said}")


def _traits(identity: IdentityRule | None) -> Iterator[_Trait]:
    """Where answers name their nodes, banners do so, and each node may have a host key of its own."""
    if identity is None or identity.kind != "banner":
        yield _Trait("SSH banner", _banner)
    if identity is None:
        yield _Trait("SSH host key", _host_key)
    yield _Trait("certificate", _certificate)


def _banner(facts: Facts) -> str | None:
    ssh = facts.ssh
    return None if ssh is None else f"SSH-{ssh.protocol}-{ssh.software} {ssh.comment}".rstrip()


def _host_key(facts: Facts) -> str | None:
    """Keys that the configuration lists are all right, however they differ."""
    return None if facts.ssh is None or facts.ssh.host_key_expected else facts.ssh.host_key


def _certificate(facts: Facts) -> str | None:
    return facts.tls.fingerprint_sha256 or None if facts.tls is not None else None


def _by_majority(trait: _Trait, paths: Sequence[PathStatus]) -> dict[int, str]:
    """By position, for paths that could be compared: how it differs, empty if it does not.

    A next hop that is seen through several routers is one voice.
    """
    seen = {
        position: value
        for position, path in enumerate(paths)
        if path.result is not None and (value := trait.of(path.result.facts)) is not None
    }
    voices: dict[str, set[tuple[str, str]]] = {}
    for position, value in seen.items():
        voices.setdefault(value, set()).add((paths[position].vip, _who(paths[position])))
    total = len(set().union(*voices.values()))
    if total < 2:  # noqa: PLR2004 - one alone has nothing to be compared with
        return {}
    if len(voices) == 1:
        return dict.fromkeys(seen, "")
    usual = next((value for value, whose in voices.items() if 2 * len(whose) > total), None)
    if usual is None:
        return dict.fromkeys(seen, f"the paths of this target differ in their {trait.name}: {_listed(voices)}")
    others = f"{len(voices[usual])} of {total} paths of this target show {_short(usual)}"
    return {
        position: "" if value == usual else f"its {trait.name} is {_short(value)}, where {others}"
        for position, value in seen.items()
    }


def _by_map(nodes: Mapping[str, str], paths: Sequence[PathStatus]) -> dict[int, str]:
    """As `_by_majority`, where the configuration says which node has which host key."""
    found: dict[int, str] = {}
    for position, path in enumerate(paths):
        facts = path.result.facts.ssh if path.result is not None else None
        if facts is None or facts.host_key is None:
            continue
        owner = nodes.get(facts.host_key)
        if owner is None:
            found[position] = f"its SSH host key {facts.host_key} is that of no node in the target's identity"
        else:
            wrong = f"its SSH host key {facts.host_key} is that of {owner}"
            found[position] = "" if owner == path.node else wrong
    return found


def _who(path: PathStatus) -> str:
    return path.node or path.next_hop or ""


def _listed(voices: Mapping[str, set[tuple[str, str]]]) -> str:
    named = [f"{_short(value)} ({_some(sorted({who for _, who in whose}))})" for value, whose in sorted(voices.items())]
    return _some(named)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_MOST_NAMED]) + (", ..." if len(names) > _MOST_NAMED else "")


def _short(value: str) -> str:
    """A certificate's fingerprint is told by its beginning."""
    plain = len(value) == 64 and all(digit in "0123456789abcdef" for digit in value)  # noqa: PLR2004 - SHA-256
    return f"sha256 {value[:_SHOWN_OF_FINGERPRINT]}..." if plain else value
