from __future__ import annotations

import pytest
from pydantic import ValidationError

from probes.http_module import JUDGED_BYTES, MAX_BODY_BYTES, HttpModule


def module(**section: object) -> HttpModule:
    return HttpModule.model_validate(section)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"valid_staus_codes": [200]}, "Extra inputs are not permitted"),
        ({"valid_status_codes": ["200"]}, "valid integer"),
        ({"valid_status_codes": [1000]}, "less than or equal to 999"),
        ({"valid_status_codes": [99]}, "greater than or equal to 100"),
        ({"method": "get"}, "is no method: write one word in capital letters"),
        ({"method": "GE T"}, "is no method: write one word in capital letters"),
        ({"path": "no-slash"}, "begins with / and holds no spaces"),
        ({"path": "/a b"}, "begins with / and holds no spaces"),
        ({"headers": {"X Node": "a"}}, "is no name of a header"),
        ({"headers": {"X-Node": "a\r\nX-Evil: b"}}, "holds a control character, such as the end of a line"),
        ({"fail_if_body_matches_regexp": "text"}, "valid tuple"),
        ({"fail_if_body_matches_regexp": ["("]}, "is no regular expression"),
        ({"fail_if_body_matches_regexp": [1]}, "a regular expression is a string"),
        ({"body_size_limit": "10 parsecs"}, "a size is bytes, or a number with B, KB, MB or GB"),
        ({"body_size_limit": "1GB"}, "less than or equal to 16777216"),
        ({"body_size_limit": -1}, "greater than or equal to 0"),
        ({"fail_if_ssl": True, "fail_if_not_ssl": True}, "fail_if_ssl contradicts"),
        ({"fail_if_ssl": True, "tls_config": {}}, "fail_if_ssl contradicts"),
        ({"tls_config": {"insecure_skip_verfy": True}}, "Extra inputs are not permitted"),
        ([], "valid dictionary"),
    ],
)
def test_refuses(section: object, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        HttpModule.model_validate(section)


@pytest.mark.parametrize("key", sorted(HttpModule._later))
def test_what_only_blackbox_exporter_does_is_refused_by_name(key: str) -> None:
    with pytest.raises(ValidationError, match=f"{key} is known to blackbox_exporter, but not supported: .*; "):
        module(**{key: None})


@pytest.mark.parametrize(
    ("written", "size"),
    [("10MB", 10_485_760), ("10MiB", 10_485_760), ("64 KB", 65_536), ("512B", 512), (1000, 1000)],
)
def test_sizes(written: object, size: int) -> None:
    assert module(body_size_limit=written).body_bytes == size


def test_defaults() -> None:
    default = module()
    assert default.body_bytes == MAX_BODY_BYTES
    assert default.judged_bytes == JUDGED_BYTES
    assert not default.judges_body
    assert default.accepts(204)
    assert not default.accepts(302)
    assert not module(valid_status_codes=[302]).accepts(200)
    assert module(valid_status_codes=[302]).accepts(302)
    assert module(valid_status_codes=[999]).accepts(999)


@pytest.mark.parametrize(
    ("section", "port", "https"),
    [
        ({}, 80, False),
        ({}, 443, True),
        ({}, 8443, False),
        ({"fail_if_not_ssl": True}, 8443, True),
        ({"tls_config": {"insecure_skip_verify": True}}, 8443, True),
        ({"fail_if_ssl": True}, 443, False),
        ({"follow_redirects": False}, 80, False),
    ],
)
def test_scheme(section: dict[str, object], port: int, https: bool) -> None:
    assert module(**section).https(port) is https
