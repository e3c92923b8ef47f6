"""Random evidence: what may never be concluded, whatever a router says and probes do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.status import PathStatus
from exporter.verdicts import PathFacts, Summary, Verdict, judge, summarize
from tests.exporter.scenario import World, build

NODES = {"a": ["10.0.0.1"], "b": ["10.0.0.2", "2001:db8::2"], "c": ["10.0.0.3"]}
VIPS = ("203.0.113.1", "203.0.113.2")
STATES = ["Idle", "Active", "OpenConfirm", "Established", "Established", "unknown", "absent"]
ROUTES = ["used", "used", "unused", "untold", "filtered", "stale", "absent"]
FAILURES = ["none", "ok", "ok", "timeout", "refused", "reset", "unreachable", "expectation", "dns"]
PROBES = st.one_of(
    st.sampled_from(FAILURES),
    st.fixed_dictionaries({"failure": st.just("timeout"), "connected": st.booleans()}),
)
HOPS = st.lists(st.sampled_from([*NODES, "10.0.0.99", "fe80::1"]), unique=True, max_size=5)
SESSION = st.one_of(
    st.sampled_from(STATES),
    st.fixed_dictionaries(
        {"state": st.sampled_from(STATES[:5]), "policy_missing": st.booleans(), "admin_down": st.booleans()}
    ),
)
ROUTER = st.fixed_dictionaries(
    {"snapshot": st.sampled_from([True, True, True, False])},
    optional={
        "trouble": st.just("its last answer is 99 s old"),
        "crossed": st.just(False),
        "dynamic_ranges": st.sampled_from([["10.0.0.0/24"], ["10.0.0.3/32"], ["nonsense"], ["2001:db8::/64"]]),
        "sessions": st.one_of(st.just("unknown"), st.fixed_dictionaries({}, optional=dict.fromkeys(NODES, SESSION))),
        "routes": st.one_of(
            st.just("unknown"),
            st.fixed_dictionaries({}, optional=dict.fromkeys(NODES, st.sampled_from(ROUTES))),
        ),
        "fib": st.one_of(st.just("unknown"), st.just("default"), HOPS),
    },
)
# A router that never answered has no trouble with its age and no tables.
ROUTERS = ROUTER.map(lambda router: router if router["snapshot"] else {"snapshot": False})


@st.composite
def cases(draw: st.DrawFn) -> dict[str, Any]:
    targets: dict[str, Any] = {"git": {"vips": [VIPS[0]]}}
    if draw(st.booleans()):
        targets["web"] = {
            "vips": [VIPS[1]],
            "nodes": draw(st.lists(st.sampled_from(list(NODES)), min_size=1, unique=True)),
        }
    routers = {"edge": draw(ROUTERS)}
    if draw(st.booleans()):
        routers["spare"] = draw(ROUTERS)
    return {
        "nodes": NODES,
        "targets": targets,
        "routers": routers,
        "probes": {f"git {node}": draw(PROBES) for node in NODES},
        "direct": {node: draw(st.sampled_from([True, False, "unknown"])) for node in NODES},
    }


def concluded(world: World) -> list[PathStatus]:
    return [path for target in world.concluded().values() for path in target.paths]


@given(cases())
@settings(max_examples=120, deadline=None)
def test_nothing_is_ok_without_proof(case: dict[str, Any]) -> None:
    world = build(case)
    points = {point.router: point for point in world.standpoints}
    for path in concluded(world):
        point = points[path.router]
        if path.verdict is Verdict.OK:
            assert point.trouble is None
            assert point.view is not None
            assert path.fib == "installed"
            assert path.expected
            assert path.result is not None
            assert path.result.success
        if point.trouble is not None or point.view is None:
            assert path.verdict is Verdict.ROUTER_UNKNOWN
            assert path.remedy is None
        if path.result is not None and not path.result.success:
            assert path.verdict not in (Verdict.OK, Verdict.UNVERIFIED)
        if path.verdict in (Verdict.NODE_DOWN, Verdict.SERVICE_DOWN, Verdict.BLACKHOLE):
            assert path.fib == "installed"
            assert path.result is not None
            assert not path.result.success
        assert path.reason
        assert "None" not in path.reason


@given(cases())
@settings(max_examples=40, deadline=None)
def test_every_expected_path_is_judged_once_and_always_the_same(case: dict[str, Any]) -> None:
    first, second = build(case), build(case)
    assert concluded(first) == concluded(second)
    for name, status in first.concluded().items():
        target = first.expected.targets[name]
        for point in first.standpoints:
            own = [path for path in status.paths if path.router == point.router]
            assert [path.node for path in own if path.expected] == list(target.nodes)
            assert len({path.key for path in own}) == len(own)
        assert [(stage.router, stage.vip) for stage in status.stages] == [
            (point.router, vip) for point in first.standpoints for vip in target.vips
        ]


@given(cases(), st.sampled_from(list(NODES)))
@settings(max_examples=80, deadline=None)
def test_a_node_that_is_healthy_in_every_way_is_ok_or_unverified(case: dict[str, Any], node: str) -> None:
    """Whatever else is wrong in the network, its other nodes and its targets."""
    router = case["routers"]["edge"]
    tables: Mapping[str, Any] = {key: router.get(key, {}) for key in ("sessions", "routes")}
    healthy = {
        **router,
        "snapshot": True,
        "sessions": {**(tables["sessions"] if isinstance(tables["sessions"], dict) else {}), node: "Established"},
        "routes": {**(tables["routes"] if isinstance(tables["routes"], dict) else {}), node: "used"},
    }
    healthy.pop("trouble", None)
    hops = router.get("fib")
    healthy["fib"] = [node, *([hop for hop in hops if hop != node] if isinstance(hops, list) else [])]
    changed = {
        **case,
        "routers": {"edge": healthy},
        "probes": {key: said for key, said in case["probes"].items() if key != f"git {node}"},
        "direct": {**case["direct"], node: True},
    }
    for path in concluded(build(changed)):
        if path.node == node and path.target == "git":
            assert path.verdict in (Verdict.OK, Verdict.UNVERIFIED)
            assert (path.verdict is Verdict.UNVERIFIED) is (path.result is None)


@given(cases(), st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_one_verdict_for_each_path_in_whatever_order(case: dict[str, Any], random: Any) -> None:
    facts = [
        PathFacts(
            via=path.node or path.next_hop or "",
            node=path.node,
            next_hop=path.next_hop,
            evidence=None,
            forwarded={"installed": True, "missing": False, None: None}[path.fib],
            result=path.result,
        )
        for path in concluded(build(case))
    ]
    verdicts = judge(facts)
    assert len(verdicts) == len(facts)
    order = list(range(len(facts)))
    random.shuffle(order)
    assert judge([facts[index] for index in order]) == tuple(verdicts[index] for index in order)


@given(st.lists(st.sampled_from(list(Verdict))))
def test_summaries(verdicts: list[Verdict]) -> None:
    down = [verdict not in (Verdict.OK, Verdict.UNVERIFIED, Verdict.ROUTER_UNKNOWN) for verdict in verdicts]
    if all(down):
        assert summarize(verdicts) is Summary.UNREACHABLE
    elif set(verdicts) == {Verdict.OK}:
        assert summarize(verdicts) is Summary.OK
    else:
        assert summarize(verdicts) is Summary.DEGRADED


@st.composite
def sweeps(draw: st.DrawFn) -> dict[str, Any]:
    """Three next hops, flows of unknown way, and what direct checks say."""
    sent = draw(st.integers(1, 200))
    nodes = ["leviathan1", "leviathan2", "leviathan3"]
    return {
        "sweep": {
            "sent": sent,
            "failed": draw(st.integers(0, sent)),
            "coverage": draw(st.sampled_from([0.0, 0.5, 0.99, 0.9999999])),
        },
        "direct": {node: draw(st.sampled_from([True, False, "unknown"])) for node in nodes},
        "lost": [node for node in nodes if draw(st.booleans())],
    }


@given(sweeps())
@settings(deadline=None)
def test_what_a_sweep_infers(case: dict[str, Any]) -> None:
    """Never ok; and nobody is named who answers directly, unless every flow failed and every next hop was met."""
    sweep = case["sweep"]
    everything = sweep["failed"] == sweep["sent"] and sweep["coverage"] > 0.999999
    for path in concluded(build(case)):
        assert path.verdict in (Verdict.UNVERIFIED, Verdict.NODE_DOWN, Verdict.SERVICE_DOWN)
        assert (path.verdict is Verdict.UNVERIFIED) is ("inferred, not observed" not in path.reason)
        if everything:
            assert path.verdict is not Verdict.UNVERIFIED
        elif path.verdict is not Verdict.UNVERIFIED:
            assert path.verdict is Verdict.NODE_DOWN
            assert case["direct"][path.node] is False
            assert path.node in case["lost"]
            assert sweep["failed"]
