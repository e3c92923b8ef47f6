from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser

from exporter.page import render
from exporter.status import Status
from tests.exporter.statuses import status_of

VOID = {"meta", "br", "hr", "link", "img", "input"}
HOSTILE = '"><script>alert(1)</script><img/src=x/onerror=alert(2)>'  # without a blank: names are words here


class Document(HTMLParser):
    """What a browser would make of the page: its elements, their attributes, and the text."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += f"{data} "


def page_of(status: Status, prefix: str = "") -> Document:
    return Document(render(status, prefix, ready=True))


def test_the_outage_is_told_at_the_top() -> None:
    page = page_of(status_of())
    assert "leviathan3 is unreachable" in page.text
    assert "edge has no BGP neighbor 10.0.0.13 (leviathan3)" in page.text
    assert "neighbor 10.0.0.13 remote-as 64513" in page.text
    assert "1 of 3 nodes not ok" in page.text


def test_all_is_well() -> None:
    page = page_of(status_of({}))
    assert "All 3 nodes can be reached on every path." in page.text
    assert "all nodes ok" in page.text


def test_before_the_first_round() -> None:
    assert "The first round has not ended yet." in Document(render(status_of({}), "", ready=False)).text


def test_links_stand_under_the_prefix() -> None:
    links = [value for name, value in page_of(status_of(), "/ecmp").attributes if name == "href"]
    assert links == ["/ecmp/history", "/ecmp/metrics", "/ecmp/api/v1/status", "/ecmp/api/v1/events", "/ecmp/config"]


def test_steering_is_told_for_each_vip() -> None:
    status = status_of({"routers": {"edge": {"fib": ["leviathan1", "leviathan2"]}}})
    text = " ".join(page_of(status).text.split())
    assert "why none stronger git 203.0.113.22:22 edge trace 0.95 2 of 2 five tuple even the router cannot" in text


def test_steering_that_found_something_wrong() -> None:
    status = status_of({})
    hops = tuple(replace(hop, sources=()) for hop in status.steering[0].hops)
    odd = replace(status.steering[0], hops=hops, hashing="per_packet", polarised=True, method="sweep")
    text = " ".join(page_of(replace(status, steering=(odd,))).text.split())
    assert "edge sweep - 0 of 3 per packet polarised" in text
    unknown = replace(odd, hashing="unknown", polarised=None)
    assert "unknown too few flows" in " ".join(page_of(replace(status, steering=(unknown,))).text.split())


def test_one_next_hop_has_nothing_to_hash_and_no_shares() -> None:
    text = " ".join(page_of(status_of({"routers": {"edge": {"fib": ["leviathan1"]}}})).text.split())
    assert "git 203.0.113.22:22 edge single 0.95 1 of 1 - - " in text


def test_hostile_text_is_text() -> None:
    """Router errors, probe details and names come from elsewhere: none of it becomes an element."""
    case = {
        "nodes": {HOSTILE: ["10.0.0.1"], "b": ["10.0.0.2"], "c": ["10.0.0.3"]},
        "targets": {f"t{HOSTILE}": {"vips": ["203.0.113.22"]}},
        "routers": {
            "edge": {
                "sessions": {"b": {"state": "Idle", "last_error": HOSTILE}},
                "problems": [HOSTILE],
            }
        },
        "probes": {"c": {"failure": "protocol", "connected": True, "detail": HOSTILE}},
    }
    status = status_of(case)
    told = [replace(one, why_not_stronger=HOSTILE, method=HOSTILE, hashing=HOSTILE) for one in status.steering]
    assert told
    calm, page = page_of(status_of({})), page_of(replace(status, steering=tuple(told)))
    assert set(page.elements) <= {*calm.elements, "pre", "b", "span", "p"}
    assert "script" not in page.elements
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert page.text.count("<script>alert(1)</script>") > 5


def test_an_unknown_router() -> None:
    page = page_of(status_of({"routers": {"edge": {"snapshot": False}}}))
    assert "router_unknown" in page.text
    assert "never" in page.text
