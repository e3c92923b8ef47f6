"""Bad files, small ones: the exact line, the place, and what to write instead; every error at once."""

# ruff: noqa: E501  (a case is one line)

from __future__ import annotations

from pathlib import Path

import pytest

from exporter.config import Probing
from exporter.configfile import ConfigError, load, loads
from exporter.shown import shown
from exporter.yamlfile import MAX_BYTES
from probes.table import PROBERS
from routers.platforms import PLATFORMS

READ = ", ".join(sorted(PLATFORMS))

DESIGN = """\
probing:
  interval: 15s
  timeout: 3s
  steering: auto
  source_addresses: []
  source_ports: 20000-28191
modules:
  http_2xx: {prober: http}
  ssh_banner: {prober: ssh}
routers:
  - name: edge
    platform: frr
    poll_interval: 15s
    ssh: {host: 10.0.0.1, port: 22, username: monitor, client_keys: [/etc/ecmp-exporter/id_ed25519],
          known_hosts: /etc/ecmp-exporter/known_hosts}
nodes:
  - {name: leviathan1, address: 10.0.0.11}
  - {name: leviathan3, addresses: [10.0.0.13, "2001:db8::13"]}
targets:
  - name: gitea-ssh
    address: 203.0.113.22
    port: 22
    module: ssh_banner
    nodes: [leviathan3]
  - {name: web, address: www.example.org, port: 443, module: https_2xx, identity: {header: X-Node}}
"""

KEY = "SHA256:" + "Ab1+/" * 8 + "xyz"
PROBER_NAMES = ", ".join(sorted(PROBERS))
NO_PROXY = "a proxy would choose the path, and probes go over chosen ones; leave it out, and probe the target itself"
ALGORITHM_NAMES = (
    "ssh-ed25519, ecdsa-sha2-nistp256, ecdsa-sha2-nistp384, ecdsa-sha2-nistp521, rsa-sha2-512, rsa-sha2-256, ssh-rsa"
)

ROUTERS = "routers:\n  - {name: edge, platform: frr, exec: {}}\n"
NODES = "nodes:\n  - {name: n1, address: 10.0.0.11}\n"
TARGETS = "targets:\n  - {name: web, address: 203.0.113.10, port: 80, module: http_2xx}\n"
GOOD = ROUTERS + NODES + TARGETS


def errors(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        loads(text, "f.yml")
    assert str(caught.value) == "\n".join(f"f.yml: {problem}" for problem in caught.value.problems)
    return [str(problem) for problem in caught.value.problems]


def target(rest: str) -> str:
    return ROUTERS + NODES + f"targets:\n  - {{name: web, address: 203.0.113.10, port: 80, {rest}}}\n"


def router(rest: str) -> str:
    return f"routers:\n  - {{name: edge, {rest}}}\n" + NODES + TARGETS


def node(rest: str) -> str:
    return ROUTERS + f"nodes:\n  - {{{rest}}}\n" + TARGETS


def test_the_example_of_the_design() -> None:
    config = loads(DESIGN)
    assert config.probing == Probing()
    (edge,) = config.routers
    assert edge.ssh is not None
    assert (edge.name, edge.platform, edge.poll_interval, edge.ssh.host) == ("edge", "frr", 15.0, "10.0.0.1")
    assert [node.all_addresses for node in config.nodes] == [("10.0.0.11",), ("10.0.0.13", "2001:db8::13")]
    gitea, web = config.targets
    assert (gitea.nodes, web.nodes) == (("leviathan3",), None)
    assert web.identity is not None
    assert (web.identity.kind, web.identity.rule) == ("header", "X-Node")
    assert {name: module.prober for name, module in config.modules.items()} == {
        "http_2xx": "http",
        "https_2xx": "http",
        "ssh_banner": "ssh",
    }


@pytest.mark.parametrize(("written", "rule"), [("true", ""), ("ssh-ed25519", "ssh-ed25519"), ("ssh-rsa", "ssh-rsa")])
def test_nodes_by_their_host_keys(written: str, rule: str) -> None:
    text = target(f"module: ssh_banner, identity: {{host_key: {written}, map: {{'{KEY}': n1}}}}")
    config = loads(text)
    identity = config.targets[0].identity
    assert identity is not None
    assert (identity.kind, identity.rule, identity.map) == ("host_key", rule, {KEY: "n1"})
    assert loads(shown(config)) == config


def test_defaults() -> None:
    config = loads(GOOD)
    assert config.probing.source_ports == range(20000, 28192)
    assert (config.probing.interval, config.probing.timeout, config.probing.steering) == (15.0, 3.0, "auto")
    assert config.routers[0].exec is not None
    assert config.routers[0].exec.prefix == ()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ["line 1: must be a mapping with routers, nodes and targets"]),
        ("- a\n", ["line 1: must be a mapping with routers, nodes and targets"]),
        (ROUTERS + NODES, ["line 1: targets: is missing"]),
        ("target: []\n" + GOOD, ["line 1: target: unknown key (did you mean targets?); allowed here: modules, nodes, probing, resolvers, routers, targets"]),
        ("routers: []\n" + NODES + TARGETS, ["line 1: routers: is empty; name at least one"]),
        (GOOD + "nodes: []\n", ["line 7: nodes: stands here twice (first on line 3); keep one of them"]),
        # probing
        ("probing: {intervall: 15s}\n" + GOOD, ["line 1: probing.intervall: unknown key (did you mean interval?); allowed here: direct_steering, interval, source_addresses, source_ports, steering, timeout"]),
        ("probing: {interval: 15}\n" + GOOD, ["line 1: probing.interval: write a duration with its unit, like 15s"]),
        ("probing: {interval: 15 s}\n" + GOOD, ["line 1: probing.interval: '15 s' is no duration; write it like 15s, 1m30s or 250ms"]),
        ("probing: {interval: 0s}\n" + GOOD, ["line 1: probing.interval: must be longer than 0"]),
        ("probing:\n  timeout: 3s\n  source_ports: 80-90\n" + GOOD, ["line 3: probing.source_ports: ports run from 1024 to 65535, the lower one first"]),
        ("probing: {source_ports: 20000}\n" + GOOD, ["line 1: probing.source_ports: write a range of ports like 20000-28191"]),
        ("probing: {source_ports: 30000-20000}\n" + GOOD, ["line 1: probing.source_ports: ports run from 1024 to 65535, the lower one first"]),
        ("probing: {source_addresses: [10.0.0.300]}\n" + GOOD, ["line 1: probing.source_addresses[0]: '10.0.0.300' is no IP address"]),
        ("probing: {steering: fast}\n" + GOOD, ["line 1: probing.steering: must be 'auto', 'oracle', 'trace', 'identity' or 'sweep'"]),
        ("probing: {steering: identity}\n" + GOOD, ["line 7: targets[0]: steering is identity, so every target needs an identity"]),
        # known to the contract, not built yet
        ("kubernetes: {kubeconfig: x}\n" + GOOD, ["line 1: kubernetes: known, but not supported yet (nodes and targets from the cluster's API)"]),
        (router("platform: frr, https: {url: 'https://10.0.0.1', username: u, password_file: p}"), ["line 2: routers[0].https: platform frr is read over exec or ssh, not over https"]),
        (router("platform: frr, https: {url: 'http://10.0.0.1', username: u, password_file: p}"), ["line 2: routers[0].https: platform frr is read over exec or ssh, not over https", "line 2: routers[0].https.url: 'http://10.0.0.1' must be a URL like https://10.0.0.1, without a user"]),
        (router("platform: routeros, https: {url: 'https://10.0.0.1/rest/', username: u, password_file: p}"), ["line 2: routers[0].https.url: leave /rest out: the questions to platform routeros begin with it"]),
        (router("platform: opnsense, https: {url: 'https://10.0.0.1/api', username: u, password_file: p}"), ["line 2: routers[0].https.url: leave /api out: the questions to platform opnsense begin with it"]),
        # modules
        ("modules: {m: {prober: gopher}}\n" + GOOD, [f"line 1: modules.m.prober: must be one of {PROBER_NAMES}"]),
        ("modules: {m: {}}\n" + GOOD, [f"line 1: modules.m.prober: must be one of {PROBER_NAMES}"]),
        ("modules: {m: ssh}\n" + GOOD, ["line 1: modules.m: must be a mapping with prober"]),
        ("modules: []\n" + GOOD, ["line 1: modules: must be a mapping from a module's name to its settings"]),
        ("modules: {m: {prober: http, htpp: {}}}\n" + GOOD, ["line 1: modules.m.htpp: unknown key (did you mean http?); allowed here: prober, timeout, http"]),
        ("modules: {m: {prober: http, timeout: 5}}\n" + GOOD, ["line 1: modules.m.timeout: write a duration with its unit, like 5s"]),
        ("modules:\n  m:\n    prober: http\n    http:\n      method: GET\n      proxy_url: http://p\n      no_proxy: x\n" + GOOD, [f"line 6: modules.m.http.proxy_url: proxy_url is known to blackbox_exporter, but not supported: {NO_PROXY}", f"line 7: modules.m.http.no_proxy: no_proxy is known to blackbox_exporter, but not supported: {NO_PROXY}"]),
        ("modules:\n  m:\n    prober: http\n    http:\n      method: GE T\n      headers:\n        A: a\n        X Y: b\n" + GOOD, ["line 5: modules.m.http.method: is no method: write one word in capital letters, like GET, HEAD or POST", "line 8: modules.m.http.headers.X Y: is no name of a header: letters, digits and ! # $ % & ' * + - . ^ _ ` | ~, without spaces"]),
        ('modules: {m: {prober: http, http: {headers: {X-A: "a\\r\\nb"}}}}\n' + GOOD, ["line 1: modules.m.http.headers.X-A: holds a control character, such as the end of a line"]),
        ("modules: {m: {prober: tcp, tcp: {query_response: [{expect: x, labels: [{name: a-b}]}]}}}\n" + GOOD, ["line 1: modules.m.tcp.query_response[0].labels[0].name: is no name of a label: letters, digits and _, the first one no digit"]),
        ("modules:\n  m:\n    prober: tcp\n    tcp:\n      tls_config:\n        ca_ref: x\n        cert: junk\n" + GOOD, ["line 6: modules.m.tcp.tls_config.ca_ref: ca_ref is known to Prometheus, but there is no secrets manager here; use ca_file"]),
        ("modules:\n  m:\n    prober: tcp\n    tcp:\n      tls_config:\n        key_file: x\n        cert: junk\n" + GOOD, ["line 7: modules.m.tcp.tls_config.cert: is no certificate in PEM form, which begins with -----BEGIN CERTIFICATE-----; for a path there is the key of this name with _file"]),
        # routers
        (router("platform: frr"), ["line 2: routers[0]: give exactly one of ssh, exec, https"]),
        (router("platform: frr, exec: {}, ssh: {host: h, username: u}"), ["line 2: routers[0]: give exactly one of ssh, exec, https"]),
        (router("platform: ios, exec: {}"), [f"line 2: routers[0].platform: must be one of {READ}"]),
        (router("platform: frr, ssh: {host: 10.0.0.1}"), ["line 2: routers[0].ssh.username: is missing"]),
        (router("platform: frr, ssh: {host: 10.0.0.1, user: u}"), ["line 2: routers[0].ssh.username: is missing", "line 2: routers[0].ssh.user: unknown key (did you mean username?); allowed here: client_keys, host, known_hosts, password_file, port, username"]),
        (router("platform: frr, ssh: {host: 'a b', username: u}"), ["line 2: routers[0].ssh.host: 'a b' is neither an IP address nor a DNS name"]),
        ("routers:\n  - {name: edge, platform: frr, exec: {}}\n  - {name: edge, platform: frr, exec: {}}\n" + NODES + TARGETS, ["line 3: routers[1].name: 'edge' is already routers[0]; each needs a name of its own"]),
        # nodes
        (node("name: n1"), ["line 4: nodes[0]: give either address or addresses"]),
        (node("name: n1, address: 10.0.0.1, addresses: [10.0.0.2]"), ["line 4: nodes[0]: give either address or addresses"]),
        (node("name: n1, address: n1.example.org"), ["line 4: nodes[0].address: 'n1.example.org' is no IP address"]),
        (node("name: n 1, address: 10.0.0.1"), ["line 4: nodes[0].name: must be 1 to 63 letters, digits and . _ : / -"]),
        (ROUTERS + "nodes:\n  - {name: a, address: 10.0.0.1}\n  - {name: b, addresses: [10.0.0.2, 10.0.0.1]}\n" + TARGETS, ["line 5: nodes[1].addresses: 10.0.0.1 already belongs to node a"]),
        # targets
        (target("module: htp_2xx"), ["line 6: targets[0].module: no module 'htp_2xx' (did you mean http_2xx?); there are http_2xx, https_2xx, ssh_banner"]),
        (target("module: http_2xx, nodes: [n2]"), ["line 6: targets[0].nodes[0]: no node 'n2'; there are n1"]),
        (target("module: http_2xx, nodes: []"), ["line 6: targets[0].nodes: is empty; leave it out for every node"]),
        (target("module: http_2xx, identity: {banner: '(.*)'}"), ["line 6: targets[0].identity.banner: prober http has no banner; it can tell a node by body, header"]),
        (target("module: ssh_banner, identity: {header: X}"), ["line 6: targets[0].identity.header: prober ssh has no header; it can tell a node by banner, host_key"]),
        (target(f"module: ssh_banner, identity: {{host_key: x, map: {{'{KEY}': n1}}}}"), [f"line 6: targets[0].identity.host_key: write true, or the algorithm to ask for: {ALGORITHM_NAMES}"]),
        (target(f"module: ssh_banner, identity: {{host_key: false, map: {{'{KEY}': n1}}}}"), [f"line 6: targets[0].identity.host_key: write true, or the algorithm to ask for: {ALGORITHM_NAMES}"]),
        (target(f"module: ssh_banner, identity: {{host_key: '', map: {{'{KEY}': n1}}}}"), [f"line 6: targets[0].identity.host_key: write true, or the algorithm to ask for: {ALGORITHM_NAMES}"]),
        (target(f"module: ssh_banner, identity: {{host_key: 1, map: {{'{KEY}': n1}}}}"), [f"line 6: targets[0].identity.host_key: write true, or the algorithm to ask for: {ALGORITHM_NAMES}"]),
        (target(f"module: ssh_banner, identity: {{host_key: [true], map: {{'{KEY}': n1}}}}"), [f"line 6: targets[0].identity.host_key: write true, or the algorithm to ask for: {ALGORITHM_NAMES}"]),
        (target("module: ssh_banner, identity: {host_key: true}"), ["line 6: targets[0].identity: host_key needs a map from each node's fingerprint to its name: {'SHA256:...': node}"]),
        (target(f"module: ssh_banner, identity: {{host_key: true, map: {{'{KEY}=': n1}}}}"), [f"line 6: targets[0].identity.map.{KEY}=: is no fingerprint as ssh-keygen -lf prints it: SHA256: and 43 letters, digits and + /"]),
        (target("module: ssh_banner, identity: {host_key: true, map: {'MD5:11:22': n1}}"), ["line 6: targets[0].identity.map.MD5:11:22: is no fingerprint as ssh-keygen -lf prints it: SHA256: and 43 letters, digits and + /"]),
        (target(f"module: ssh_banner, identity: {{host_key: true, map: {{'{KEY}': n2}}}}"), [f"line 6: targets[0].identity.map.{KEY}: no node 'n2'; there are n1"]),
        (target(f"module: ssh_banner, identity: {{host_key: true, banner: '(x)', map: {{'{KEY}': n1}}}}"), ["line 6: targets[0].identity: give exactly one of header, body, banner, host_key"]),
        (target(f"module: http_2xx, identity: {{host_key: true, map: {{'{KEY}': n1}}}}"), ["line 6: targets[0].identity.host_key: prober http has no host_key; it can tell a node by body, header"]),
        (target("module: ssh_banner, identity: {banner: 'x'}"), ["line 6: targets[0].identity: 'x' must be a pattern with exactly one group"]),
        (target("module: ssh_banner, identity: {banner: '('}"), ["line 6: targets[0].identity: '(' is no regular expression (RE2 syntax): missing ): ("]),
        (target("module: http_2xx, identity: {}"), ["line 6: targets[0].identity: give exactly one of header, body, banner, host_key"]),
        (target("module: http_2xx, identity: {header: X, map: {a: n9}}"), ["line 6: targets[0].identity.map.a: no node 'n9'; there are n1"]),
        (ROUTERS + NODES + "targets:\n  - {name: web, address: 1.2.3, port: 80, module: http_2xx}\n", ["line 6: targets[0].address: '1.2.3' is neither an IP address nor a DNS name"]),
        (ROUTERS + NODES + "targets:\n  - {name: web, address: 203.0.113.1, port: 0, module: http_2xx}\n", ["line 6: targets[0].port: Input should be greater than or equal to 1"]),
        (ROUTERS + NODES + 'targets:\n  - {name: web, address: 203.0.113.1, port: "80", module: http_2xx}\n', ["line 6: targets[0].port: must be a valid integer"]),
        (ROUTERS + NODES + "targets:\n  web: {}\n", ["line 5: targets: must be a list"]),
    ],
)  # fmt: skip
def test_bad_files(text: str, expected: list[str]) -> None:
    assert [error.replace("Input should be", "must be") for error in errors(text)] == [
        one.replace("Input should be", "must be") for one in expected
    ]


def test_every_error_at_once_in_the_order_of_the_file() -> None:
    text = (
        "probing:\n  interval: 0s\n  steering: guess\nkubernetes: {}\n"
        "routers:\n  - {name: edge, platform: nothing, exec: {}}\n"
        "nodes:\n  - {name: a, address: x}\n"
        "targets:\n  - {name: web, address: 203.0.113.1, port: 99999, module: none, nodes: [b], extra: 1}\n"
        "bogus: 1\n"
    )
    found = errors(text)
    lines = [int(error.split(":")[0].removeprefix("line ")) for error in found]
    assert lines == sorted(lines)
    assert lines == [2, 3, 4, 6, 8, 10, 10, 10, 10, 11]


def test_a_module_may_replace_a_built_in_one() -> None:
    config = loads("modules: {http_2xx: {prober: http, timeout: 1m, http: {fail_if_not_ssl: true}}}\n" + GOOD)
    assert config.modules["http_2xx"].timeout == 60.0
    assert config.modules["http_2xx"].settings.model_dump()["fail_if_not_ssl"] is True


def test_addresses_are_compared_as_addresses() -> None:
    text = (
        ROUTERS + 'nodes:\n  - {name: a, address: "2001:db8::1"}\n  - {name: b, address: "2001:0db8:0::1"}\n' + TARGETS
    )
    (error,) = errors(text)
    assert "already belongs to node a" in error


def test_a_file(tmp_path: Path) -> None:
    path = tmp_path / "ecmp-exporter.yml"
    path.write_text(DESIGN)
    assert load(path) == loads(DESIGN)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read: No such file or directory"),
        (b"nodes: \xff\xfe\n", "is not UTF-8 text"),
        (b"#" * (MAX_BYTES + 1), f"is larger than {MAX_BYTES >> 20} MiB"),
    ],
)
def test_files_that_cannot_be_read(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "f.yml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert str(caught.value) == f"{path}: {message}"


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load(tmp_path)


def test_what_is_shown_can_be_loaded_again() -> None:
    config = loads(DESIGN)
    assert loads(shown(config)) == config


def test_the_query_of_a_path_is_not_shown() -> None:
    modules = (
        "modules:\n  m: {prober: http, http: {path: '/x?token=sesame'}}\n  n: {prober: http, http: {path: /plain}}\n"
    )
    text = shown(loads(modules + GOOD))
    assert "path: /x?<hidden>" in text
    assert "path: /plain" in text
    assert "sesame" not in text
    loads(text)
