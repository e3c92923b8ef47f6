"""`routers --capture` and `--replay`: a router made of a fixture, asked by the real command line over exec."""

from __future__ import annotations

import json
import stat
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter import captured, cli
from exporter.router_tables import to_json
from routers import bird, frr
from routers.captures import CaptureError, read_answers, written
from routers.linux import oracle as linux_oracle
from routers.model import Answer, OracleFlow
from tests.routers.captured import FIXTURES, QUERY, VIP, answers

CONFIG = """\
probing: {{interval: 1s, timeout: 200ms, source_addresses: [192.0.2.2]}}
routers:
  - {{name: edge, platform: {platform}, exec: {{prefix: [{python}, {script}]}}}}
nodes:
  - {{name: leviathan1, address: 10.0.0.11}}
  - {{name: leviathan2, address: 10.0.0.12}}
  - {{name: leviathan3, address: 10.0.0.13}}
targets:
  - {{name: git, address: 203.0.113.10, port: 22, module: ssh_banner}}
  - {{name: git6, address: "2001:db8:f::10", port: 22, module: ssh_banner}}
"""
# Answers with what the fixture holds for the command; it has no shell, so that each comes on its own.
ROUTER = """\
import json, sys
table = json.load(open({table!r}))
stdin = sys.stdin.read()
found = table.get(json.dumps(sys.argv[1:])) or table.get(json.dumps([*sys.argv[1:], stdin]))
if found is None:
    sys.exit(127)
sys.stdout.write(found[0]); sys.stderr.write(found[1]); sys.exit(found[2])
"""
RULES = '[{"priority":0,"src":"all","table":"local"},{"priority":32766,"src":"all","table":"main"}]\n'
FLOWS = [OracleFlow("192.0.2.2", port, VIP, 22) for port in range(20000, 20008)]


def router(tmp_path: Path, platform: str, scenario: str, **changed: str) -> Path:
    """The configuration of an exporter whose router says what a fixture says."""
    module = {"frr": frr, "bird": bird}[platform]
    said = answers(platform, scenario)
    said |= {f"kernel {'IPv6 ' if v6 else ''}policy rules": Answer(RULES) for v6 in (False, True)}
    said |= {name: Answer(f"{said[name].stdout}{text}") for name, text in changed.items()}
    commands = (*module.ask(QUERY), *module.follow_up(QUERY, said))
    table = {
        json.dumps([*one.argv, *((one.stdin,) if one.stdin is not None else ())]): _row(said[one.name])
        for one in commands
        if one.name in said
    }
    way_back = Answer('[{"dst":"192.0.2.2","dev":"cli0"}]\n')
    (prepared,) = linux_oracle.prepare(FLOWS)
    (asked,) = linux_oracle.ask(FLOWS, {prepared.name: way_back})
    hops = "".join(
        json.dumps([{"dst": VIP, "from": "192.0.2.2", "gateway": f"10.0.0.1{number % 3 + 1}", "dev": "br0"}]) + "\n"
        for number in range(len(FLOWS))
    )
    table[json.dumps(list(prepared.argv))] = _row(way_back)
    table[json.dumps([*asked.argv, asked.stdin])] = _row(Answer(hops))
    (tmp_path / "table.json").write_text(json.dumps(table))
    script = tmp_path / "router.py"
    script.write_text(ROUTER.format(table=str(tmp_path / "table.json")))
    config = tmp_path / "ecmp-exporter.yml"
    config.write_text(CONFIG.format(platform=platform, python=sys.executable, script=script))
    return config


def _row(answer: Answer) -> list[str | int]:
    return [answer.stdout, answer.stderr, answer.exit_status]


def take(config: Path, directory: Path, *more: str) -> int:
    return cli.main(["routers", "edge", f"--config.file={config}", "--capture", str(directory), *more])


@pytest.mark.parametrize(("platform", "scenario"), [("frr", "healthy"), ("bird", "path_limit"), ("frr", "wrong_as")])
def test_a_replay_prints_what_the_router_did(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], platform: str, scenario: str
) -> None:
    config, directory = router(tmp_path, platform, scenario), tmp_path / "new" / "capture"
    assert take(config, directory) == 0
    live = capsys.readouterr()
    assert "leviathan1" in live.out
    assert f"{directory}: " in live.err
    config.unlink()  # neither file nor router is needed any more
    (tmp_path / "router.py").unlink()
    assert cli.main(["routers", "edge", "--replay", str(directory)]) == 0
    assert capsys.readouterr().out == live.out
    assert cli.main(["routers", "somebody", "--replay", str(directory)]) == 0
    assert capsys.readouterr().out == live.out.replace("edge (", "somebody (")


@pytest.mark.parametrize("output", ["table", "json"])
def test_a_router_that_told_nothing_is_captured_all_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], output: str
) -> None:
    """That is when somebody wants to know why."""
    config, directory = router(tmp_path, "frr", "healthy"), tmp_path / "capture"
    (tmp_path / "table.json").write_text("{}")
    assert take(config, directory, f"--output={output}") == 1
    live = capsys.readouterr().out
    assert "no answer" in live
    assert cli.main(["routers", "edge", "--replay", str(directory), f"--output={output}"]) == 1
    assert capsys.readouterr().out == live


def test_a_replay_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config, directory = router(tmp_path, "frr", "healthy"), tmp_path / "capture"
    assert take(config, directory, "--output=json", "--oracle") == 0
    live = json.loads(capsys.readouterr().out)
    assert cli.main(["routers", "--replay", str(directory), "--output=json", "--oracle"]) == 0
    assert json.loads(capsys.readouterr().out) == live
    (shown,) = live["routers"]
    assert (shown["name"], shown["platform"], shown["up"], shown["problems"]) == ("edge", "frr", True, [])
    tables = shown["tables"]
    assert {one["node"] for one in tables["sessions"]} == {"leviathan1", "leviathan2", "leviathan3"}
    assert sorted(hop["address"] for hop in tables["fib"][VIP]["next_hops"]) == ["10.0.0.11", "10.0.0.12", "10.0.0.13"]
    assert [one["next_hop"]["address"] for one in shown["flows"][:3]] == ["10.0.0.11", "10.0.0.12", "10.0.0.13"]


def test_the_flows_of_the_oracle_are_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config, directory = router(tmp_path, "frr", "healthy"), tmp_path / "capture"
    assert take(config, directory, "--oracle") == 0
    live = capsys.readouterr().out
    assert "tcp 192.0.2.2:20000 to 203.0.113.10:22 10.0.0.11 dev br0" in " ".join(live.split())
    assert cli.main(["routers", "edge", "--replay", str(directory), "--oracle"]) == 0
    assert capsys.readouterr().out == live
    assert cli.main(["routers", "edge", "--replay", str(directory)]) == 0
    assert "tcp 192.0.2.2" not in capsys.readouterr().out


def test_what_is_written(tmp_path: Path) -> None:
    config, directory = router(tmp_path, "frr", "healthy"), tmp_path / "capture"
    take(config, directory)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    files = {path.name: path for path in directory.iterdir()}
    assert sorted(files) == ["answers.txt", "manifest.json"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files.values()} == {0o600}
    kept = read_answers(files["answers.txt"].read_bytes().decode())
    for name, answer in answers("frr", "healthy").items():
        assert kept[name] == answer
    manifest = json.loads(files["manifest.json"].read_text())
    assert manifest["platform"] == "frr"
    assert manifest["program"]
    assert manifest["query"]["vips"] == [VIP, "2001:db8:f::10"]
    assert manifest["query"]["nodes"] == ["10.0.0.11", "10.0.0.12", "10.0.0.13"]
    assert {"name": "kernel neighbor table", "argv": ["ip", "-j", "neigh", "show"]} in manifest["commands"]
    assert not manifest["anonymised"]


@pytest.mark.parametrize("spelled", ["--anonymise", "--anonymize"])
def test_anonymised(tmp_path: Path, capsys: pytest.CaptureFixture[str], spelled: str) -> None:
    config, directory = router(tmp_path, "frr", "healthy"), tmp_path / "capture"
    assert take(config, directory, spelled) == 0
    live = capsys.readouterr().out
    text = "".join(path.read_text() for path in directory.iterdir())
    for word in ("203.0.113.10", "10.0.0.11", "10.0.0.13", "2001:db8:f::10", "leviathan", "192.0.2.2"):
        assert word not in text
    assert cli.main(["routers", "edge", "--replay", str(directory)]) == 0
    shown = capsys.readouterr().out
    assert shown.count("Established") == live.count("Established") == 3
    assert shown.count(" yes ") == live.count(" yes ")
    assert "203.0.113.10" not in shown


def test_a_capture_is_made_anonymous_afterwards(tmp_path: Path) -> None:
    config = router(tmp_path, "frr", "healthy")
    first, second = tmp_path / "first", tmp_path / "second"
    take(config, first)
    assert cli.main(["routers", "--replay", str(first), "--capture", str(second), "--anonymise"]) == 0
    assert "203.0.113.10" in (first / "answers.txt").read_text()
    assert "203.0.113.10" not in (second / "answers.txt").read_text()
    assert captured.load(second).manifest.anonymised


@pytest.mark.parametrize("more", [[], ["--anonymise"]])
def test_secrets_never_reach_the_disk(tmp_path: Path, more: list[str]) -> None:
    config = router(tmp_path, "frr", "healthy", **{"vtysh optional": " neighbor 10.0.0.13 password 7 0822455D0A16\n"})
    take(config, tmp_path / "capture", *more)
    text = (tmp_path / "capture" / "answers.txt").read_text()
    assert "0822455D0A16" not in text
    assert "password 7 removed" in text


def test_a_directory_that_holds_something_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config, directory = router(tmp_path, "frr", "healthy"), tmp_path / "capture"
    directory.mkdir()
    assert take(config, directory) == 0  # an empty one will do
    capsys.readouterr()
    assert take(config, directory) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"{directory} is not empty (")
    assert "give a directory that does not exist yet" in said


def test_a_router_that_cannot_be_asked_leaves_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config, directory = router(tmp_path, "frr", "healthy"), tmp_path / "capture"
    config.write_text(config.read_text().replace(sys.executable, "/nonexistent/router"))
    assert take(config, directory) == 2
    assert "nothing was captured: " in capsys.readouterr().err
    assert not directory.exists()


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_place_that_cannot_be_written(tmp_path: Path, place: str, capsys: pytest.CaptureFixture[str]) -> None:
    config = router(tmp_path, "frr", "healthy")
    (tmp_path / "file").write_text("x")
    assert take(config, tmp_path / place) == 2
    assert f"{tmp_path / place}: a capture cannot be written there: " in capsys.readouterr().err


def test_flags_that_make_no_sense_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = router(tmp_path, "frr", "healthy")
    assert cli.main(["routers", f"--config.file={config}", "--anonymise"]) == 2
    assert "--anonymise is for a capture" in capsys.readouterr().err
    take(config, tmp_path / "capture")
    capsys.readouterr()
    assert cli.main(["routers", "--replay", str(tmp_path / "capture"), "--oracle"]) == 2
    assert "no flows were asked about: take the capture with --oracle, too" in capsys.readouterr().err


def test_of_several_routers_one_is_captured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = router(tmp_path, "frr", "healthy")
    text = config.read_text()
    line = next(line for line in text.splitlines() if "name: edge" in line)
    config.write_text(text.replace(line, f"{line}\n{line.replace('edge', 'core')}"))
    assert cli.main(["routers", f"--config.file={config}", "--capture", str(tmp_path / "x")]) == 2
    assert capsys.readouterr().err == "which router is to be captured? There are edge, core\n"


def broken(directory: Path, name: str, change: bytes | None) -> None:
    path = directory / name
    path.unlink() if change is None else path.write_bytes(change)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("answers.txt", None, "answers.txt is missing, so the capture is not complete: take it again with"),
        ("manifest.json", None, "manifest.json is missing, so the capture is not complete"),
        ("answers.txt", b"", "answers.txt:1: no section: each answer stands below a line like"),
        (
            "answers.txt",
            b"===== a\nx\n===== a stderr\n\xff\n",
            "answers.txt:4: this is no UTF-8: save the file as UTF-8",
        ),
        ("answers.txt", b"x\n", "answers.txt:1: this stands above the first heading"),
        ("manifest.json", b'{"format": 1,\n"platform" 5}', "manifest.json:2: "),
        ("manifest.json", b"", "manifest.json:1: empty: mend it, or take the capture again"),
        (
            "manifest.json",
            b'{"format": 1,\n"platform": "vms", "router": "x", "taken_at": 1, "query": {"vips": []}}',
            "manifest.json: platform 'vms' is none that this release reads: write one of ",
        ),
        ("oracle.txt", b"x", "oracle.txt:1: this stands above"),
    ],
)
def test_a_broken_capture_gives_one_clear_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, change: bytes | None, message: str
) -> None:
    config, directory = router(tmp_path, "frr", "healthy"), tmp_path / "capture"
    take(config, directory)
    broken(directory, name, change)
    capsys.readouterr()
    assert cli.main(["routers", "edge", "--replay", str(directory)]) == 2
    said = capsys.readouterr()
    assert said.err.startswith(f"{directory}/{message}")
    assert said.err.count("\n") == 1
    assert said.out == ""


def test_no_directory_at_all(tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match="is no directory: give the one that"):
        captured.load(tmp_path / "nowhere")


def test_an_answer_that_was_lost_is_a_problem_and_not_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, directory = router(tmp_path, "frr", "healthy"), tmp_path / "capture"
    take(config, directory)
    kept = read_answers((directory / "answers.txt").read_text())
    (directory / "answers.txt").write_text(written({name: one for name, one in kept.items() if "FIB" not in name}))
    capsys.readouterr()
    assert cli.main(["routers", "edge", "--replay", str(directory)]) == 0
    assert "kernel FIB: not asked" in capsys.readouterr().out


def test_what_a_capture_says_moves_no_cursor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config, directory = router(tmp_path, "frr", "wrong_as"), tmp_path / "capture"
    take(config, directory)
    text = (directory / "answers.txt").read_text()
    (directory / "answers.txt").write_text(text.replace("Bad Peer AS", "Bad\\u001b[2J AS").replace("br0", "b\\u001br0"))
    capsys.readouterr()
    assert cli.main(["routers", "edge", "--replay", str(directory)]) == 0
    said = capsys.readouterr().out
    assert "Bad?[2J AS" in said
    assert "\x1b" not in said


def test_what_is_too_long_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, directory = router(tmp_path, "frr", "healthy"), tmp_path / "capture"
    take(config, directory)
    monkeypatch.setattr(captured, "MAX_BYTES", 1000)
    with pytest.raises(CaptureError, match="is longer than 1000 bytes"):
        captured.load(directory)
    assert take(config, tmp_path / "other") == 2
    assert not (tmp_path / "other").exists()


@settings(max_examples=150, deadline=None)
@given(
    name=st.sampled_from(["answers.txt", "manifest.json", "oracle.txt"]),
    at=st.floats(0, 1),
    cut=st.integers(0, 300),
    put=st.binary(max_size=40),
)
def test_a_damaged_capture_is_read_or_refused(name: str, at: float, cut: int, put: bytes) -> None:
    """Whatever was lost in a mail or an editor: one sentence, or what is left of it."""
    source = FIXTURES / "frr" / "vrf"
    with tempfile.TemporaryDirectory() as place:
        directory = Path(place)
        for path in source.iterdir():
            content = path.read_bytes()
            where = int(at * len(content))
            changed = content[:where] + put + content[where + cut :] if path.name == name else content
            (directory / path.name).write_bytes(changed)
        refused = ""
        try:
            replayed = captured.replay(captured.load(directory), None)
            to_json([replayed.router], {replayed.router.name: replayed.snapshot}, {})
        except CaptureError as error:
            refused = str(error)
    assert not refused or (refused.startswith(f"{place}/{name}") and "\n" not in refused)
