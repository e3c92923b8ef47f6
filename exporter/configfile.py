"""From a configuration file to `Config`: every error at once, each with its line, place and mend."""

from __future__ import annotations

import difflib
import re
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from exporter.config import SYSTEM_RESOLVER, TRANSPORTS, Config, Module, is_address
from exporter.durations import parse_duration
from exporter.yamlfile import MAX_BYTES, Document, Location, Problem, parse, place_of
from probes.table import PROBERS
from probes.tls_config import UNSUPPORTED
from routers.model import canonical
from routers.platforms import PLATFORMS

BUILT_IN_MODULES: Mapping[str, Mapping[str, Any]] = {
    "http_2xx": {"prober": "http"},
    "https_2xx": {"prober": "http", "http": {"fail_if_not_ssl": True}},
    "ssh_banner": {"prober": "ssh"},
}
_FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")
_SECTIONS_LATER = {"kubernetes": "nodes and targets from the cluster's API"}
_API_PATHS = {"eos": "/command-api", "opnsense": "/api", "routeros": "/rest"}


class ConfigError(ValueError):
    """The file cannot be used; `problems` are all that is wrong with it, in the order of the file."""

    def __init__(self, path: str, problems: Iterable[Problem]) -> None:
        self.path = path
        self.problems = tuple(sorted(problems, key=lambda problem: problem.line))
        super().__init__("\n".join(f"{path}: {problem}" for problem in self.problems))


def load(path: Path) -> Config:
    """Read and check a file. Raises ConfigError, for a file that cannot be read as well."""
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
        text = raw.decode()
    except OSError as error:
        raise ConfigError(str(path), [Problem(0, "", f"cannot be read: {error.strerror}")]) from None
    except UnicodeDecodeError:
        raise ConfigError(str(path), [Problem(0, "", "is not UTF-8 text")]) from None
    if len(raw) > MAX_BYTES:
        raise ConfigError(str(path), [Problem(0, "", f"is larger than {MAX_BYTES >> 20} MiB")])
    return loads(text, str(path))


def loads(text: str, path: str = "configuration") -> Config:
    """As `load`, from text."""
    document = parse(text)
    problems = list(document.problems)
    if document.value is None and problems:
        raise ConfigError(path, problems)
    if not isinstance(document.value, dict):
        raise ConfigError(path, [Problem(1, "", "must be a mapping with routers, nodes and targets")])
    raw = dict(document.value)
    for section, use in _SECTIONS_LATER.items():
        if section in raw:
            del raw[section]
            problems.append(_problem(document, (section,), f"known, but not supported yet ({use})"))
    modules, module_problems = _modules(document, raw.pop("modules", None))
    problems += module_problems
    problems += _cross_check(document, raw, modules)
    config = None
    try:
        config = Config.model_validate({**raw, "modules": dict(modules)})
    except ValidationError as error:
        problems += _translate(document, error)
    if problems or config is None:
        raise ConfigError(path, _unique(problems))
    return config


def _modules(document: Document, raw: Any) -> tuple[dict[str, Module], list[Problem]]:
    problems: list[Problem] = []
    merged: dict[str, Any] = dict(BUILT_IN_MODULES)
    if isinstance(raw, dict):
        merged |= raw
    elif raw is not None:
        problems.append(_problem(document, ("modules",), "must be a mapping from a module's name to its settings"))
    modules: dict[str, Module] = {}
    for name, settings in merged.items():
        try:
            modules[name] = _module(name, settings)
        except _ModuleError as error:
            problems += [_problem(document, ("modules", name, *location), message) for location, message in error.found]
        except ValidationError as error:
            prefix: Location = ("modules", name, settings["prober"])
            problems += _translate(document, error, prefix, PROBERS[settings["prober"]].module)
    return modules, problems


class _ModuleError(Exception):
    def __init__(self, *found: tuple[Location, str]) -> None:
        self.found = found


def _module(name: str, raw: Any) -> Module:
    if not isinstance(raw, dict):
        raise _ModuleError(((), "must be a mapping with prober"))
    prober = raw.get("prober")
    if not isinstance(prober, str) or prober not in PROBERS:
        raise _ModuleError((("prober",), f"must be one of {_listed(PROBERS)}"))
    found: list[tuple[Location, str]] = [
        ((key,), _not_of_module(str(key), prober)) for key in raw if key not in ("prober", "timeout", prober)
    ]
    timeout = None
    if "timeout" in raw:
        try:
            timeout = parse_duration(raw["timeout"] if isinstance(raw["timeout"], str) else "")
        except ValueError:
            found.append((("timeout",), "write a duration with its unit, like 5s"))
    if found:
        raise _ModuleError(*found)
    kind, given = PROBERS[prober], raw.get(prober)
    settings = kind.module.model_validate({} if given is None else given)
    return Module(name, prober, settings, timeout, getattr(settings, "transport", kind.transport))


def _not_of_module(key: str, prober: str) -> str:
    allowed = ("prober", "timeout", prober)
    if key in PROBERS:
        return f"is the section of another prober: this module's is {prober}, and blackbox_exporter would ignore this"
    return f"unknown key{_guess(key, allowed)}; allowed here: {', '.join(allowed)}"


def _cross_check(document: Document, raw: Mapping[str, Any], modules: Mapping[str, Module]) -> list[Problem]:
    """What no section can see alone: names that are used twice, or used and not defined."""
    problems: list[Problem] = []
    for section in ("routers", "nodes", "targets", "resolvers"):
        if raw.get(section) == [] and section != "resolvers":
            problems.append(_problem(document, (section,), "is empty; name at least one"))
        problems += _repeated(document, section, _entries(raw, section), "name")
    problems += _repeated_addresses(document, _entries(raw, "nodes"))
    node_names = [str(node.get("name")) for _, node in _entries(raw, "nodes")]
    resolver_names = [str(resolver.get("name")) for _, resolver in _entries(raw, "resolvers")]
    declared = document.value.get("modules")
    module_names = {*modules, *(declared if isinstance(declared, dict) else ())}
    for index, target in _entries(raw, "targets"):
        place: Location = ("targets", index)
        module = target.get("module")
        if isinstance(module, str) and module not in module_names:
            message = f"no module {module!r}{_guess(module, module_names)}; there are {_listed(module_names)}"
            problems.append(_problem(document, (*place, "module"), message))
        problems += _node_references(document, place, target, node_names)
        problems += _identity_fits(document, place, target, modules)
        problems += _resolvable(document, place, target, [SYSTEM_RESOLVER, *resolver_names])
        if _steering(raw) == "identity" and target.get("identity") is None:
            problems.append(_problem(document, place, "steering is identity, so every target needs an identity"))
    for index, router in _entries(raw, "routers"):
        problems += _platform(document, ("routers", index), router)
    return problems


def _platform(document: Document, place: Location, router: Mapping[str, Any]) -> list[Problem]:
    problems: list[Problem] = []
    platform = router.get("platform")
    if isinstance(platform, str) and platform not in PLATFORMS:
        problems.append(_problem(document, (*place, "platform"), f"must be one of {_listed(PLATFORMS)}"))
    elif isinstance(platform, str):
        offered = PLATFORMS[platform].TRANSPORTS
        for transport in (name for name in TRANSPORTS if router.get(name) is not None and name not in offered):
            message = f"platform {platform} is read over {' or '.join(sorted(offered))}, not over {transport}"
            problems.append(_problem(document, (*place, transport), message))
        problems += _api_below(document, place, platform, router.get("https"))
    return problems


def _api_below(document: Document, place: Location, platform: str, https: object) -> list[Problem]:
    """A url that names the API itself, below which it is looked for once more."""
    url, own = https.get("url") if isinstance(https, dict) else None, _API_PATHS.get(platform)
    if own is None or not isinstance(url, str) or not url.rstrip("/").endswith(own):
        return []
    message = f"leave {own} out: the questions to platform {platform} begin with it"
    return [_problem(document, (*place, "https", "url"), message)]


def _node_references(
    document: Document, place: Location, target: Mapping[str, Any], node_names: list[str]
) -> list[Problem]:
    problems: list[Problem] = []
    named = target.get("nodes")
    if named == []:
        problems.append(_problem(document, (*place, "nodes"), "is empty; leave it out for every node"))
    for position, name in enumerate(named if isinstance(named, list) else []):
        if isinstance(name, str) and name not in node_names:
            message = f"no node {name!r}{_guess(name, node_names)}; there are {_listed(node_names)}"
            problems.append(_problem(document, (*place, "nodes", position), message))
    identity = target.get("identity")
    mapped = identity.get("map") if isinstance(identity, dict) else None
    for value, name in (mapped if isinstance(mapped, dict) else {}).items():
        if isinstance(name, str) and name not in node_names:
            message = f"no node {name!r}{_guess(name, node_names)}; there are {_listed(node_names)}"
            problems.append(_problem(document, (*place, "identity", "map", value), message))
    return problems


def _identity_fits(
    document: Document, place: Location, target: Mapping[str, Any], modules: Mapping[str, Module]
) -> list[Problem]:
    identity, module = target.get("identity"), modules.get(str(target.get("module")))
    if not isinstance(identity, dict) or module is None:
        return []
    fits = PROBERS[module.prober].identities
    wrong = [kind for kind in ("header", "body", "banner", "host_key") if kind in identity and kind not in fits]
    problems = [
        _problem(
            document,
            (*place, "identity", kind),
            f"prober {module.prober} has no {kind}; it can tell a node by {_listed(fits)}",
        )
        for kind in wrong
    ]
    mapped = identity.get("map")
    for value in mapped if isinstance(mapped, dict) and "host_key" in identity else ():
        if isinstance(value, str) and not _FINGERPRINT.fullmatch(value):
            message = "is no fingerprint as ssh-keygen -lf prints it: SHA256: and 43 letters, digits and + /"
            problems.append(_problem(document, (*place, "identity", "map", value), message))
    return problems


def _resolvable(
    document: Document, place: Location, target: Mapping[str, Any], resolver_names: list[str]
) -> list[Problem]:
    """What is said of a target's look-ups must be of a name, and of resolvers that there are."""
    problems = [
        _problem(document, (*place, key), "is for targets that are given by a DNS name")
        for key in ("resolvers", "expected_addresses")
        if target.get(key) and is_address(str(target.get("address")))
    ]
    several = target.get("resolvers")
    named = several if isinstance(several, list) else []
    for position, name in enumerate(named):
        if isinstance(name, str) and name not in resolver_names:
            message = f"no resolver {name!r}{_guess(name, resolver_names)}; there are {_listed(resolver_names)}"
            problems.append(_problem(document, (*place, "resolvers", position), message))
        elif name in named[:position]:
            problems.append(_problem(document, (*place, "resolvers", position), f"{name!r} is there already"))
    return problems


def _repeated(document: Document, section: str, entries: list[tuple[int, dict[str, Any]]], key: str) -> list[Problem]:
    seen: dict[str, int] = {}
    problems: list[Problem] = []
    for index, entry in entries:
        value = entry.get(key)
        if not isinstance(value, str):
            continue
        if value in seen:
            message = f"{value!r} is already {section}[{seen[value]}]; each needs a {key} of its own"
            problems.append(_problem(document, (section, index, key), message))
        seen.setdefault(value, index)
    return problems


def _repeated_addresses(document: Document, nodes: list[tuple[int, dict[str, Any]]]) -> list[Problem]:
    owner: dict[str, str] = {}
    problems: list[Problem] = []
    for index, node in nodes:
        several = node.get("addresses")
        for address in [node.get("address"), *(several if isinstance(several, list) else [])]:
            try:
                known = canonical(address) if isinstance(address, str) else None
            except ValueError:
                continue  # the schema says that it is no address
            if known is None:
                continue
            if known in owner:
                place: Location = ("nodes", index, "addresses" if isinstance(several, list) else "address")
                problems.append(_problem(document, place, f"{address} already belongs to node {owner[known]}"))
            owner.setdefault(known, str(node.get("name")))
    return problems


def _entries(raw: Mapping[str, Any], section: str) -> list[tuple[int, dict[str, Any]]]:
    entries = raw.get(section)
    if not isinstance(entries, list):
        return []
    return [(index, entry) for index, entry in enumerate(entries) if isinstance(entry, dict)]


def _steering(raw: Mapping[str, Any]) -> Any:
    probing = raw.get("probing")
    return probing.get("steering") if isinstance(probing, dict) else None


def _translate(
    document: Document, error: ValidationError, prefix: Location = (), model: type[BaseModel] = Config
) -> list[Problem]:
    problems: list[Problem] = []
    for found in error.errors(include_url=False, include_input=False):
        location = prefix + tuple(part for part in found["loc"] if part != "[key]")
        if found["type"] == UNSUPPORTED:
            reasons = found["ctx"]["found"].items()
            problems += [_problem(document, (*location, key), message) for key, message in reasons]
            continue
        if found["type"] == "extra_forbidden":
            allowed = _keys_at(model, found["loc"][:-1])
            message = f"unknown key{_guess(str(location[-1]), allowed)}; allowed here: {_listed(allowed)}"
        elif found["type"] == "missing":
            message = "is missing"
        elif found["type"] == "literal_error":
            message = found["msg"].replace("Input should be", "must be")
        elif found["type"] == "tuple_type":
            message = "must be a list"
        elif found["type"] == "string_pattern_mismatch" and location[-1] == "name":
            message = "must be 1 to 63 letters, digits and . _ : / -"
        elif found["type"] in ("model_type", "dict_type"):
            message = f"must be a mapping with {_listed(_keys_at(model, found['loc']))}"
        else:
            message = found["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
        problems.append(_problem(document, location, message))
    return problems


def _keys_at(model: type[BaseModel], location: tuple[str | int, ...]) -> list[str]:
    """The keys that the section at a location may have."""
    current: type[BaseModel] = model
    for part in location:
        if not isinstance(part, str) or part not in current.model_fields:
            continue
        section = _section_in(current.model_fields[part].annotation)
        if section is None:
            return []
        current = section
    return [field.alias or name for name, field in current.model_fields.items()]


def _section_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if typing.get_origin(annotation) in (tuple, list, dict, typing.Union, types.UnionType):
        for part in typing.get_args(annotation):
            section = _section_in(part)
            if section is not None:
                return section
    return None


def _problem(document: Document, location: Location, message: str) -> Problem:
    return Problem(document.line_of(location), place_of(location), message)


def _unique(problems: list[Problem]) -> list[Problem]:
    return list(dict.fromkeys(problems))


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"


def _guess(name: str, names: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(names), n=1)
    return f" (did you mean {close[0]}?)" if close else ""
