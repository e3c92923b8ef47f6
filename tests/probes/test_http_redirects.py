from __future__ import annotations

from pathlib import Path

import pytest

from probes.http_request import MAX_REDIRECTS
from probes.model import Failure
from probes.ports import Source
from probes.table import Probers
from tests.probes.certificates import authority
from tests.probes.http_probe import Site, moved, page, probe
from tests.probes.servers import closed_port, serving

BASIC = {
    "basic_auth": {"username": "user", "password": "open sesame"},
    "headers": {"X-Token": "mellon", "Accept": "a/b"},
}


async def test_followed_on_the_same_connection(probers: Probers, source: Source) -> None:
    site = Site({"/": moved("/a/b?x=1"), "/a/b?x=1": moved("c"), "/a/c": page()})
    async with serving(site.serve) as port:
        outcome = await probe(probers, port, source=source, module={"fail_if_body_not_matches_regexp": ["hello"]})
    assert outcome.success, outcome.detail
    assert [request.split("\r\n")[0] for request in site.asked] == [
        "GET / HTTP/1.1",
        "GET /a/b?x=1 HTTP/1.1",
        "GET /a/c HTTP/1.1",
    ]
    assert len(site.connections) == 1
    assert site.peers == [source]
    assert list(outcome.phases) == ["connect", "processing", "transfer"]
    assert outcome.duration_seconds >= sum(outcome.phases.values())
    assert outcome.facts.http is not None
    assert (outcome.facts.http.redirects, outcome.facts.http.status_code) == (2, 200)
    assert any("< Location: /a/b?<hidden>" in line for line in outcome.transcript)


@pytest.mark.parametrize(
    ("location", "module"),
    [
        ("http://www.example.org:{port}/next", {}),
        ("http://WWW.Example.ORG.:{port}/next", {}),
        ("//127.0.0.1:{port}/next", {}),
        ("http://virtual.example:{port}/next", {"headers": {"Host": "virtual.example"}}),
    ],
)
async def test_absolute_within_the_origin(probers: Probers, location: str, module: dict[str, object]) -> None:
    pages = {"/next": page()}
    site = Site(pages)
    async with serving(site.serve) as port:
        pages["/"] = moved(location.format(port=port))
        outcome = await probe(probers, port, module=module)
    assert outcome.success, outcome.detail
    hosts = {line for request in site.asked for line in request.split("\r\n") if line.startswith("Host:")}
    assert len(hosts) == 1  # the name under which the target is known, all the way


async def test_same_flow_again_where_the_server_closes(probers: Probers, source: Source) -> None:
    site = Site({"/": moved("/next"), "/next": page()}, closing=True)
    async with serving(site.serve) as port:
        outcome = await probe(probers, port, source=source)
    assert outcome.success, outcome.detail
    assert site.peers == [source, source]
    assert outcome.flow.source_port == source.port
    assert any("once more" in line for line in outcome.transcript)


async def test_same_flow_again_where_the_server_says_that_it_closes(probers: Probers, source: Source) -> None:
    site = Site({"/": moved("/next", "Connection: close"), "/next": page()})
    async with serving(site.serve) as port:
        outcome = await probe(probers, port, source=source)
    assert outcome.success, outcome.detail
    assert len(set(site.peers)) == 1
    assert len(site.connections) == 2


async def test_loop_ends(probers: Probers) -> None:
    site = Site({"/": moved("/")})
    async with serving(site.serve) as port:
        outcome = await probe(probers, port)
    assert outcome.failure is Failure.EXPECTATION
    assert outcome.detail == f"status 302, a redirect to /, the last of {MAX_REDIRECTS + 1} redirects"
    assert len(site.asked) == MAX_REDIRECTS + 1
    assert "failure, expectation: status 302" in outcome.transcript[-1]
    assert sum("GET /" in line for line in outcome.transcript) == MAX_REDIRECTS + 1
    assert outcome.facts.http is not None
    assert outcome.facts.http.redirects == MAX_REDIRECTS + 1


@pytest.mark.parametrize(
    ("status", "method", "then", "body"),
    [
        ("301 Moved", "POST", "GET", ""),
        ("303 See Other", "PUT", "GET", ""),
        ("302 Found", "HEAD", "HEAD", ""),
        ("307 Temporary", "POST", "POST", "ping"),
        ("308 Permanent", "PUT", "PUT", "ping"),
    ],
)
async def test_method_and_body_after_a_redirect(
    probers: Probers, status: str, method: str, then: str, body: str
) -> None:
    text = "" if method == "HEAD" else "x"
    site = Site({"/": moved("/next", status=status, text=text), "/next": page(text)})
    asked = {
        "method": method,
        "headers": {"Content-Type": "text/plain"},
        **({} if method == "HEAD" else {"body": "ping"}),
    }
    async with serving(site.serve) as port:
        outcome = await probe(probers, port, module=asked)
    assert outcome.success, outcome.detail
    assert site.asked[1].startswith(f"{then} /next ")
    assert site.asked[1].endswith(f"\r\n\r\n{body}")
    assert ("Content-Type" in site.asked[1]) is bool(body)


async def test_cookies_come_back_within_the_origin(probers: Probers) -> None:
    site = Site({"/": moved("/next", "Set-Cookie: a=b; Path=/", "Set-Cookie: c=d"), "/next": page()})
    async with serving(site.serve) as port:
        outcome = await probe(probers, port)
    assert outcome.success, outcome.detail
    assert "Cookie" not in site.asked[0]
    assert "Cookie: a=b; c=d" in site.asked[1]
    assert not any("a=b" in line for line in outcome.transcript)


@pytest.mark.parametrize(
    ("location", "why"),
    [
        ("https://www.example.org/", "another scheme, another port"),
        ("http://other.example:{port}/", "another host"),
        ("http://www.example.org:9/", "another port"),
        ("//other.example/next", "another host, another port"),
    ],
)
async def test_off_the_path_is_not_followed(probers: Probers, location: str, why: str) -> None:
    pages: dict[str, bytes] = {}
    site = Site(pages)
    async with serving(site.serve) as port:
        pages["/"] = moved(location.format(port=port), status="301 Moved Permanently")
        outcome = await probe(probers, port)
        allowed = await probe(probers, port, module={"valid_status_codes": [200, 301]})
        left = await probe(probers, port, module={"follow_redirects": False})
        older = await probe(probers, port, module={"no_follow_redirects": True})
    assert outcome.failure is Failure.EXPECTATION
    assert outcome.detail.startswith("status 301, a redirect to ")
    assert f"which leaves the path ({why}) and is not followed" in outcome.detail
    assert allowed.success, allowed.detail
    assert "leaves the path" not in left.detail
    assert left.detail == older.detail
    assert left.facts.http is not None
    assert left.facts.http.redirects == 1  # as blackbox_exporter counts


@pytest.mark.parametrize(
    "location",
    ["http://[", "ftp://www.example.org/", "http://", "x" * 5000, "http://a:99999/", "//[fe80::1%lo]/", "http://\xff/"],
)
async def test_location_that_is_none(probers: Probers, location: str) -> None:
    head = b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: " + location.encode("latin-1") + b"\r\n\r\n"
    async with serving(Site({"/": head}).serve) as port:
        outcome = await probe(probers, port)
    assert outcome.failure in {Failure.PROTOCOL, Failure.EXPECTATION}, outcome.detail
    assert outcome.detail.isprintable()


async def test_path_that_looks_like_a_host_stays_a_path(probers: Probers) -> None:
    pages = {"//evil.example/x": page()}
    site = Site(pages)
    async with serving(site.serve) as port:
        pages["/"] = moved(f"http://www.example.org:{port}//evil.example/x")
        outcome = await probe(probers, port, leave_path=True)
    assert outcome.success, outcome.detail
    assert len(site.connections) == 1


async def test_octets_of_no_text_are_asked_for_as_they_came(probers: Probers) -> None:
    head = b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: /\xff \xc3\xa9\r\n\r\n"
    async with serving(Site({"/": head, "/%FF%20%C3%A9": page()}).serve) as port:
        outcome = await probe(probers, port)
    assert outcome.success, outcome.detail


async def test_redirect_without_location_is_an_answer(probers: Probers) -> None:
    site = Site({"/": page(status="304 Not Modified", text="")})
    async with serving(site.serve) as port:
        outcome = await probe(probers, port)
    assert outcome.detail == "status 304"


async def test_long_and_broken_bodies_of_redirects(probers: Probers, source: Source) -> None:
    broken = moved("/next")[:-2]
    long = moved("/next", text="x" * 200_000)
    for first in (broken, long):
        site = Site({"/": first, "/next": page()}, closing=True)
        async with serving(site.serve) as port:
            outcome = await probe(probers, port, source=source)
        assert outcome.success, outcome.detail
        assert set(site.peers) == {source}


async def test_leaving_the_path_where_that_is_allowed(probers: Probers) -> None:
    asked_for = []

    async def resolve(host: str) -> str:
        asked_for.append(host)
        return "127.0.0.1"

    there = Site({"/there": page("other")})
    pages: dict[str, bytes] = {}
    here = Site(pages)
    module = {**BASIC, "fail_if_body_not_matches_regexp": ["other"]}
    async with serving(here.serve) as port, serving(there.serve) as other_port:
        pages["/"] = moved(f"http://other.example:{other_port}/there", "Set-Cookie: a=b")
        outcome = await probe(probers, port, leave_path=True, resolve=resolve, module=module)
    assert outcome.success, outcome.detail
    assert asked_for == ["other.example"]
    assert outcome.flow.destination_port == port
    assert list(outcome.phases) == ["connect", "processing", "transfer", "resolve"]
    assert "Authorization: Basic" in here.asked[0]
    assert "X-Token: mellon" in here.asked[0]
    foreign = there.asked[0]
    assert f"Host: other.example:{other_port}" in foreign
    assert "Accept: a/b" in foreign
    for secret in ("Authorization", "X-Token", "Cookie"):
        assert secret not in foreign


async def test_credentials_go_to_another_port_of_the_host_but_never_from_https_to_http(
    probers: Probers, tmp_path: Path
) -> None:
    context = authority().server_context(tmp_path, "www.example.org")
    (tmp_path / "ca.pem").write_bytes(authority().pem())
    module = {**BASIC, "tls_config": {"ca_file": str(tmp_path / "ca.pem")}}
    pages: dict[str, bytes] = {}
    plain, secure = Site({"/": page()}), Site(pages)
    first = Site({})
    async with (
        serving(plain.serve) as plain_port,
        serving(secure.serve, tls=context) as secure_port,
        serving(first.serve) as port,
    ):
        first.pages = {"/": moved(f"https://www.example.org:{secure_port}/")}
        pages["/"] = moved(f"http://www.example.org:{plain_port}/")
        outcome = await probe(probers, port, leave_path=True, scheme="http", module=module)
    assert outcome.success, outcome.detail
    assert "Authorization" in secure.asked[0]
    assert "Authorization" not in plain.asked[0]
    assert outcome.facts.tls is not None
    assert outcome.facts.http is not None
    assert not outcome.facts.http.tls


async def test_name_that_nobody_knows(probers: Probers) -> None:
    async def fail(host: str) -> str:
        raise OSError(f"no address for {host}")

    site = Site({"/": moved("http://other.example/")})
    async with serving(site.serve) as port:
        unknown = await probe(probers, port, leave_path=True, resolve=fail)
        nobody = await probe(probers, port, leave_path=True)
    assert unknown.failure is Failure.DNS
    assert unknown.detail == "address of other.example: no address for other.example"
    assert nobody.failure is Failure.DNS


async def test_redirect_to_where_nobody_listens_is_no_answer(probers: Probers) -> None:
    site = Site({"/": moved(f"http://127.0.0.1:{closed_port()}/")})
    async with serving(site.serve) as port:
        outcome = await probe(probers, port, leave_path=True)
    assert outcome.failure is Failure.REFUSED
    assert outcome.facts.http is not None
    assert (outcome.facts.http.status_code, outcome.facts.http.redirects) == (0, 1)


async def test_body_is_not_sent_to_another_host(probers: Probers) -> None:
    site = Site({"/": moved("http://127.0.0.2:9/", status="307 Temporary Redirect")})
    async with serving(site.serve) as port:
        outcome = await probe(probers, port, leave_path=True, module={"method": "POST", "body": "secret"})
    assert outcome.failure is Failure.EXPECTATION
    assert outcome.detail == "status 307 would send the body to another host, 127.0.0.2"
