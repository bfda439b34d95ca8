"""Read a caller's bytes as the RFCs and the contract say, sharing no code with the gate.

A second opinion, written for being obviously right and not for speed: one pass over whole
input, no patterns, no memory of earlier input. It says which requests of a stream an upstream
must receive, and that nothing else of it may arrive. Where the contract is stricter than the
RFC (bare LF, the characters of a target, several paths for one resource) it is read here too.

Sources: RFC 9112 2.2, 3, 5, 6, 7.1 and 9.3; RFC 9110 5.6.2, 7.2, 7.6, 10.1.1; RFC 3986 2 and 3;
CONTRACT "Matching" and "Towards the upstream".
"""

from dataclasses import dataclass, field

ALPHANUMERIC = frozenset(b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
TOKEN = ALPHANUMERIC | frozenset(b"!#$%&'*+-.^_`|~")
DIGITS = frozenset(b"0123456789")
HEX_DIGITS = frozenset(b"0123456789ABCDEFabcdef")
UNRESERVED = ALPHANUMERIC | frozenset(b"-._~")
TARGET = frozenset(range(0x21, 0x7F)) - frozenset(b'"#<>\\')
VALUE = frozenset(range(0x20, 0x7F)) | frozenset(range(0x80, 0x100)) | {0x09}
METHODS = frozenset(
    b"ACL BIND CHECKOUT COPY DELETE GET HEAD LINK LOCK M-SEARCH MERGE MKACTIVITY MKCALENDAR MKCOL MOVE "
    b"NOTIFY OPTIONS PATCH POST PROPFIND PROPPATCH PURGE PUT QUERY REBIND REPORT SEARCH SOURCE SUBSCRIBE "
    b"UNBIND UNLINK UNLOCK UNSUBSCRIBE".split()
)
HOP_BY_HOP = frozenset(
    b"connection keep-alive proxy-connection proxy-authenticate proxy-authorization "
    b"proxy-authentication-info te trailer transfer-encoding upgrade http2-settings".split()
)
WRITTEN_ANEW = frozenset(b"host content-length max-forwards x-request-id traceparent authorization".split())
OVERRIDES = frozenset(
    b"x-http-method-override x-http-method x-method-override x-original-url x-original-uri "
    b"x-rewrite-url".split()
)
CLIENT_ADDRESSES = frozenset(
    b"client-ip x-real-ip x-client-ip x-cluster-client-ip x-proxyuser-ip x-remote-ip "
    b"x-remote-addr x-originating-ip x-original-forwarded-for x-original-remote-addr "
    b"x-envoy-external-address true-client-ip cf-connecting-ip cf-connecting-ipv6 "
    b"cf-pseudo-ipv4 fastly-client-ip fly-client-ip do-connecting-ip incap-client-ip "
    b"proxy-client-ip wl-proxy-client-ip x-azure-clientip x-azure-socketip x-appengine-user-ip "
    b"x-arr-clientip".split()
)
NEVER_TRAILERS = frozenset(
    b"host authorization cookie set-cookie www-authenticate expect max-forwards range cache-control "
    b"pragma via x-request-id traceparent tracestate sidegate-reason".split()
)

SWITCHES = {b"/switch": [b"websocket"]}
"""The protocols of the routes that list any."""

Line = tuple[bytes, bytes]
"""A field's name as sent and its value without white space around it."""


class RefusedError(Exception):
    """Not a well-formed message, or beyond a limit: the connection ends here."""


class UnfinishedError(Exception):
    """The bytes end inside a message."""


@dataclass(frozen=True)
class Rules:
    """What the gate under test allows. 0 is no limit."""

    token: bytes = b""
    """The one bearer token that opens `/read/{code}`."""
    head_bytes: int = 0
    fields: int = 0
    body_bytes: int = 0
    empty_host: bool = False
    """Host may be empty, as it is towards an upstream when the caller named none (RFC 9112 3.2)."""


@dataclass
class Message:
    """One request, as far as it could be read."""

    method: bytes
    target: bytes
    version: bytes
    fields: list[Line]
    framing: int | str | None = None
    """The length, `chunked`, or None for no body."""
    body: bytes = b""
    trailers: list[Line] = field(default_factory=list)
    end: int = 0
    """Where the next message begins."""

    def values(self, name: bytes) -> list[bytes]:
        return [value for found, value in self.fields if found.lower() == name]

    def members(self, name: bytes) -> list[bytes]:
        """Return the members of a list field, in lower case."""
        parts = b",".join(self.values(name)).split(b",")
        return [part.strip(b" \t").lower() for part in parts if part.strip(b" \t")]


@dataclass(frozen=True)
class Expected:
    """One request as an upstream must receive it."""

    method: bytes
    target: bytes
    host: bytes
    fields: tuple[Line, ...]
    """The caller's that may pass, in order."""
    body: bytes
    chunked: bool
    length: bytes | None
    trailers: tuple[Line, ...]
    max_forwards: bytes | None
    request_id: bytes | None
    """The caller's own, where it is kept."""
    identified: bool
    """X-Auth-* of the token's client belong to it."""


@dataclass
class Reading:
    """What an upstream must see of a stream."""

    requests: list[Expected] = field(default_factory=list)
    begun: Expected | None = None
    """One more whose body is incomplete or malformed: its beginning may arrive, never its end."""


def read_stream(data: bytes, rules: Rules) -> Reading:
    """Return what must arrive of everything one caller sends before it closes its half."""
    reading = Reading()
    start = 0
    while start < len(data):
        if data[start : start + 2] == b"\r\n":
            start += 2  # RFC 9112 2.2: one empty line is ignored
        try:
            message = read_head(data, start, rules)
        except (RefusedError, UnfinishedError):
            return reading
        expected, permitted = _judge(message, rules)
        if _is_ambiguous(message) or not (permitted or _can_be_read_over(message)):
            return reading
        try:
            read_body(data, message, rules)
        except (RefusedError, UnfinishedError):
            if permitted:
                reading.begun = _with_body(expected, message)
            return reading
        if permitted:
            reading.requests.append(_with_body(expected, message))
        if not _stays_open(message):
            return reading
        start = message.end
    return reading


# --- RFC 9112: the message


def read_head(data: bytes, start: int, rules: Rules = Rules()) -> Message:
    """Return the message whose head begins at `start`, its body not yet read."""
    end = data.find(b"\r\n\r\n", start)
    if end < 0:
        raise UnfinishedError
    if rules.head_bytes and end + 4 - start > rules.head_bytes:
        raise RefusedError
    first, *lines = data[start:end].split(b"\r\n")
    message = _request_line(first)
    message.fields = [_field_line(line) for line in lines]
    if rules.fields and len(message.fields) > rules.fields:
        raise RefusedError
    hosts = message.values(b"host")
    if len(hosts) > 1 or (message.version == b"1.1" and not hosts):
        raise RefusedError
    if hosts and not _is_authority(hosts[0]) and not (rules.empty_host and hosts == [b""]):
        raise RefusedError
    message.framing = _framing(message)
    message.end = end + 4
    return message


def _request_line(line: bytes) -> Message:
    parts = line.split(b" ")
    if len(parts) != 3:
        raise RefusedError
    method, target, version = parts
    if method not in METHODS or not target or not TARGET.issuperset(target):
        raise RefusedError
    if version not in (b"HTTP/1.1", b"HTTP/1.0"):
        raise RefusedError
    return Message(method, target, version[5:], [])


def _field_line(line: bytes) -> Line:
    name, colon, value = line.partition(b":")
    if not colon or not name or not TOKEN.issuperset(name) or not VALUE.issuperset(value):
        raise RefusedError
    if name.lower() == b"transfer-encoding" and b"\t" in value[len(value.rstrip(b" \t")) :]:
        # RFC 9112 5 allows it, but not every reader sees `chunked` then; llhttp does not.
        raise RefusedError
    return name, value.strip(b" \t")


def _is_authority(value: bytes) -> bool:
    host, colon, port = value, b"", b""
    if value.startswith(b"["):
        host, bracket, rest = value.partition(b"]")
        if not bracket or not 2 <= len(host[1:]) <= 45 or not (HEX_DIGITS | set(b":.")).issuperset(host[1:]):
            return False
        if rest:
            colon, port = rest[:1], rest[1:]
            if colon != b":":
                return False
    else:
        host, colon, port = value.partition(b":")
        if not 1 <= len(host) <= 255 or not UNRESERVED.issuperset(host):
            return False
    return not colon or (1 <= len(port) <= 5 and DIGITS.issuperset(port) and int(port) < 65536)


def _framing(message: Message) -> int | str | None:
    codings, lengths = message.values(b"transfer-encoding"), message.values(b"content-length")
    if codings:
        if lengths or message.version == b"1.0" or [coding.lower() for coding in codings] != [b"chunked"]:
            raise RefusedError
        return "chunked"
    if not lengths:
        return None
    if len(lengths) != 1 or not 1 <= len(lengths[0]) <= 18 or not DIGITS.issuperset(lengths[0]):
        raise RefusedError
    return int(lengths[0])


def read_body(data: bytes, message: Message, rules: Rules = Rules()) -> None:
    """Read the body behind `message`'s head into it; what was read stays when it cannot go on."""
    if message.framing == "chunked":
        _read_chunks(data, message, rules)
        return
    length = message.framing or 0
    assert isinstance(length, int)
    message.body = data[message.end : message.end + length]
    if len(message.body) < length:
        raise UnfinishedError
    message.end += length


def _read_chunks(data: bytes, message: Message, rules: Rules) -> None:
    extensions = 0
    while True:
        line = _line(data, message, limit=256)
        extensions += max(0, len(line) + 2 - 20)
        digits = line.split(b";")[0].rstrip(b" \t") if b";" in line else line
        if not 1 <= len(digits) <= 15 or not HEX_DIGITS.issuperset(digits):
            raise RefusedError
        if not VALUE.issuperset(line) or extensions > 16 * 1024:
            raise RefusedError
        size = int(digits, 16)
        if not size:
            break
        piece = data[message.end : message.end + size]
        message.body += piece
        if rules.body_bytes and len(message.body) > rules.body_bytes:
            raise RefusedError
        message.end += len(piece)
        ending = data[message.end : message.end + 2]
        if len(piece) < size or (len(ending) < 2 and b"\r\n".startswith(ending)):
            raise UnfinishedError
        if ending != b"\r\n":
            raise RefusedError
        message.end += 2
    begin = message.end
    trailers = []
    while line := _line(data, message, limit=0):
        trailers.append(_field_line(line))
        if message.end - begin > 8 * 1024:
            raise RefusedError
    message.trailers = trailers


def _line(data: bytes, message: Message, *, limit: int) -> bytes:
    """Return the line at the message's end, which moves behind it."""
    end = data.find(b"\n", message.end)
    if limit and (end < 0 or end >= message.end + limit):
        raise RefusedError if len(data) - message.end >= limit else UnfinishedError
    if end < 0:
        raise UnfinishedError
    line = data[message.end : end + 1]
    if not line.endswith(b"\r\n"):
        raise RefusedError
    message.end = end + 1
    return line[:-2]


# --- the contract: where it leads and what of it passes


def _stays_open(message: Message) -> bool:
    options = message.members(b"connection")
    return b"close" not in options and (message.version == b"1.1" or b"keep-alive" in options)


def _is_ambiguous(message: Message) -> bool:
    """Return whether another reader could differ about where it leads, where it ends or what follows."""
    if _split_target(message) is None:
        return True
    if message.version == b"1.0":
        return False
    return bool(_switches(message) and message.framing) or _expects_what_nobody_can(message)


def _switches(message: Message) -> bool:
    """Return whether its route lists a protocol that it would switch to; any other offer is not for us."""
    split = _split_target(message)
    listed = SWITCHES.get(_canonical(split[0]) or b"", []) if split else []
    offered = message.members(b"upgrade") if b"upgrade" in message.members(b"connection") else []
    return any(protocol in listed for protocol in offered)


def _expects_what_nobody_can(message: Message) -> bool:
    return any(value.lower() != b"100-continue" for value in message.values(b"expect"))


def _can_be_read_over(message: Message) -> bool:
    """Return whether the body of a refused request is read over, so that another may follow."""
    if not message.framing:
        return True
    if message.framing == "chunked" or (message.values(b"expect") and message.version == b"1.1"):
        return False
    return int(message.framing) <= 64 * 1024


def _judge(message: Message, rules: Rules) -> tuple[Expected, bool]:
    """Return how the upstream must see it, and whether it may see it at all. Raises nothing."""
    split = _split_target(message)
    path = None if split is None else _canonical(split[0])
    permitted = path is not None and not _is_ambiguous(message) and _leads_there(message, path, rules)
    limit = rules.body_bytes
    if limit and isinstance(message.framing, int) and message.framing > limit:
        permitted = False
    forwards = message.values(b"max-forwards")
    left: int | None = None
    if len(forwards) == 1 and 1 <= len(forwards[0]) <= 9 and DIGITS.issuperset(forwards[0]):
        left = int(forwards[0]) - (message.method == b"OPTIONS")
        permitted = permitted and left >= 0
    hosts, ids = message.values(b"host"), message.values(b"x-request-id")
    keeps_id = len(ids) == 1 and 1 <= len(ids[0]) <= 64 and (ALPHANUMERIC | set(b"._-")).issuperset(ids[0])
    expected = Expected(
        method=message.method,
        target=(path or b"") + (split[1] if split else b""),
        host=hosts[0] if hosts else b"",
        fields=tuple(line for line in message.fields if _may_pass(line[0].lower(), message)),
        body=b"",
        chunked=message.framing == "chunked",
        length=b"%d" % message.framing if isinstance(message.framing, int) else None,
        trailers=(),
        max_forwards=None if left is None else b"%d" % left,
        request_id=ids[0] if keeps_id else None,
        identified=path is not None and path.startswith(b"/read/"),
    )
    return expected, permitted


def _with_body(expected: Expected, message: Message) -> Expected:
    """Return `expected` with the body that was read."""
    trailers = tuple(line for line in message.trailers if _may_trail(line[0].lower(), message))
    known = {name: getattr(expected, name) for name in Expected.__dataclass_fields__}
    return Expected(**{**known, "body": message.body, "trailers": trailers})


def _split_target(message: Message) -> tuple[bytes, bytes] | None:
    target = message.target
    if not target.startswith(b"/"):
        authority = _named_authority(message)
        if authority is None or [host.lower() for host in message.values(b"host")] != [authority.lower()]:
            return None
        target = target.partition(b"://")[2][len(authority) :]
        if not target.startswith(b"/"):
            target = b"/" + target
    path, mark, query = target.partition(b"?")
    return path, mark + query


def _named_authority(message: Message) -> bytes | None:
    """Return the authority of a target in absolute-form, or None when it has another form."""
    scheme, mark, rest = message.target.partition(b"://")
    if message.target.startswith(b"/") or not mark or scheme.lower() not in (b"http", b"https"):
        return None
    ends = [rest.find(end) for end in (b"/", b"?") if end in rest]
    authority = rest[: min(ends, default=len(rest))]
    return None if b"@" in authority else authority


def _canonical(path: bytes) -> bytes | None:
    """Return the one spelling of `path`, or None when it has more than one reading."""
    spelling, decoded = b"", b""
    position = 0
    while position < len(path):
        char = path[position : position + 1]
        if char != b"%":
            spelling += char
            decoded += char
            position += 1
            continue
        digits = path[position + 1 : position + 3]
        if len(digits) < 2 or not HEX_DIGITS.issuperset(digits):
            return None
        byte = int(digits, 16)
        if byte < 0x20 or byte == 0x7F or byte in b"/\\;":
            return None
        spelling += bytes([byte]) if byte in UNRESERVED else b"%%%02X" % byte
        decoded += bytes([byte])
        position += 3
    try:
        decoded.decode("utf-8")
    except UnicodeDecodeError:
        return None
    segments = spelling.split(b"/")[1:]
    if b";" in spelling or any(segment in (b".", b"..") for segment in segments) or b"" in segments[:-1]:
        return None
    return spelling


def _leads_there(message: Message, path: bytes, rules: Rules) -> bool:
    """Return whether a route of `tests.support.appliance.configuration` permits it."""
    segments = path.split(b"/")[1:]
    authorizations = message.values(b"authorization")
    if len(authorizations) > 1:
        return False
    if segments[0] == b"open" or path in SWITCHES:
        return True
    if segments[0] != b"read" or len(segments) != 2 or not segments[1]:
        return False
    if not authorizations:
        return False
    scheme, _, token = authorizations[0].partition(b" ")
    return scheme.lower() == b"bearer" and token.lstrip(b" ") == rules.token


def _is_ours_alone(name: bytes) -> bool:
    """Return whether only the gate may send it, or some server takes it for such a field."""
    words = "".join(chr(c) if c in ALPHANUMERIC else " " for c in name.lower()).split()
    if words[:2] in (["x", "auth"], ["x", "sidegate"]) or (words[:1] == ["forwarded"] and len(words) == 1):
        return True
    joined = "-".join(words).encode()
    return joined.startswith(b"x-forwarded") or joined in OVERRIDES | CLIENT_ADDRESSES or b"_" in name


def _may_pass(name: bytes, message: Message) -> bool:
    if name in HOP_BY_HOP or name in WRITTEN_ANEW or name in message.members(b"connection"):
        return False
    if name == b"expect" and message.version == b"1.0":  # RFC 9110 10.1.1
        return False
    if name == b"tracestate" and not _has_trace(message):
        return False
    return not _is_ours_alone(name)


def _has_trace(message: Message) -> bool:
    """Return whether it tells of a trace that goes on (W3C Trace Context, version 00 only)."""
    values = message.values(b"traceparent")
    parts = values[0].split(b"-") if len(values) == 1 else []
    digits = frozenset(b"0123456789abcdef")
    return (
        [len(part) for part in parts] == [2, 32, 16, 2]
        and parts[0] == b"00"
        and all(digits.issuperset(part) for part in parts)
        and parts[1].strip(b"0") != b""
        and parts[2].strip(b"0") != b""
    )


def _may_trail(name: bytes, message: Message) -> bool:
    if name in NEVER_TRAILERS or name.startswith((b"content-", b"if-")):
        return False
    return _may_pass(name, message)
