"""Show which texts are accepted, each refused one beside a twin that is not."""

from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.hosts import is_loopback
from gateway.http1.dropped_fields import GROUPS
from gateway.http1.forwarding import forwardable_fields
from gateway.http1.forwarding_rules import HOP_BY_HOP, REPLACED, ForwardingRules
from gateway.http1.request import BadRequest, RequestReader
from gateway.settings import texts
from gateway.settings.model import TargetSettings, TcpAddress, UnixAddress, UnixTargetSettings
from gateway.settings.problems import SpellingError

ACCEPTED = [
    (texts.parse_client_id, "service client", "service client"),
    (texts.parse_client_id, "//odd:id/with?everything", "//odd:id/with?everything"),
    (texts.parse_client_id, 'quote"and\\slash', 'quote"and\\slash'),
    (texts.parse_scope, "country.read:x/y", "country.read:x/y"),
    (texts.parse_method, "PROPFIND", "PROPFIND"),
    (texts.parse_kept_header, "X_Legacy", "x_legacy"),
    (texts.parse_kept_header, "X-Original-URL", "x-original-url"),
    (texts.parse_protocol, "WebSocket", "websocket"),
    (texts.parse_protocol, "h2o/1", "h2o/1"),
    (texts.parse_address, "127.0.0.1:8080", TcpAddress("127.0.0.1", 8080)),
    (texts.parse_address, "[::1]:0", TcpAddress("::1", 0)),
    (texts.parse_address, "localhost:65535", TcpAddress("localhost", 65535)),
    (texts.parse_address, "unix:/run/a.sock", UnixAddress(Path("/run/a.sock"))),
    (texts.parse_address, "unix:run/a.sock", UnixAddress(Path("run/a.sock"))),
    (texts.parse_target, "http://10.0.0.1", TargetSettings("10.0.0.1", 80)),
    (texts.parse_target, "http://country-service:9001/", TargetSettings("country-service", 9001)),
    (texts.parse_target, "http://[fd00::1]:9001", TargetSettings("fd00::1", 9001)),
    (texts.parse_target, "https://country", TargetSettings("country", 443, tls=True)),
    (texts.parse_target, "https://country:8443", TargetSettings("country", 8443, tls=True)),
    (texts.parse_target, "unix:/run/x.sock", UnixTargetSettings(Path("/run/x.sock"))),
    (texts.parse_server_name, "Service.internal.", "Service.internal"),
    (texts.parse_check_path, "/healthz?full=1", "/healthz?full=1"),
    (texts.parse_host_pattern, "API.Example.com", "api.example.com"),
    (texts.parse_host_pattern, "*.example.com", "*.example.com"),
    (texts.parse_host_value, "api.example.com:8443", "api.example.com:8443"),
    (texts.parse_issuer_url, "https://auth.example.com/a/b", "https://auth.example.com/a/b"),
    (texts.parse_issuer_url, "http://[::1]:8080", "http://[::1]:8080"),
    (texts.parse_path_prefix, "", ""),
    (texts.parse_path_prefix, "/ms-auth-server", "/ms-auth-server"),
    (texts.parse_path_template, "/a/{b}/**", "/a/{b}/**"),
    (texts.parse_network, "10.0.0.0/8", "10.0.0.0/8"),
    (texts.parse_network, "FD00:0::/8", "fd00::/8"),
    (texts.parse_network, "192.0.2.1", "192.0.2.1/32"),
    (texts.parse_own_claim_name, "tenant", "tenant"),
]


@pytest.mark.parametrize(("parse", "text", "value"), ACCEPTED)
def test_accepted(parse: Callable[[str], object], text: str, value: object) -> None:
    assert parse(text) == value


REFUSED = [
    (texts.parse_client_id, ["", "a\nb", "ä", " a", "a ", "a\x7f", "x" * 513]),
    (texts.parse_scope, ["", "a b", 'a"b', "a\\b", "é", "a\n"]),
    (texts.parse_method, ["", "get", "CONNECT", "TRACE", "GET /", "GÉT", "GET\n"]),
    (texts.parse_kept_header, ["X-Auth-Client-Id", "x_auth_scope", "X_Sidegate_Peer", "_X__Auth_Sub"]),
    (
        texts.parse_kept_header,
        ["a b", "a:b", "", "Connection", "HOST", "Content-Length", "Transfer-Encoding"],
    ),
    (texts.parse_kept_header, ["Authorization", "X-Request-Id", "traceparent", "TE", "Upgrade"]),
    (texts.parse_dropped_header, ["", "a b", "a:b", "---", "X-Auth-Scope", "x_sidegate_peer", "Connection"]),
    (texts.parse_dropped_header, ["Host", "Content-Length", "Authorization", "Expect", "traceparent"]),
    (texts.parse_protocol, ["h2", "H2C", "http", "HTTP/2.0", "http/3", "https", "TLS/1.0", "tls", "a b", ""]),
    (
        texts.parse_address,
        [
            "8080",
            ":8080",
            "127.0.0.1",
            "127.0.0.1:65536",
            "::1:8080",
            "[::1]",
            "[127.0.0.1]:80",
            "unix:",
            "unix:/a\n",
            "300.1.1.1:80",
            "a b:80",
            "a:+80",
            "a:٨",
            "a:",
            "http://a:80",
            "[::1]x:80",
        ],
    ),
    (
        texts.parse_target,
        [
            "country:9001",
            "ftp://country",
            "unix:",
            "unix:/a\n",
            "http://",
            "https://",
            "https://a/b",
            "https://a:0",
            "http://a/b",
            "http://a?b",
            "http://u@a",
            "http://a:0",
            "HTTP://a",
            "http://a b",
            "http://a:99999",
        ],
    ),
    (texts.parse_server_name, ["", "a:80", "*.a", "a b", "a/b"]),
    (texts.parse_check_path, ["", "healthz", "/a b", "/a#b", "/a\r\nX: y", "/ä", "http://a/"]),
    (texts.parse_host_pattern, ["", "*", "*.com", "a.*.com", "api.example.com:80", "*.1.2.3.4", "a/b"]),
    (
        texts.parse_issuer_url,
        [
            "",
            "auth.example.com",
            "//auth.example.com",
            "ftp://a",
            "https://",
            "https://a?b",
            "https://a#",
            "https://u:p@a",
            "https://a b",
            "https://a\n",
            "https://a:99999",
            "https://ä",
            "https://[::1",
            "HTTPS://a",
        ],
    ),
    (texts.parse_path_prefix, ["/", "a", "/a/", "//a", "/a/../b", "/a/.", "/a b", "/a?b", "/ä", "/%2e"]),
    (texts.parse_path_template, ["", "a", "/a b", "/a?b", "/a#b", "/a\x00", "/a\r\n"]),
    (texts.parse_network, ["", "10.0.0.1/8", "10.0.0.0/33", "example.com", "10.0.0.0/8 "]),
    (texts.parse_own_claim_name, ["", "iss", "sub", "scope", "cnf", "a\nb"]),
    (texts.parse_name, ["", " ", "a\tb", "x" * 201]),
    (texts.parse_variable, ["", "1A", "A-B", "A B", "${A}"]),
    (
        texts.parse_admin_host,
        ["", "a/b", "a b", "fd00::7::1", "fd00::7:99999", "fe80::1%eth0", "[fe80::1%25eth0]"],
    ),
]


@pytest.mark.parametrize(("parse", "text"), [(parse, text) for parse, refused in REFUSED for text in refused])
def test_refused(parse: Callable[[str], object], text: str) -> None:
    with pytest.raises(SpellingError) as caught:
        parse(text)
    assert caught.value.message.startswith(("is ", "has ", "holds ", "names ", "can "))


@pytest.mark.parametrize(
    ("parse", "expected"),
    [
        (texts.parse_admin_host, "[fd00::7]"),
        (texts.parse_host_pattern, "[fd00::7]"),
        (texts.parse_host_value, "[FD00::7]"),
        (texts.parse_server_name, "FD00::7"),
    ],
)
@pytest.mark.parametrize("written", ["FD00::7", "[FD00::7]"])
def test_a_bare_ipv6_address_is_a_host_where_no_port_is_wanted(
    parse: Callable[[str], object], expected: str, written: str
) -> None:
    assert parse(written) == expected


def test_loopback_hosts() -> None:
    inside = ["localhost", "LOCALHOST", "a.localhost", "127.0.0.1", "127.9.9.9", "::1", "[::1]"]
    outside = ["0.0.0.0", "::", "localhost.example.com", "10.0.0.1", "", "128.0.0.1"]
    assert all(map(is_loopback, inside))
    assert not any(map(is_loopback, outside))


FIELD_NAMES = [
    *sorted(name.decode() for name in HOP_BY_HOP | REPLACED),
    *("accept", "cookie", "via", "x-custom", "x-http-method-override", "x-original-url", "x.rewrite.url"),
    *("x-real-ip", "true-client-ip", "cf_connecting_ip", "proxy"),
    *("x-forwarded-for", "x-forwarded", "forwarded", "x_custom", "-x-auth-a", "x-authentic", "x-auth"),
]
DROPPED_NAMES = sorted(
    {name.decode() for group in GROUPS for name in group.names}
    | {f"{prefix.decode()}x" for group in GROUPS for prefix in group.prefixes}
)


@pytest.mark.parametrize("name", [*FIELD_NAMES, *DROPPED_NAMES])
def test_what_is_said_of_a_kept_field_is_what_the_gateway_does(name: str) -> None:
    def arrives(*kept: bytes, is_trusted: bool = False) -> bool:
        rules = ForwardingRules(
            keep_headers=frozenset(kept),
            forward_token=False,
            host=b"u",
            forwarded_x=False,
            trusted_peer=is_trusted,
        )
        fields = f"{name}: 0\r\n" if name == "host" else f"Host: a\r\n{name}: 0\r\n"
        head = RequestReader(max_fields=9).read(f"GET / HTTP/1.1\r\n{fields}\r\n".encode())
        if isinstance(head, BadRequest):
            return False
        return f"\r\n{name}: 0".encode() in b"\r\n" + forwardable_fields(head.block, rules, traced=True)

    try:
        kept = texts.parse_kept_header(name)
    except SpellingError:
        assert not arrives(name.encode(), is_trusted=True)
    else:
        assert arrives(kept.encode(), is_trusted=True)
        assert arrives(kept.encode()) is not texts.needs_trusted_proxy(kept)
        assert arrives() is not texts.is_dropped_by_default(kept)
