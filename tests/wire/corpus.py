"""List raw requests and raw answers with the verdict of the gate and the section that asks for it.

`REFUSED`: a request that passes and one change that spoils it, the status and the reason; the
table of `tests.wire.test_refused` belongs to it. `FORWARDED`: a request and exactly what arrives
of it. `ANSWERS`: an upstream's answer that passes and one change that spoils it, and what becomes
of that. How they are run is `tests.wire.test_corpus`.

Sources: RFC 9112, RFC 9110, RFC 3986, RFC 6750, RFC 7239, CONTRACT sections 2 and 4.
"""

from dataclasses import dataclass

from tests.wire import test_refused

GET = b"GET /open/x HTTP/1.1\r\nHost: a.example\r\n\r\n"
POST = b"POST /open/x HTTP/1.1\r\nHost: a.example\r\nContent-Length: 3\r\n\r\nabc"
CHUNKED = (
    b"POST /open/x HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
)
ABSOLUTE = b"GET http://a.example/open/x HTTP/1.1\r\nHost: a.example\r\n\r\n"
KNOWN = test_refused.GET
HOSTED = b"GET /only-here HTTP/1.1\r\nHost: h.example\r\n\r\n"
EXTENDED = CHUNKED.replace(b"3\r\nabc\r\n", b"1\r\na\r\n" * 90)

OURS = (
    b"X-Forwarded-Host: a.example\r\nX-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: http\r\n"
    b"Via: 1.1 <gate>\r\ntraceparent: <trace>\r\nX-Request-Id: <id>\r\n"
)
IDENTITY = (
    b"X-Auth-Client-Id: reader\r\nX-Auth-Subject: reader\r\nX-Auth-Audience: country-service\r\n"
    b"X-Auth-Scope: country.read\r\n"
)
OURS_KNOWN = OURS.replace(b"X-Forwarded-For", IDENTITY + b"X-Forwarded-For")
HOST = b" HTTP/1.1\r\nHost: a.example\r\n"
LENGTH = b"Content-Length: 3\r\n\r\nabc"
CHUNKS = b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"

ARRIVES = {
    GET: b"GET /open/x" + HOST + OURS + b"\r\n",
    POST: b"POST /open/x" + HOST + OURS + LENGTH,
    CHUNKED: b"POST /open/x" + HOST + OURS + CHUNKS,
    ABSOLUTE: b"GET /open/x" + HOST + OURS + b"\r\n",
    HOSTED: (b"GET /only-here" + HOST + OURS + b"\r\n").replace(b"a.example", b"h.example"),
    EXTENDED: b"POST /open/x"
    + HOST
    + OURS
    + b"Transfer-Encoding: chunked\r\n\r\n"
    + b"1\r\na\r\n" * 90
    + b"0\r\n\r\n",
    test_refused.GET: b"GET /read/AUS" + HOST + OURS_KNOWN + b"\r\n",
    test_refused.POST: b"POST /read/AUS" + HOST + OURS_KNOWN + LENGTH,
    test_refused.CHUNKED: b"POST /read/AUS" + HOST + OURS_KNOWN + CHUNKS,
    test_refused.SWITCH_POST: b"POST /switch" + HOST + OURS + LENGTH,
    test_refused.SWITCH_CHUNKED: b"POST /switch" + HOST + OURS + CHUNKS,
    test_refused.GET_ONLY: (b"GET /get-only" + HOST + OURS + b"\r\n").replace(b"a.example", b"a"),
}  # fmt: skip
"""What arrives, `<...>` standing for what is different each time, of each sound request."""


@dataclass(frozen=True)
class Refused:
    """A request that is spoiled by one change."""

    name: str
    section: str
    whole: bytes
    sound: bytes
    """A part of `whole` ..."""
    spoiled: bytes
    """... and what takes its place."""
    status: int = 400
    reason: str = "bad_framing"

    @property
    def sent(self) -> bytes:
        return self.whole.replace(self.sound, self.spoiled, 1)


SECTIONS = (
    ("two spaces before the target", "RFC 9112 3"),
    ("HTTP/0.9", "RFC 9112 2.3"),
    ("a bare LF behind it", "RFC 9112 2.2"),
    ("an unknown method", "RFC 9110 9.1"),
    ("CONNECT", "RFC 9110 9.3.6"),
    ("TRACE", "RFC 9110 9.3.8"),
    ("PRI", "RFC 9113 3.4"),
    ("a fragment", "RFC 9112 3.2"),
    ("a dot segment", "RFC 3986 3.3"),
    ("an encoded slash", "RFC 3986 2.2"),
    ("no Host", "RFC 9112 3.2"),
    ("a space before the colon", "RFC 9112 5.1"),
    ("a folded line", "RFC 9112 5.2"),
    ("a line without a colon", "RFC 9112 5"),
    ("a NUL in a value", "RFC 9110 5.5"),
    ("a bare LF between fields", "RFC 9112 2.2"),
    ("a name that is not ASCII", "RFC 9110 5.1"),
    ("an unknown expectation", "RFC 9110 10.1.1"),
    ("an upgrade", "RFC 9110 7.8"),
    ("a length and a coding", "RFC 9112 6.3"),
    ("xchunked", "RFC 9112 6.1"),
    ("two lengths", "RFC 9110 8.6"),
    ("a negative chunk size", "RFC 9112 7.1"),
    ("a malformed trailer", "RFC 9112 7.1.2"),
    ("a target too long", "RFC 9110 15.5.15"),
    ("fields too long", "RFC 6585 5"),
    ("a length above the limit", "RFC 9110 15.5.14"),
    ("another path", "CONTRACT 2"),
    ("no token", "RFC 6750 3"),
)
"""From which row of `test_refused` on which section asks for it."""


def _rows_of_test_refused() -> list[Refused]:
    sections = dict(SECTIONS)
    section, rows = "", []
    for row in test_refused.ROWS:
        section = sections.pop(row.name, section)
        rows.append(Refused(row.name, section, row.whole, row.sound, row.spoiled, row.status, row.reason))
    assert not sections, f"no such rows: {sections}"
    return rows


def _in_line(value: str) -> str:
    return value.replace("\r", "CR").replace("\n", "LF").replace("\x00", "NUL").replace("\t", "TAB")


def _values(
    section: str, whole: bytes, name: bytes, sound: bytes, *values: bytes, status: int = 400
) -> list[Refused]:
    """Return a row for each value that spoils the field `name`."""
    return [
        Refused(
            _in_line(f"{name.decode()}: {value.decode('latin-1')!s}"),
            section,
            whole,
            name + b": " + sound,
            name + b": " + value,
            status,
        )
        for value in values
    ]


def _lines(section: str, *lines: bytes) -> list[Refused]:
    """Return a row for each line that spoils a request by being there."""
    return [
        Refused(
            _in_line(f"the line {line.decode('latin-1')}"), section, GET, b"Host: a", line + b"\r\nHost: a"
        )
        for line in lines
    ]


def _targets(section: str, *targets: bytes, status: int = 400, reason: str = "bad_path") -> list[Refused]:
    """Return a row for each target that must not be forwarded."""
    return [
        Refused(
            f"the target {target.decode('latin-1')}", section, GET, b"/open/x ", target + b" ", status, reason
        )
        for target in targets
    ]


def _sizes(section: str, *lines: bytes) -> list[Refused]:
    """Return a row for each chunk-size line, with its end."""
    return [
        Refused(
            _in_line(f"the size line {line.decode('latin-1')}"),
            section,
            CHUNKED,
            b"\r\n3\r\n",
            b"\r\n" + line,
        )
        for line in lines
    ]


def _versions(status: int, *versions: bytes) -> list[Refused]:
    return [
        Refused(f"the version {version!r}", "RFC 9112 2.3", GET, b"HTTP/1.1\r\nH", version + b"\r\nH", status)
        for version in versions
    ]


TOKEN_LINE = b"Authorization: Bearer <token>\r\n"

REFUSED = [
    *_rows_of_test_refused(),
    # codings
    *_values("RFC 9112 7", CHUNKED, b"Transfer-Encoding", b"chunked", b"identity, chunked", status=501),
    *_values(
        "RFC 9112 6.1",
        CHUNKED,
        b"Transfer-Encoding", b"chunked", b"deflate", b"chunked, identity", b"chunked;q=1",
        b"chunked\t", b"chunked,",
        b"chunked chunked", b"chunkedchunked", b"\x0bchunked", b"chunked\x00", b"chunked\x0b", b"chu nked",
        b"'chunked'", b"\xa0chunked", b"chunked\x7f", b"\r\n chunked", b"\r\n\tchunked", b"chunked\r\n\tx",
        b"chunke", b"cow", b"chunked\r\nTransfer-Encoding: identity",
        b"identity\r\nTransfer-Encoding: chunked", b"chunked\r\ntransfer-encoding: chunked",
    ),
    Refused("a coding behind an empty member", "RFC 9112 6.1", CHUNKED, b": chunked", b": , chunked", 501),
    Refused("a space before its colon", "RFC 9112 5.1", CHUNKED, b"Encoding:", b"Encoding :"),
    Refused("a tab before its colon", "RFC 9112 5.1", CHUNKED, b"Encoding:", b"Encoding\t:"),
    Refused(
        "a coding behind a bare LF",
        "RFC 9112 2.2",
        POST,
        b"\r\nCon", b"\r\nX: 1\nTransfer-Encoding: chunked\r\nCon",
    ),
    Refused(
        "a coding behind a bare CR",
        "RFC 9112 2.2",
        POST,
        b"\r\nCon", b"\r\nX: 1\rTransfer-Encoding: chunked\r\nCon",
    ),
    Refused(
        "a coding and a length of zero",
        "RFC 9112 6.3",
        CHUNKED,
        b"Transfer", b"Content-Length: 0\r\nTransfer",
    ),
    Refused(
        "a coding and a length in other case",
        "RFC 9112 6.3",
        CHUNKED,
        b"Transfer", b"CONTENT-LENGTH: 3\r\nTransfer",
    ),
    Refused("HTTP/1.0 with both", "RFC 9112 6.1", CHUNKED, b"1.1\r\n", b"1.0\r\nContent-Length: 3\r\n"),
    Refused(
        "HTTP/1.0 kept alive with a coding",
        "RFC 9112 6.1",
        CHUNKED,
        b"1.1\r\n", b"1.0\r\nConnection: keep-alive\r\n",
    ),
    # lengths
    *_values(
        "RFC 9110 8.6",
        POST,
        b"Content-Length", b"3", b"3 3", b"3;", b"3.0", b"3e0", b"3,", b",3", b"1_0", b"0b11", b"-0",
        b"\x0b3", b"3\x00", b"3\x0c", b"'3'", b'"3"', b"\xef\xbc\x93", b"3h", b"#3", b"$3",
        b"0000000000000000003", b"9223372036854775808", b"18446744073709551619", b"3\r\nContent-Length: 4",
        b"3\r\ncontent-length: 3", b"\r\n 3", b"3\r\n 0", b"3\r\nContent-Length:", b"3, 4", b"NaN",
    ),
    # the request line
    *_versions(505, b"HTTP/0.1", b"HTTP/1.3", b"HTTP/2.1", b"HTTP/3.0", b"HTTP/9.9"),
    *_versions(
        400,
        b"HTTP/1.1.1", b"HTTP/1,1", b"HTTP1.1", b"HTTP /1.1", b"HTTP/ 1.1", b"HTTPS/1.1", b"HTTP/+1.1",
        b"HTTP/1.1\x00", b"HTTP/1", b"HTTP/1.", b"HTTP/.1", b"HTTP/", b"HTP/1.1", b"HTTP/1.1 x", b"HTTP\\1.1",
        b"HTTP/2", b"HTTP/1.1\t",
    ),
    Refused("HTTP/0.9 alone", "RFC 9112 2.3", GET, GET, b"GET /open/x\r\n"),
    Refused("the preface of HTTP/2", "RFC 9113 3.4", GET, GET, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    Refused("a TLS handshake", "RFC 9112 2.2", GET, GET, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    Refused("a SOCKS greeting", "RFC 9112 2.2", GET, GET, b"\x05\x01\x00"),
    Refused("a bare CR in the line", "RFC 9112 2.2", GET, b"GET /", b"GET\r/"),
    Refused("a bare LF in the line", "RFC 9112 2.2", GET, b"GET /", b"GET\n/"),
    Refused("a NUL in the method", "RFC 9110 9.1", GET, b"GET", b"GE\x00T"),
    Refused("a vertical tab for a space", "RFC 9112 3", GET, b"GET /", b"GET\x0b/"),
    Refused("a no-break space for a space", "RFC 9112 3", GET, b"GET /", b"GET\xa0/"),
    Refused("no method", "RFC 9112 3", GET, b"GET ", b" "),
    Refused("no target", "RFC 9112 3", GET, b"/open/x ", b""),
    Refused("a space in the target", "RFC 9112 3.2", GET, b"/open/x", b"/open /x"),
    Refused("CRLF in the target", "RFC 9112 3.2", GET, b"/open/x", b"/open/x\r\nX: 1"),
    *[
        Refused(f"the method {method.decode()}", "RFC 9110 9.1", GET, b"GET", method, 501)
        for method in (b"Get", b"GETT", b"TRACK", b"DEBUG", b"GET!", b"X-GET", b"PRI", b"HELO", b"_GET")
    ],
    Refused("a method too long", "RFC 9110 9.1", GET, b"GET", b"G" * 33),
    Refused("brackets for a method", "RFC 9110 9.1", GET, b"GET", b"(GET)"),
    Refused("TRACE with Max-Forwards", "RFC 9110 9.3.8", GET, b"GET /open/x", b"TRACE /open/x", 501),
    Refused("CONNECT with a path", "RFC 9110 9.3.6", GET, b"GET", b"CONNECT", 501),
    # the target's form
    *_targets("RFC 9112 3.2.4", b"*"),
    *_targets("RFC 9112 3.2.3", b"a.example:443", b"a.example"),
    *_targets(
        "RFC 9112 3.2.2",
        b"http:/open/x", b"http:open/x", b"ws://a.example/open/x", b"://a.example/open/x", b"open/x",
    ),
    *_targets(
        "RFC 9112 3.2.2",
        b"http:///open/x", b"http://b.example/open/x", b"http://a.example.:80/open/x",
        b"http://a.example./open/x", b"http://a.example:/open/x", b"http://a.example,b.example/open/x",
        reason="bad_framing",
    ),
    *_targets("RFC 9112 3.2.2", b"http://u:p@a.example/open/x", b"http://a.example@b.example/open/x"),
    Refused("absolute-form without Host", "RFC 9112 3.2", ABSOLUTE, b"Host: a.example\r\n", b""),
    Refused(
        "absolute-form in HTTP/1.0 without Host",
        "RFC 9112 3.2.2",
        ABSOLUTE,
        b"1.1\r\nHost: a.example\r\n", b"1.0\r\n",
    ),
    Refused("absolute-form against Host", "RFC 9112 3.2.2", ABSOLUTE, b"Host: a", b"Host: b"),
    *_targets(
        "RFC 9112 3.2",
        b"/open/x#", b"/open/x#f", b"/open/x?q#f", b"http://a.example/open/x#f",
        reason="bad_framing",
    ),
    *_targets(
        "RFC 3986 2",
        b"/open/x\\", b"/open/..\\x", b"/open/x?\\", b'/open/x?"', b"/open/x?<>", b"/open/\xe9",
        reason="bad_framing",
    ),
    # the path
    *_targets(
        "RFC 3986 3.3",
        b"/open/../open/x", b"/open/./x", b"/./open/x", b"/open/x/.", b"/open/x/..", b"/open/x/%2e",
        b"/open/%2E./x", b"/open/.%2e/x", b"/open/%2e%2e%2fx", b"/open/..%2fx", b"/open/.;/x", b"/open/..;/x",
        b"/open/..;a=b/x", b"/open/..%3bx/x", b"//open/x", b"/open//x", b"/open/x//", b"///", b"/open/;/x",
        b"/open/x;jsessionid=1", b"/open/x;", b"/open/x%3bv", b"/open/x%3Bv=1/y", b"/../open/x",
        b"/%2e%2e/open/x",
    ),
    *_targets(
        "RFC 3986 2.1",
        b"/open/%", b"/open/%4", b"/open/%g0", b"/open/%0g", b"/open/%u0041", b"/open/%%32e",
        b"/open/x%00.html", b"/open/%0a", b"/open/%0D%0Ax", b"/open/%1f", b"/open/%7F", b"/open/%5c",
        b"/open/%5C..%5Cx", b"/open%2fx", b"/open/%2F",
    ),
    *_targets(
        "RFC 3629 10",
        b"/open/%ff", b"/open/%c0%af", b"/open/%c1%9c", b"/open/%e0%80%ae", b"/open/%ed%a0%80",
        b"/open/%f8%88%80%80%80", b"/open/%80",
    ),
    *_targets(
        "CONTRACT 2",
        b"/OPEN/x", b"/Open/x", b"/openx", b"/ope", b"/", b"/only-here", b"/opened/x", b"/%4Fpen/x",
        status=404,
        reason="no_route",
    ),
    # Host
    *_values(
        "RFC 9110 7.2",
        GET,
        b"Host", b"a.example", b"a.example b.example", b"a.example,", b"a.example, a.example", b"@", b"a@b",
        b"http://a.example", b"[::1", b"::1", b"::1]", b"[zz]", b"[]", b"a.example:80:80", b":80", b":",
        b"a.example:+80", b"a.example:-1", b"a.example:8_0", b"a.example:99999", b"a.example:000080",
        b"a.example:http", b"a.example#", b"a.example?", b"a.example/", b"a.example\\", b"a%2eexample",
        b"a\texample", b"a\x00example", b"a.ex\xe4mple", b"\xef\xbc\x8f", b"(a)", b"a.example;b",
        b"a.example=b", b"'a.example'", b"*", b"a!b", b"$a", b"a&b", b"\r\n a.example",
        b"a.example\r\n b.example", b"[::1]x", b"[::1]:", b"[::1%25lo]",
    ),
    Refused(
        "two Hosts in other case",
        "RFC 9112 3.2",
        GET,
        b"Host: a.example\r\n", b"Host: a.example\r\nhOST: b.example\r\n",
    ),
    Refused("two Hosts, the first empty", "RFC 9112 3.2", GET, b"Host: a", b"Host:\r\nHost: a"),
    Refused("two Hosts in HTTP/1.0", "RFC 9112 3.2", GET, b"1.1\r\nHost", b"1.0\r\nHost: b\r\nHost"),
    Refused(
        "Host as a trailer only",
        "RFC 9112 3.2",
        CHUNKED,
        b"Host: a.example\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nHost: a.example\r\n",
    ),
    Refused(
        "another path on a host that has routes",
        "CONTRACT 2",
        HOSTED,
        b"/only-here", b"/open/x",
        404,
        "no_route",
    ),
    Refused(
        "and with a dot, a port and other case",
        "CONTRACT 2",
        HOSTED,
        b"/only-here HTTP/1.1\r\nHost: h.example", b"/open/x HTTP/1.1\r\nHost: H.Example.:8080",
        404,
        "no_route",
    ),
    # field lines
    *_lines(
        "RFC 9112 5.1",
        b"X : 1", b"X\t: 1", b"X Y: 1", b" X: 1", b"\tX: 1", b"X\xa0: 1", b"X\x00: 1", b"X\x0b: 1",
    ),
    *_lines(
        "RFC 9112 5.2",
        b"X: 1\r\n 2", b"X: 1\r\n\t2", b"X: 1\r\n ", b"X:\r\n 1", b"X: 1\r\n :2", b"X: 1\r\n Host: b",
    ),
    *_lines(
        "RFC 9110 5.1",
        b": 1", b":", b"X", b"@: 1", b'"X": 1', b"X/Y: 1", b"X,Y: 1", b"{X}: 1", b"X;: 1", b"X=: 1", b"X?: 1",
        b"[X]: 1", b"X\\: 1", b"<X>: 1", b"\xc3\xa4: 1", b"X\x7f: 1", b"\x08X: 1", b"=", b"\x00",
    ),
    *_lines(
        "RFC 9110 5.5",
        b"X: \x00", b"X: a\x00b", b"X: \x08", b"X: \x0b", b"X: \x0c", b"X: \x1b[0m", b"X: \x1f", b"X: \x7f",
        b"\x00X: 1",
    ),
    *_lines(
        "RFC 9112 2.2",
        b"X: 1\rY: 2", b"X: 1\nY: 2", b"X: 1\r\r", b"X: 1\n\r\nY: 2", b"X: 1\n", b"X: 1\r", b"\rX: 1",
        b"\nX: 1", b"X:\r1", b"X\r: 1", b"X\n: 1",
    ),
    Refused("LF LF for the end", "RFC 9112 2.2", GET, b"\r\n\r\n", b"\r\n\n\r\n\r\n"),
    Refused("CR CR LF for an end", "RFC 9112 2.2", GET, b"\r\n\r\n", b"\r\r\n\r\n"),
    Refused("LF CR for an end", "RFC 9112 2.2", GET, b"example\r\n", b"example\n\r\r\n"),
    Refused("two empty lines and one of spaces", "RFC 9112 2.2", GET, b"GET", b"\r\n \r\nGET"),
    Refused("an empty line of LF alone", "RFC 9112 2.2", GET, b"GET", b"\n\r\nGET"),
    # expectations and switches
    Refused(
        "two expectations",
        "RFC 9110 10.1.1",
        GET,
        b"Host", b"Expect: 100-continue, tea\r\nHost",
        417,
        "expectation_failed",
    ),
    Refused(
        "an empty expectation", "RFC 9110 10.1.1", GET, b"Host", b"Expect:\r\nHost", 417, "expectation_failed"
    ),
    *[
        Refused(
            f"a switch with a body {sound.decode()}: {_in_line(line.decode())}",
            "RFC 9110 7.8",
            whole, sound, line + b"\r\n" + sound,
        )
        for whole, sound in (
            (test_refused.SWITCH_POST, b"Content"), (test_refused.SWITCH_CHUNKED, b"Transfer")
        )
        for line in (
            b"Connection: x\r\nConnection: upgrade\r\nUpgrade: websocket",
            b"Connection: upgrade\r\nUpgrade: h2c\r\nUpgrade: WebSocket",
            b"Connection: upgrade, HTTP2-Settings\r\nUpgrade: h2c, websocket\r\nHTTP2-Settings: AAMA",
        )
        if whole is test_refused.SWITCH_POST or b"h2c" in line
    ],
    # chunks
    *_sizes(
        "RFC 9112 7.1",
        b" 3\r\n", b"\t3\r\n", b"3 \r\n", b"3\t\r\n",
        b"03h\r\n", b"0X3\r\n", b"0_3\r\n", b"3.\r\n", b"3,\r\n", b"3 3\r\n",
        b"\x003\r\n", b"3\x00\r\n", b"g\r\n", b"\xd9\xa3\r\n", b"\r\n3\r\n", b"0000000000000003\r\n",
        b"fffffffffffffffff\r\n", b"10000000000000003\r\n", b"-0\r\n", b"+0\r\n", b"3\n", b"3\r", b"3\r\r\n",
        b"3\n\r", b"3\r\n\r\n", b"3\x0b\r\n", b";a\r\n", b"3: a\r\n", b"$3\r\n", b"ffffffffffffffff\r\n",
    ),
    *_sizes(
        "RFC 9112 7.1.1",
        b"3;a\n\r\n", b"3;a\nb\r\n", b"3;a\rb\r\n", b"3;\x00\r\n", b"3;\x7f\r\n", b"3;\x01\r\n",
        b"3;" + b"a" * 300 + b"\r\n",
        b"3;a\r\r\n", b"3;\n",
    ),
    Refused(
        "extensions without end",
        "RFC 9112 7.1.1",
        EXTENDED,
        b"1\r\na\r\n" * 90,
        (b"1;" + b"a" * 240 + b"\r\na\r\n") * 90,
    ),
    Refused("a chunk shorter than it says", "RFC 9112 7.1", CHUNKED, b"abc\r\n", b"ab\r\n"),
    Refused("nothing behind a chunk", "RFC 9112 7.1", CHUNKED, b"abc\r\n", b"abc"),
    Refused("a bare CR behind a chunk", "RFC 9112 7.1", CHUNKED, b"abc\r\n", b"abc\r"),
    Refused("CR CR LF behind a chunk", "RFC 9112 7.1", CHUNKED, b"abc\r\n", b"abc\r\r\n"),
    Refused("LF CR behind a chunk", "RFC 9112 7.1", CHUNKED, b"abc\r\n", b"abc\n\r"),
    Refused("two bytes for CRLF behind a chunk", "RFC 9112 7.1", CHUNKED, b"abc\r\n", b"abcxx"),
    Refused("a size of 0x0 at the end", "RFC 9112 7.1", CHUNKED, b"\r\n0\r\n", b"\r\n0x0\r\n"),
    Refused("twenty zeros at the end", "RFC 9112 7.1", CHUNKED, b"\r\n0\r\n", b"\r\n" + b"0" * 20 + b"\r\n"),
    Refused("a bare LF at the end", "RFC 9112 7.1", CHUNKED, b"\r\n0\r\n", b"\r\n0\n"),
    *[
        Refused(
            _in_line(f"the trailer {line.decode('latin-1')}"),
            "RFC 9112 7.1.2",
            CHUNKED,
            b"0\r\n\r\n",
            b"0\r\n" + line + b"\r\n\r\n",
        )
        for line in (
            b"X", b": 1", b"X : 1", b" X: 1", b"X: \x00", b"X: 1\nY: 2", b"X: 1\rY: 2", b"X(: 1",
            b"X: 1\r\n\t2", b"GET / HTTP/1.1", b"X: \x7f",
        )
    ],
    Refused(
        "trailers too long", "RFC 9112 7.1.2", CHUNKED, b"0\r\n\r\n", b"0\r\nX: " + b"x" * 9000 + b"\r\n\r\n"
    ),
    # where a token is not looked for
    *[
        Refused(
            f"a token as {line.decode()}", "RFC 6750 2", KNOWN, TOKEN_LINE, line + b"\r\n", 401, "no_token"
        )
        for line in (
            b"Proxy-Authorization: Bearer <token>", b"X-Authorization: Bearer <token>",
            b"Authorization_: Bearer <token>", b"Cookie: access_token=<token>",
            b"X-Forwarded-Access-Token: <token>", b"Authentication: Bearer <token>",
            b"HTTP_AUTHORIZATION: Bearer <token>", b"X-Auth-Client-Id: reader",
            b"Authorization: DPoP <token>", b"Authorization: <token>", b"Authorization: Basic <token>",
        )
    ],
    *[
        Refused(
            f"the credentials {value.decode()}",
            "RFC 6750 2.1",
            KNOWN,
            b"Bearer <token>",
            value,
            401,
            "malformed_token",
        )
        for value in (
            b"Bearer <token>,Bearer <token>", b"Bearer <token>, x", b"Bearer <token> x", b'Bearer "<token>"',
            b"Bearer token=<token>", b"Bearer", b"Bearer .", b"Bearer <token>==", b"Bearer\t<token>",
        )
    ],
    Refused(
        "a token in the query alone",
        "RFC 6750 2.3",
        KNOWN,
        b"/read/AUS" + HOST + TOKEN_LINE,
        b"/read/AUS?access_token=<token>" + HOST,
        401,
        "no_token",
    ),
    Refused(
        "two tokens in other case",
        "RFC 6750 2",
        KNOWN,
        b"Host", b"authorization: Bearer <token>\r\nHost",
        400,
        "duplicate_authorization",
    ),
    Refused(
        "an empty Authorization beside it",
        "RFC 6750 2",
        KNOWN,
        b"Host", b"Authorization:\r\nHost",
        400,
        "duplicate_authorization",
    ),
    *[
        Refused(
            f"{line.split(b':')[0].decode()} does not change the path",
            "CONTRACT 4",
            KNOWN,
            TOKEN_LINE,
            line + b"\r\n",
            401,
            "no_token",
        )
        for line in (b"X-Original-URL: /open/x", b"X-Rewrite-URL: /open/x", b"X-Original-Uri: /open/x")
    ],
    Refused(
        "nor a field the method",
        "CONTRACT 4",
        test_refused.GET_ONLY,
        b"GET /get-only" + b" HTTP/1.1\r\n",
        b"POST /get-only HTTP/1.1\r\nX-HTTP-Method-Override: GET\r\n",
        405,
        "method_not_allowed",
    ),
]  # fmt: skip


@dataclass(frozen=True)
class Forwarded:
    """A request that passes, and what arrives of it."""

    name: str
    section: str
    sent: bytes
    arrives: bytes
    closes: bool = False
    """Nothing behind it is read."""


def _same(name: str, section: str, sent: bytes, *, closes: bool = False) -> Forwarded:
    """Return a row for something that does not arrive: what does is a plain GET."""
    return Forwarded(name, section, sent, ARRIVES[GET], closes)


def _dropped(section: str, *lines: bytes, closes: bool = False) -> list[Forwarded]:
    """Return a row for each field that ends here."""
    return [
        _same(
            f"{_in_line(line.decode('latin-1'))} ends here",
            section,
            GET.replace(b"Host", line + b"\r\nHost"),
            closes=closes,
        )
        for line in lines
    ]


def _offers(section: str, *lines: bytes) -> list[Forwarded]:
    """Return a row for each offer to switch beside a body, of either framing, that is not for us."""
    return [
        Forwarded(
            f"{_in_line(line.decode('latin-1'))} beside a body {sound.decode()} ends here",
            section,
            whole.replace(sound, line + b"\r\n" + sound),
            ARRIVES[whole],
        )
        for whole, sound in ((POST, b"Content"), (CHUNKED, b"Transfer"))
        for line in lines
    ]


def _kept(section: str, *lines: bytes) -> list[Forwarded]:
    """Return a row for each field that arrives as it was sent."""
    return [
        Forwarded(
            f"{_in_line(line.decode('latin-1'))} arrives",
            section,
            GET.replace(b"\r\n\r\n", b"\r\n" + line + b"\r\n\r\n"),
            b"GET /open/x" + HOST + line + b"\r\n" + OURS + b"\r\n",
        )
        for line in lines
    ]


def _spelled(section: str, *pairs: tuple[bytes, bytes]) -> list[Forwarded]:
    """Return a row for each (target as sent, as it arrives)."""
    return [
        Forwarded(
            f"the target {sent.decode()}",
            section,
            GET.replace(b"/open/x", sent),
            ARRIVES[GET].replace(b"/open/x", arrives),
        )
        for sent, arrives in pairs
    ]


def _chunks(name: str, section: str, sent: bytes, arrives: bytes = b"3\r\nabc\r\n0\r\n\r\n") -> Forwarded:
    """Return a row for chunks that arrive framed anew."""
    whole = b"3\r\nabc\r\n0\r\n\r\n"
    return Forwarded(name, section, CHUNKED.replace(whole, sent), ARRIVES[CHUNKED].replace(whole, arrives))


FORWARDED = [
    *[
        Forwarded(f"sound request {number}", "RFC 9112 3", sent, arrives)
        for number, (sent, arrives) in enumerate(ARRIVES.items())
    ],
    _same("one empty line in front", "RFC 9112 2.2", b"\r\n" + GET),
    _same("Host without a space", "RFC 9112 5", GET.replace(b": ", b":")),
    _same("Host with white space around it", "RFC 9112 5", GET.replace(b": a.example", b": \t a.example \t")),
    *_dropped(
        "RFC 9110 7.6.1",
        b"Connection: keep-alive", b"Connection: X-Hop\r\nX-Hop: 1", b"Keep-Alive: timeout=5",
        b"Proxy-Connection: keep-alive", b"TE: gzip", b"TE: trailers", b"Trailer: X", b"Upgrade: h2c",
        b"Proxy-Authorization: Basic x", b"Connection:", b"Connection: ,, ,",
        b"Connection: x-a, X-B\r\nX-A: 1\r\nx-b: 2",
    ),
    *_dropped(
        "RFC 9112 9.6",
        b"Connection: close", b"Connection: CLOSE", b"Connection: x, close",
        b"Connection: keep-alive\r\nConnection: close",
        closes=True,
    ),
    *_dropped(
        "RFC 7540 3.2",
        b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__",
        b"HTTP2-Settings: x",
    ),
    *_offers(
        "RFC 9110 7.8",
        b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__",
        b"Connection: upgrade\r\nUpgrade: websocket",
        b"Connection: upgrade\r\nUpgrade: h2c, TLS/1.0\r\nUpgrade: websocket",
        b"Connection: upgrade\r\nUpgrade: ,",
        b"Upgrade: websocket",
    ),
    *[
        Forwarded(
            f"{_in_line(line.decode())} beside a body on a route that lists another",
            "RFC 9110 7.8",
            test_refused.SWITCH_POST.replace(b"Content", line + b"\r\nContent"),
            ARRIVES[test_refused.SWITCH_POST],
        )
        for line in (
            b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__",
            b"Connection: upgrade\r\nUpgrade: websocket/13",
            b"Upgrade: websocket",
        )
    ],
    *_dropped(
        "RFC 7239 8.1",
        b"Forwarded: for=9.9.9.9", b"X-Forwarded-For: 9.9.9.9", b"x-forwarded-for: 9.9.9.9",
        b"X-Forwarded-Host: b", b"X-Forwarded-Proto: https", b"X-Forwarded-Port: 443",
        b"X-Forwarded-Server: b", b"X_Forwarded_For: 9.9.9.9", b"X-Forwarded: 9.9.9.9",
        b"X.Forwarded.For: 9.9.9.9", b"X--Forwarded-For: 9.9.9.9", b"Forwarded-: for=9.9.9.9",
        b"X-Forwarded-Prefix: /x",
    ),
    *_dropped(
        "RFC 9700 4.13",
        b"X-Auth-Client-Id: forged", b"x-auth-scope: forged", b"X_AUTH_SUBJECT: forged",
        b"X.Auth.Scope: forged", b"-X-Auth-Scope: forged", b"X-Auth: forged", b"X-Auth-Anything: forged",
        b"X-Sidegate-Connection: forged", b"X~Auth~Scope: forged",
        b"X-Auth-Scope: forged\r\nX-Auth-Scope: forged", b"x_sidegate: forged",
    ),
    *_dropped(
        "CONTRACT 4",
        b"X-HTTP-Method-Override: DELETE", b"X-HTTP-Method: DELETE", b"X-Method-Override: DELETE",
        b"X-Original-URL: /x", b"X-Rewrite-URL: /x", b"X_HTTP_Method_Override: DELETE", b"X_Custom: 1",
        b"Content_Length: 3", b"Transfer_Encoding: chunked", b"Authorization: Bearer a.b.c",
        b"X-Authenticated: 1",
        b"X-Real-Ip: 9.9.9.9", b"X.Real.IP: 9.9.9.9", b"True-Client-IP: 9.9.9.9", b"X-Client-IP: 9.9.9.9",
        b"X-Request-Id: not one", b"traceparent: nonsense", b"tracestate: a=1",
        b"traceparent: nonsense\r\ntracestate: a=1", b"tracestate: a=1\r\nTraceState: b=2",
        b"X-Request-Id: a\r\nX-Request-Id: b",
    ),
    *_dropped(
        "RFC 9110 7.6.2", b"Max-Forwards: x", b"Max-Forwards: -1", b"Max-Forwards: 1\r\nMax-Forwards: 2"
    ),
    *_kept(
        "RFC 9110 5.5",
        b"X-Latin: caf\xe9", b"X-Utf8: \xc3\xa9", b"X-Tab: a\tb", b"X: 1", b"!#$%&'*+-.^`|~: 1",
        b'X-Quoted: "a\\"b"', b"X-Colon: a:b", b"Cookie: a=1; b=2", b"X-Twice: 1\r\nX-Twice: 2",
        b"x-low: 1\r\nX-Low: 2", b"Accept: a, b\r\nOther: 1\r\nAccept: c",
    ),
    *_kept("RFC 9110 7.6.3", b"Via: 1.1 proxy.example", b"Via: 1.0 a, 1.1 b"),
    *_kept(
        "CONTRACT 4",
        b"X-Authorization: x", b"X-Author: 1", b"Auth: 1", b"X-Real-Estate: 1",
        b"Content-Type: text/plain", b"Range: bytes=0-1", b"If-Match: *", b"Expect: 100-continue",
    ),
    Forwarded(
        "an empty value arrives",
        "RFC 9110 5.5",
        GET.replace(b"Host", b"X-Empty:\r\nHost"),
        ARRIVES[GET].replace(OURS, b"X-Empty: \r\n" + OURS),
    ),
    Forwarded(
        "a request id arrives",
        "CONTRACT 4",
        GET.replace(b"Host", b"X-Request-Id: abc-1._\r\nHost"),
        ARRIVES[GET].replace(b"<id>", b"abc-1._"),
    ),
    Forwarded(
        "Max-Forwards of a GET arrives",
        "RFC 9110 7.6.2",
        GET.replace(b"Host", b"Max-Forwards: 0\r\nHost"),
        ARRIVES[GET][:-2] + b"Max-Forwards: 0\r\n\r\n",
    ),
    Forwarded(
        "Max-Forwards of OPTIONS is counted",
        "RFC 9110 7.6.2",
        GET.replace(b"GET", b"OPTIONS").replace(b"Host", b"Max-Forwards: 7\r\nHost"),
        ARRIVES[GET].replace(b"GET", b"OPTIONS")[:-2] + b"Max-Forwards: 6\r\n\r\n",
    ),
    Forwarded(
        "TE: trailers is a promise of our own",
        "RFC 9110 10.1.4",
        GET.replace(b"Host", b"Connection: TE\r\nTE: trailers, gzip\r\nHost"),
        ARRIVES[GET][:-2] + b"Connection: TE\r\nTE: trailers\r\n\r\n",
    ),
    Forwarded(
        "Connection cannot name what is ours",
        "RFC 9110 7.6.1",
        KNOWN.replace(b"Host", b"Connection: X-Auth-Client-Id, Host, Via, X-Forwarded-For\r\nHost"),
        ARRIVES[KNOWN],
    ),
    Forwarded(
        "a token in the query beside the real one",
        "RFC 6750 2.3",
        KNOWN.replace(b"AUS ", b"AUS?access_token=x "),
        ARRIVES[KNOWN].replace(b"AUS ", b"AUS?access_token=x "),
    ),
    Forwarded(
        "the scheme in other case", "RFC 9110 11.1", KNOWN.replace(b"Bearer", b"bEARER"), ARRIVES[KNOWN]
    ),
    Forwarded(
        "two spaces behind the scheme",
        "RFC 9110 11.4",
        KNOWN.replace(b"Bearer ", b"Bearer  "),
        ARRIVES[KNOWN],
    ),
    *_spelled(
        "RFC 3986 6.2.2",
        (b"/open/%7ex", b"/open/~x"),
        (b"/open/%41", b"/open/A"),
        (b"/o%70en/x", b"/open/x"),
        (b"/open/%c3%a9", b"/open/%C3%A9"),
        (b"/open/%252e%252e/x", b"/open/%252e%252e/x"),
        (b"/open/a%20b", b"/open/a%20b"),
        (b"/open/...", b"/open/..."),
        (b"/open/.x", b"/open/.x"),
        (b"/open/x..", b"/open/x.."),
        (b"/open", b"/open"),
        (b"/open/", b"/open/"),
        (b"/open/x:y@z", b"/open/x:y@z"),
    ),
    *_spelled(
        "CONTRACT 2",
        (b"/open/x?", b"/open/x?"),
        (b"/open/x?a=/../&b=%zz//;%00", b"/open/x?a=/../&b=%zz//;%00"),
        (b"/open/x??", b"/open/x??"),
        (b"/open/x?[]{}|^`", b"/open/x?[]{}|^`"),
    ),
    *_spelled(
        "RFC 9112 3.2.2",
        (b"http://a.example/open/x", b"/open/x"),
        (b"HTTP://A.EXAMPLE/open/x?q", b"/open/x?q"),
        (b"https://a.example/open/x", b"/open/x"),
    ),
    *[
        Forwarded(
            f"Host {host.decode()} leads to its routes",
            "RFC 9110 4.2.3",
            HOSTED.replace(b"h.example", host),
            ARRIVES[HOSTED].replace(b"h.example", host),
        )
        for host in (b"H.Example", b"h.example.", b"h.example:8080", b"H.EXAMPLE.:80")
    ],
    *[
        Forwarded(
            f"Host {host.decode()}",
            "RFC 9110 7.2",
            GET.replace(b"a.example", host),
            ARRIVES[GET].replace(b"a.example", host),
        )
        for host in (b"[::1]", b"[::1]:80", b"127.0.0.1", b"a_b.example", b"xn--a.example:65535", b"a")
    ],
    Forwarded(
        "HTTP/1.0",
        "RFC 9112 2.3",
        GET.replace(b"1.1", b"1.0"),
        ARRIVES[GET].replace(b"1.1 <", b"1.0 <"),
        closes=True,
    ),
    *[
        Forwarded(
            f"the expectation {value.decode()} in HTTP/1.0",
            "RFC 9110 10.1.1",
            POST.replace(b"1.1\r\n", b"1.0\r\nConnection: keep-alive\r\nExpect: " + value + b"\r\n"),
            ARRIVES[POST].replace(b"1.1 <", b"1.0 <"),
        )
        for value in (b"100-continue", b"tea")
    ],
    Forwarded(
        "HTTP/1.0 kept alive",
        "RFC 9112 9.3",
        GET.replace(b"1.1\r\n", b"1.0\r\nConnection: Keep-Alive\r\n"),
        ARRIVES[GET].replace(b"1.1 <", b"1.0 <"),
    ),
    Forwarded(
        "HTTP/1.0 without Host",
        "RFC 9112 3.2",
        b"GET /open/x HTTP/1.0\r\n\r\n",
        ARRIVES[GET]
        .replace(b"1.1 <", b"1.0 <")
        .replace(b"X-Forwarded-Host: a.example\r\n", b"")
        .replace(b"a.example", b""),
        closes=True,
    ),
    Forwarded(
        "a length of zero",
        "RFC 9110 8.6",
        GET.replace(b"Host", b"Content-Length: 0\r\nHost"),
        ARRIVES[GET][:-2] + b"Content-Length: 0\r\n\r\n",
    ),
    Forwarded("zeros before a length", "RFC 9110 8.6", POST.replace(b": 3", b": 0003"), ARRIVES[POST]),
    Forwarded(
        "a body that looks like a request",
        "RFC 9112 6.3",
        POST.replace(b": 3\r\n\r\nabc", b": %d\r\n\r\n%b" % (len(GET), GET)),
        ARRIVES[POST].replace(b": 3\r\n\r\nabc", b": %d\r\n\r\n%b" % (len(GET), GET)),
    ),
    Forwarded(
        "a body of a GET",
        "RFC 9110 9.3.1",
        POST.replace(b"POST", b"GET"),
        ARRIVES[POST].replace(b"POST", b"GET"),
    ),
    Forwarded(
        "a coding in other case",
        "RFC 9112 7",
        CHUNKED.replace(b"Transfer-Encoding: chunked", b"TRANSFER-ENCODING:\tChunKed "),
        ARRIVES[CHUNKED],
    ),
    _chunks("an extension", "RFC 9112 7.1.1", b"3;a\r\nabc\r\n0\r\n\r\n"),
    _chunks("an extension with white space", "RFC 9112 7.1.1", b'3 ; a = "b"\r\nabc\r\n0;c\r\n\r\n'),
    _chunks("zeros before a size", "RFC 9112 7.1", b"0003\r\nabc\r\n000\r\n\r\n"),
    _chunks(
        "two chunks", "RFC 9112 7.1", b"1\r\na\r\n2\r\nbc\r\n0\r\n\r\n", b"1\r\na\r\n2\r\nbc\r\n0\r\n\r\n"
    ),
    _chunks("no chunk but the last", "RFC 9112 7.1", b"0\r\n\r\n", b"0\r\n\r\n"),
    _chunks(
        "line ends in a chunk",
        "RFC 9112 7.1",
        b"6\r\n\r\n0\r\n\n\r\n0\r\n\r\n", b"6\r\n\r\n0\r\n\n\r\n0\r\n\r\n",
    ),
    _chunks(
        "a size in capitals", "RFC 9112 7.1", b"A\r\n0123456789\r\n0\r\n\r\n", b"a\r\n0123456789\r\n0\r\n\r\n"
    ),
    _chunks(
        "a trailer",
        "RFC 9112 7.1.2",
        b"3\r\nabc\r\n0\r\nX-End: 1\r\n\r\n", b"3\r\nabc\r\n0\r\nX-End: 1\r\n\r\n",
    ),
    *[
        _chunks(
            f"the trailer {line.decode()} ends here",
            "RFC 9110 6.5.1",
            b"3\r\nabc\r\n0\r\n" + line + b"\r\n\r\n",
        )
        for line in (
            b"Content-Length: 4", b"Transfer-Encoding: chunked", b"Host: b", b"X-Auth-Scope: forged",
            b"X_Auth_Scope: forged", b"Authorization: Bearer x", b"Forwarded: for=9.9.9.9",
            b"Connection: close", b"X-HTTP-Method-Override: DELETE", b"Content-Type: text/html",
            b"If-Match: *", b"If-Modified-Since: x", b"Pragma: no-cache", b"Cache-Control: no-store",
            b"Range: bytes=0-1", b"Expect: 100-continue", b"Cookie: a=1", b"TE: trailers", b"Trailer: X",
            b"Max-Forwards: 1", b"Via: 1.1 x", b"X-Request-Id: forged", b"Proxy-Authorization: Basic x",
            b"Upgrade: websocket", b"Sidegate-Reason: ok",
        )
    ],
]  # fmt: skip


ANSWER = b"HTTP/1.1 200 OK\r\nX-Kept: 1\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED_ANSWER = b"HTTP/1.1 200 OK\r\nX-Kept: 1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
EMPTY = b"HTTP/1.1 204 No Content\r\nX-Kept: 1\r\n\r\n"
UNCHANGED = b"HTTP/1.1 304 Not Modified\r\nX-Kept: 1\r\n\r\n"
RESET = b"HTTP/1.1 205 Reset Content\r\nX-Kept: 1\r\nContent-Length: 0\r\n\r\n"
CHUNKED_RESET = RESET.replace(b"Content-Length: 0\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + ANSWER


@dataclass(frozen=True)
class SpoiledAnswer:
    """An upstream's answer that is spoiled by one change."""

    name: str
    section: str
    whole: bytes
    sound: bytes
    spoiled: bytes
    method: bytes = b"GET"
    cut: bool = False
    """The defect comes when the head has gone out: the caller's connection is cut in place of a 502."""
    excess: bool = False
    """More came than belongs to the answer: when it comes later, the answer has gone out."""

    @property
    def raw(self) -> bytes:
        return self.whole.replace(self.sound, self.spoiled, 1)


def _status_lines(*lines: bytes) -> list[SpoiledAnswer]:
    return [
        SpoiledAnswer(
            f"the status line {line!r}", "RFC 9112 4", ANSWER, b"HTTP/1.1 200 OK\r\n", line + b"\r\n"
        )
        for line in lines
    ]


def _answer_lines(section: str, *lines: bytes, whole: bytes = ANSWER) -> list[SpoiledAnswer]:
    return [
        SpoiledAnswer(
            _in_line(f"the line {line.decode('latin-1')[:40]} before {whole[-20:].decode()}"),
            section,
            whole,
            b"X-Kept",
            line + b"\r\nX-Kept",
        )
        for line in lines
    ]


def _answer_values(
    section: str, whole: bytes, name: bytes, sound: bytes, *values: bytes
) -> list[SpoiledAnswer]:
    return [
        SpoiledAnswer(
            _in_line(f"{name.decode()}: {value.decode('latin-1')}"),
            section,
            whole,
            name + b": " + sound,
            name + b": " + value,
        )
        for value in values
    ]


ANSWERS = [
    *_status_lines(
        b"HTTP/2.0 200 OK", b"HTTP/1.2 200 OK", b"HTTP/0.9 200 OK", b"http/1.1 200 OK", b"HTTP/1.1  200 OK",
        b"HTTP/1.1 99 No", b"HTTP/1.1 999 No", b"HTTP/1.1 600 No", b"HTTP/1.1 000 No", b"HTTP/1.1 2000 No",
        b"HTTP/1.1 20 OK", b"HTTP/1.1 +200 OK", b"HTTP/1.1 2x0 OK", b"HTTP/1.1\t200 OK", b"HTTP/1.1 200\tOK",
        b" HTTP/1.1 200 OK", b"\r\nHTTP/1.1 200 OK", b"HTTP/1.1 200 O\x00K", b"HTTP/1.1 200 O\rK",
        b"HTTP/1.1 200 O\x7fK", b"HTTP/1.1 200 OK\nX: 1", b"ICY 200 OK", b"200 OK", b"", b"HTTP/1.1",
        b"HTTP/1.1 ", b"HTTP/11 200 OK", b"HTTPS/1.1 200 OK", b"SSH-2.0-OpenSSH_9",
    ),
    *_answer_lines(
        "RFC 9112 5",
        b"X : 1", b"X\t: 1", b" X: 1", b"X: 1\r\n 2", b"X: 1\r\n\t2", b": 1", b"X", b"X: \x00", b"X: \x01",
        b"X: \x7f", b"X: 1\rY: 2", b"X: 1\nY: 2", b"X(: 1", b"X Y: 1", b"\xc3\xa4: 1", b"X: 1\r", b"X: 1\n",
    ),
    *_answer_lines(
        "RFC 9112 11.1",
        b"Set-Cookie: a=1\nSet-Cookie: evil=1", b"Location: /\rSet-Cookie: evil=1",
        b"X: 1\n\nHTTP/1.1 200 OK", b"X: 1\r\r\nHTTP/1.1 200 OK: 1",
    ),
    *_answer_lines(
        "RFC 9112 6.3",
        b"Content-Length: 5", b"Content-Length: 4", b"content-length: 5", b"Transfer-Encoding: chunked",
        b"Transfer-Encoding: identity", b"Content-Length:", b"Transfer-Encoding: gzip",
    ),
    *_answer_lines(
        "RFC 9112 6.3",
        b"Content-Length: 5", b"Content-Length: 0", b"Transfer-Encoding: chunked",
        b"transfer-encoding: identity",
        whole=CHUNKED_ANSWER,
    ),
    *_answer_lines(
        "RFC 9112 6.1", b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity", whole=EMPTY
    ),
    *_answer_values(
        "RFC 9110 8.6",
        ANSWER,
        b"Content-Length", b"5", b"+5", b"-5", b"0x5", b"5, 5", b"5,", b"5 5", b"5.0", b"five", b"",
        b"99999999999999999999", b"5\x00", b"\xd9\xa5", b"5_0", b"5;",
    ),
    *_answer_values(
        "RFC 9112 6.1",
        CHUNKED_ANSWER,
        b"Transfer-Encoding", b"chunked", b"gzip, chunked", b"chunked, chunked", b"chunked, gzip",
        b"xchunked", b"chunked;q=1", b"identity", b"", b"chunked,", b"\x0bchunked", b'"chunked"', b"chun ked",
    ),
    SpoiledAnswer("a coding in HTTP/1.0", "RFC 9112 6.1", CHUNKED_ANSWER, b"HTTP/1.1", b"HTTP/1.0"),
    SpoiledAnswer(
        "bare LFs throughout",
        "RFC 9112 2.2",
        ANSWER,
        b"OK\r\nX-Kept: 1\r\nContent-Length: 5\r\n\r\nhello",
        b"OK\nX-Kept: 1\nContent-Length: 5\n\nhello\r\n\r\n",
    ),
    SpoiledAnswer("a head without end", "RFC 9110 15.6.3", ANSWER, b"X-Kept: 1", b"X-Kept: " + b"x" * 70_000),
    SpoiledAnswer(
        "a switch that nobody asked for",
        "RFC 9110 15.2.2",
        HINTS,
        b"103 Early Hints", b"101 Switching Protocols",
    ),
    SpoiledAnswer(
        "a switch with its fields",
        "RFC 9110 7.8",
        HINTS,
        b"103 Early Hints\r\n", b"101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n",
    ),
    SpoiledAnswer(
        "a length in 1xx and its body",
        "RFC 9110 8.6",
        HINTS,
        b"Link: </x>\r\n\r\n", b"Link: </x>\r\nContent-Length: 5\r\n\r\nhello",
    ),
    SpoiledAnswer(
        "a length of zero in 1xx", "RFC 9110 8.6", HINTS, b"Link", b"Content-Length: 0\r\nLink"
    ),
    SpoiledAnswer("a coding in 1xx", "RFC 9112 6.1", HINTS, b"Link", b"Transfer-Encoding: chunked\r\nLink"),
    SpoiledAnswer(
        "1xx without end",
        "RFC 9110 15.2",
        HINTS,
        b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 17,
    ),
    # more than the answer
    SpoiledAnswer("a body on 204", "RFC 9110 15.3.5", EMPTY, b"\r\n\r\n", b"\r\n\r\nhello", excess=True),
    SpoiledAnswer(
        "a body and its length on 204",
        "RFC 9110 8.6",
        EMPTY,
        b"X-Kept: 1\r\n\r\n", b"X-Kept: 1\r\nContent-Length: 5\r\n\r\nhello",
        excess=True,
    ),
    SpoiledAnswer("a length on 205", "RFC 9110 15.3.6", RESET, b": 0\r\n\r\n", b": 5\r\n\r\nhello"),
    SpoiledAnswer("a body on 205", "RFC 9110 15.3.6", RESET, b"0\r\n\r\n", b"0\r\n\r\nhello", excess=True),
    SpoiledAnswer(
        "chunks on 205",
        "RFC 9110 15.3.6",
        CHUNKED_RESET,
        b"\r\n\r\n0\r\n\r\n", b"\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        cut=True,
    ),
    SpoiledAnswer("a body on 304", "RFC 9110 15.4.5", UNCHANGED, b"\r\n\r\n", b"\r\n\r\nhello", excess=True),
    SpoiledAnswer(
        "a body and its length on 304",
        "RFC 9110 15.4.5",
        UNCHANGED,
        b"X-Kept: 1\r\n\r\n", b"X-Kept: 1\r\nContent-Length: 5\r\n\r\nhello",
        excess=True,
    ),
    SpoiledAnswer(
        "a body on HEAD",
        "RFC 9110 9.3.2",
        ANSWER.replace(b"hello", b""),
        b"\r\n\r\n", b"\r\n\r\nhello", b"HEAD",
        excess=True,
    ),
    SpoiledAnswer(
        "chunks on HEAD",
        "RFC 9110 9.3.2",
        CHUNKED_ANSWER[:-15],
        b"\r\n\r\n", b"\r\n\r\n5\r\nhello\r\n0\r\n\r\n", b"HEAD",
        excess=True,
    ),
    SpoiledAnswer("two final heads", "RFC 9112 6.3", ANSWER, b"hello", b"hello" + ANSWER, excess=True),
    SpoiledAnswer(
        "two final heads without a body",
        "RFC 9112 6.3",
        EMPTY,
        b"1\r\n\r\n",
        b"1\r\n\r\n" + EMPTY,
        excess=True,
    ),
    SpoiledAnswer("a length too short", "RFC 9112 6.3", ANSWER, b": 5", b": 4", excess=True),
    SpoiledAnswer("a line end behind the body", "RFC 9112 2.2", ANSWER, b"hello", b"hello\r\n", excess=True),
    # defects behind the head
    *[
        SpoiledAnswer(
            _in_line(f"the chunk {chunks.decode('latin-1')[:30]}"),
            "RFC 9112 7.1",
            CHUNKED_ANSWER,
            b"5\r\nhello\r\n0\r\n\r\n",
            chunks,
            cut=True,
        )
        for chunks in (
            b"-5\r\nhello\r\n0\r\n\r\n", b"+5\r\nhello\r\n0\r\n\r\n", b"0x5\r\nhello\r\n0\r\n\r\n",
            b"g\r\nhello\r\n0\r\n\r\n", b"\r\nhello\r\n0\r\n\r\n", b"5\nhello\r\n0\r\n\r\n",
            b"5\r\nhell\r\n0\r\n\r\n", b"5\r\nhello!\r\n0\r\n\r\n", b"5\r\nhello\n0\r\n\r\n",
            b"5\r\nhello0\r\n\r\n", b" 5\r\nhello\r\n0\r\n\r\n", b"10000000000000005\r\nhello\r\n0\r\n\r\n",
            b"5;\x00\r\nhello\r\n0\r\n\r\n", b"5\r\nhello\r\n0\r\nX : 1\r\n\r\n",
            b"5\r\nhello\r\n0\r\nX: 1\nY: 2\r\n\r\n",
            b"5;" + b"a" * 300 + b"\r\nhello\r\n0\r\n\r\n",
            b"5\r\nhello\r\n-0\r\n\r\n", b"5\r\nhello\r\n0\n\n\r\n",
        )
    ],
]  # fmt: skip
