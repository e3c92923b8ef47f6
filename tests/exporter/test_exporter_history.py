from __future__ import annotations

from dataclasses import replace

from exporter.history import MOST_CHARACTERS, MOST_RECORDS, History, Shelf
from exporter.history_page import render, render_record
from probes.model import Failure, Flow, Outcome
from tests.exporter.scenario import NOW
from tests.exporter.test_exporter_page import HOSTILE, Document

FLOW = Flow("203.0.113.10", 443, "192.0.2.1", 20001)
GOOD = Outcome(FLOW, True, None, "", 0.004, {"connect": 0.001}, transcript=("   0.004 s  success",))
BAD = replace(GOOD, success=False, failure=Failure.TIMEOUT, detail="TCP handshake: no end within 3 s")


def add(history: History, outcome: Outcome, target: str = "web") -> None:
    history.add(NOW, target, "https_2xx", "edge", "leviathan1", outcome)


def test_failures_stay_when_results_go() -> None:
    history = History()
    add(history, BAD)
    for _ in range(MOST_RECORDS):
        add(history, GOOD)
    assert BAD not in [record.outcome for record in history.results.newest_first()]
    assert [record.outcome for record in history.failures.newest_first()] == [BAD]
    assert history.get(1) is history.failures.newest_first()[0]
    assert history.get(2) is not None
    assert history.get(10_000) is None


def test_newest_first() -> None:
    history = History()
    for target in ("web", "git", "web"):
        add(history, GOOD, target)
    assert [record.number for record in history.results.newest_first()] == [3, 2, 1]


def test_a_loud_target_does_not_push_out_the_others() -> None:
    history = History()
    for target in ("calm", "still"):
        add(history, BAD, target)
    for _ in range(10 * MOST_RECORDS):
        add(history, BAD, "loud")
    kept = [record.target for record in history.failures.newest_first()]
    assert len(kept) == MOST_RECORDS
    assert {"calm", "still"} <= set(kept)


def test_ten_thousand_paths_with_much_to_say_stay_within_bounds() -> None:
    history = History()
    long = replace(BAD, transcript=("x" * 212,) * 64)
    for number in range(10_000):
        add(history, long, f"t{number % 50}")
    for shelf in (history.results, history.failures):
        kept = shelf.newest_first()
        assert 100 < len(kept) <= MOST_RECORDS
        assert sum(record.characters for record in kept) <= MOST_CHARACTERS
        assert shelf._count == len(kept)
        assert shelf._characters == sum(record.characters for record in kept)
        assert len({record.target for record in kept}) == 50


def test_a_record_that_is_too_large_alone_is_kept() -> None:
    shelf = Shelf(most_records=3, most_characters=10)
    history = History()
    history.results = shelf
    add(history, BAD)
    add(history, GOOD)
    assert [record.outcome for record in shelf.newest_first()] == [GOOD]


def test_what_is_rendered_does_not_change_meanwhile() -> None:
    history = History()
    add(history, BAD)
    kept = history.kept()
    before = render(kept, "")
    add(history, BAD)
    assert render(kept, "") == before != render(history.kept(), "")


def test_pages() -> None:
    history = History()
    add(history, GOOD)
    add(history, BAD)
    page = Document(render(history.kept(), "/ecmp"))
    assert "The last failures (1)" in page.text
    assert "The last results (2)" in page.text
    assert "TCP handshake: no end within 3 s" in page.text
    links = [value for name, value in page.attributes if name == "href"]
    assert links.count("/ecmp/history?id=2") == 2
    own = Document(render_record(history.get(2), "/ecmp"))
    assert "192.0.2.1 port 20001 to 203.0.113.10 port 443" in own.text
    assert "0.004 s success" in " ".join(own.text.split())
    assert "no probe of this number is kept any more" in Document(render_record(None, "")).text


def test_hostile_text_is_text() -> None:
    history = History()
    outcome = replace(BAD, detail=HOSTILE, transcript=(HOSTILE,), flow=Flow(HOSTILE, 1, HOSTILE, 1))
    history.add(NOW, HOSTILE, HOSTILE, HOSTILE, HOSTILE, outcome)
    calm = History()
    add(calm, BAD)
    for hostile, harmless in (
        (render(history.kept(), ""), render(calm.kept(), "")),
        (render_record(history.get(1), ""), render_record(calm.get(1), "")),
    ):
        page = Document(hostile)
        assert page.elements == Document(harmless).elements
        assert not [name for name, _ in page.attributes if name.startswith("on")]
        assert "<script>alert(1)</script>" in page.text
