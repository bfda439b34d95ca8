"""Hold Host values to one spelling."""

import pytest

from gateway.hosts import normalise_host


@pytest.mark.parametrize(
    ("host", "normalised"),
    [
        (b"api.example.com", "api.example.com"),
        (b"API.Example.COM:8080", "api.example.com"),
        (b"api.example.com.", "api.example.com"),
        (b"api.example.com.:80", "api.example.com"),
        (b"localhost:", "localhost"),
        (b"my_service:1", "my_service"),
        (b"127.0.0.1:80", "127.0.0.1"),
        (b"[::1]:8080", "[::1]"),
        (b"[2001:DB8:0:0::1]", "[2001:db8::1]"),
        (b"api.example.com..", None),
        (b".example.com", None),
        (b"a..b", None),
        (b"", None),
        (b":80", None),
        (b"a:b", None),
        (b"a:80:80", None),
        (b"a:123456", None),
        (b"user@host", None),
        (b"a b", None),
        (b"a/b", None),
        (b"a\n", None),
        (b"[::1", None),
        (b"[1.2.3.4]", None),
        (b"::1", None),
        (b"\xc3\xa9.example", None),
        (b"a" * 256, None),
        (b"a" * 300, None),
    ],
)
def test_host(host: bytes, normalised: str | None) -> None:
    assert normalise_host(host) == normalised
