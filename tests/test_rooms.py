"""The rooms of DESIGN.md section 3: who imports whom, what is pure, and what stands in no file."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("probes", "routers", "exporter", "lab")
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts): path
    for room in ROOMS
    for path in sorted((ROOT / room).rglob("*.py"))
}
MAY_IMPORT = {
    "probes": frozenset({"probes"}),
    "routers": frozenset({"routers"}),
    "exporter": frozenset({"exporter", "probes", "routers"}),
    "lab": frozenset({"lab"}),
}
EXCEPTIONS = {("exporter.cli", "lab"): "the command line offers the rehearsal network"}

_PURE_ROOMS = {
    "probes": (
        "hop_errors",
        "facts",
        "http_module",
        "model",
        "pattern",
        "ports",
        "ssh_banner",
        "ssh_hostkey",
        "ssh_module",
        "tcp_module",
        "text",
        "tls_config",
    ),
    "exporter": (
        "backends",
        "blackbox_metrics",
        "budget",
        "conclude",
        "config",
        "configfile",
        "coverage",
        "dns_metrics",
        "dns_status",
        "durations",
        "evidence",
        "expected",
        "fact_metrics",
        "hashing",
        "page",
        "pathmap",
        "policy_routes",
        "reasons",
        "router_tables",
        "shares",
        "status",
        "steering",
        "steering_metrics",
        "steering_status",
        "verdicts",
        "yamlfile",
    ),
}
_IMPURE_ROUTERS = frozenset(
    {"routers.exec", "routers.https", "routers.reader", "routers.ssh", "routers.ssh_process", "routers.transport"}
)
PURE = (
    *(f"{room}.{name}" for room, names in _PURE_ROOMS.items() for name in names),
    *(name for name in MODULES if name.startswith("routers.") and name not in _IMPURE_ROUTERS),
)
# configfile reads the file that it was given and names the probers, whose files hold sockets.
READS_PROBERS = frozenset({"exporter.configfile"})
IMPURE = frozenset(
    (
        "aiohttp",
        "apscheduler",
        "asyncio",
        "asyncssh",
        "dns",
        "logging",
        "os",
        "prometheus_client",
        "random",
        "secrets",
        "select",
        "selectors",
        "signal",
        "socket",
        "ssl",
        "subprocess",
        "threading",
        "time",
    )
)
CLOCKS = frozenset({"now", "today", "utcnow"})
MOST_LINES = 400
MACHINE_PATH = re.compile(r"(?<![\w./-])/(?:work|farm)/")


@cache
def tree_of(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text(encoding="utf-8"))


@cache
def imports_of(module: str, *, for_types: bool = False) -> frozenset[str]:
    """Everything that a module imports, by absolute name, wherever in it; on demand also for types alone."""
    found: set[str] = set()
    for node in ast.walk(tree_of(module)) if for_types else _walk(tree_of(module)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: imports are absolute"
            found.add(node.module or "")
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return frozenset(found)


def _walk(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
        return
    yield node
    for child in ast.iter_child_nodes(node):
        yield from _walk(child)


def own_imports(module: str) -> frozenset[str]:
    """The modules of this project that a module imports, packages that stand above them included."""
    return frozenset(
        name
        for imported in imports_of(module)
        for name in (imported, f"{imported}.__init__", f"{imported.split('.')[0]}.__init__")
        if name in MODULES
    )


@pytest.mark.parametrize("module", MODULES)
def test_arrows(module: str) -> None:
    room = module.split(".", maxsplit=1)[0]
    entered = {name.split(".")[0] for name in imports_of(module, for_types=True)} & {*ROOMS, "tests"}
    wrong = {name for name in entered - MAY_IMPORT[room] if (module, name) not in EXCEPTIONS}
    assert not wrong, f"{module} imports {', '.join(sorted(wrong))}"


def test_exceptions_are_needed() -> None:
    for module, room in EXCEPTIONS:
        assert any(name.split(".")[0] == room for name in imports_of(module))


@pytest.mark.parametrize("module", PURE)
def test_pure_rooms(module: str) -> None:
    """Neither the module itself nor any module of ours that it imports does I/O, waits, or looks at a clock."""
    ways: dict[str, tuple[str, ...]] = {module: (module,)}
    for name in (queue := [module]):
        impure = {imported.split(".")[0] for imported in imports_of(name)} & IMPURE
        assert not impure, f"{' -> '.join(ways[name])} imports {', '.join(sorted(impure))}"
        for clock in _clocks(name):
            raise AssertionError(f"{' -> '.join(ways[name])} asks a clock: {clock}")
        for imported in own_imports(name):
            if imported in ways or (module in READS_PROBERS and imported == "probes.table"):
                continue
            ways[imported] = (*ways[name], imported)
            queue.append(imported)


def _clocks(module: str) -> Iterator[str]:
    for node in _walk(tree_of(module)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in CLOCKS:
            owner = ast.unparse(node.func.value)
            if owner.split(".")[-1] in ("datetime", "date"):
                yield ast.unparse(node.func)


def test_prometheus_client_is_known_in_one_place() -> None:
    assert [name for name in MODULES if any(one.startswith("prometheus_client") for one in imports_of(name))] == [
        "exporter.metrics"
    ]


def repository_files() -> list[Path]:
    """What is committed, or would be: tracked files and new ones that are not ignored."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    try:
        names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout.decode().split("\0")
    except (OSError, subprocess.CalledProcessError):  # a source archive has no .git
        skipped = {".venv", ".git", "__pycache__", "node_modules"}
        return [path for path in ROOT.rglob("*") if path.is_file() and not skipped & set(path.parts)]
    return [ROOT / name for name in names if name and (ROOT / name).is_file()]


def test_no_python_file_is_long() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for path in repository_files()
        if path.suffix == ".py" and (lines := len(path.read_text(encoding="utf-8").splitlines())) > MOST_LINES
    }
    assert not long


def test_no_file_names_a_path_of_one_machine() -> None:
    found = []
    for path in repository_files():
        for number, line in enumerate(path.read_bytes().decode(errors="replace").splitlines(), start=1):
            if MACHINE_PATH.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:80]}")
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("line", "there"),
    [("cd {}work/main", True), ('"{}farm/x"', True), ("https://example.org{}work/x", False), ("a{}work/b", False)],
)
def test_what_a_machine_path_is(line: str, there: bool) -> None:
    assert bool(MACHINE_PATH.search(line.format("/"))) is there
