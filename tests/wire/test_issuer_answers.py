"""Hold every byte of the issuer's answers, its log and its records to what they were.

Each row is raw bytes on one connection, sent piece by piece, each piece after the answers that are
due before it. What came, what was logged and what was recorded stands in `issuer_answers.txt`, with
ids, times, keys and tokens masked. Such a file shows a change, not whether it is right: that is for
the tests of `tests/issuer` and `tests/conformance`. After a wanted change run
`python -m tests.wire.test_issuer_answers` and read the difference.
"""

import asyncio
import json
import logging
import re
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode

import pytest
import uvloop

from gateway.observe.exchange import Exchange
from gateway.observe.issuer_request import IssuerRequest
from tests.issuer.conftest import basic
from tests.support.appliance import AUDIENCE, ISSUER, Appliance, configuration, running
from tests.support.jws import Key, compact, hs256, make_key
from tests.support.waiting import PATIENCE_S, until

GOLDEN = Path(__file__).with_name("issuer_answers.txt")
PAGE = "https://app.example"
PLATFORM = "https://platform.example"
MAC_SECRET = "a secret of more than thirty-two octets"
JOB, SIGNER = make_key(kid="job"), make_key(kid="signer")
READER = basic("reader", "reader")

SETTINGS = configuration(
    issuer={"url": ISSUER, "cors_origins": [PAGE], "rate_limit": {"requests": 200, "per": "1h"}},
    trusted_proxies=["127.0.0.9/32"],
    limits={"auth_failures": {"requests": 2, "per": "1h"}, "loop_lag": 0},
    clients={
        AUDIENCE: {"scopes": {"country.read": "", "country.write": ""}, "secrets": ["plain:service"]},
        "reader": {"secrets": ["plain:reader"]},
        "busy": {"secrets": ["plain:busy"]},
        "guessed": {"secrets": ["plain:not this one"]},
        "off": {"secrets": ["plain:off"], "disabled": True},
        "mac": {"secrets": [f"plain:{MAC_SECRET}"]},
        "signer": {"jwks": {"keys": [SIGNER.public]}},
        "workload": {
            "assertions": [{"issuer": PLATFORM, "subject": "job", "jwks": {"keys": [JOB.public]}}],
        },
    },
    authorizations=[
        {"client": client, "audience": AUDIENCE, "scopes": ["country.read", "country.write"]}
        for client in ("reader", "busy", "mac", "signer", "workload")
    ],
)

Step = bytes | int
"""Bytes to send, or how many answers to wait for."""


@dataclass
class World:
    """The running issuer, and what was issued."""

    appliance: Appliance
    tokens: list[str] = field(default_factory=list)


Row = Callable[[World], tuple[Step, ...]]


def post(path: str, form: dict[str, str] | str, *fields: str, auth: str | None = READER) -> bytes:
    body = (form if isinstance(form, str) else urlencode(form)).encode()
    lines = [f"POST {path} HTTP/1.1", "Host: auth.example", *fields]
    if auth is not None:
        lines.append(f"Authorization: {auth}")
    if not any(each.lower().startswith("content-type") for each in fields):
        lines.append("Content-Type: application/x-www-form-urlencoded")
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body


def get(path: str, *fields: str, method: str = "GET", version: str = "1.1") -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/{version}", "Host: auth.example", *fields, "", ""]).encode()


def assertion(kind: str) -> str:
    now = int(time.time())
    claims = {"iat": now, "exp": now + 60, "jti": f"{kind}-{time.perf_counter_ns()}"}
    if kind == "mac":
        signed = compact(
            {"alg": "HS256"},
            {**claims, "iss": "mac", "sub": "mac", "aud": ISSUER},
            hs256(MAC_SECRET.encode()),
        )
        return signed.decode()
    key: Key = SIGNER if kind == "signer" else JOB
    iss, sub = ("signer", "signer") if kind == "signer" else (PLATFORM, "job")
    return key.token({**claims, "iss": iss, "sub": sub, "aud": ISSUER})


ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
FORM = {"grant_type": "client_credentials", "audience": AUDIENCE, "scope": "country.read"}
TOKEN = "/oauth2/token"
REFUSED_HEAD = (
    b"POST /oauth2/token HTTP/1.1\r\nHost: auth.example\r\n"
    b"Content-Type: text/plain\r\nContent-Length: 5\r\n\r\n"
)
CHUNKED_HEAD = (
    f"POST /oauth2/token HTTP/1.1\r\nHost: auth.example\r\nAuthorization: {READER}\r\n"
    "Content-Type: application/x-www-form-urlencoded\r\nTransfer-Encoding: chunked\r\n\r\n"
).encode()
EXPECTING = (
    f"POST /oauth2/token HTTP/1.1\r\nHost: auth.example\r\nAuthorization: {READER}\r\n"
    "Expect: 100-continue\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 29\r\n\r\n"
).encode()
GRANT = b"grant_type=client_credentials"


def always(*steps: Step) -> Row:
    return lambda world: steps


ROWS: dict[str, Row] = {
    # tokens, by each grant and each proof
    "token, basic": always(post(TOKEN, FORM), 1),
    "token, by the other name": always(post("/v1/token", FORM), 1),
    "token, secret in the form": always(
        post(TOKEN, {**FORM, "client_id": "reader", "client_secret": "reader"}, auth=None), 1
    ),
    "token, all scopes": always(post(TOKEN, {"grant_type": "client_credentials"}), 1),
    "token, a signed JWT": lambda world: (
        post(
            TOKEN,
            {**FORM, "client_assertion_type": ASSERTION_TYPE, "client_assertion": assertion("signer")},
            auth=None,
        ),
        1,
    ),
    "token, a MAC": lambda world: (
        post(
            TOKEN,
            {**FORM, "client_assertion_type": ASSERTION_TYPE, "client_assertion": assertion("mac")},
            auth=None,
        ),
        1,
    ),
    "token, jwt-bearer": lambda world: (
        post(
            TOKEN, {"grant_type": JWT_BEARER, "assertion": assertion("job"), "audience": AUDIENCE}, auth=None
        ),
        1,
    ),
    "token, jwt-bearer twice": lambda world: (
        twice := post(
            TOKEN, {"grant_type": JWT_BEARER, "assertion": assertion("job"), "audience": AUDIENCE}, auth=None
        ),
        1,
        twice,
        1,
    ),
    "token, HTTP/1.0": always(post(TOKEN, FORM).replace(b"HTTP/1.1", b"HTTP/1.0"), 1),
    "token, HTTP/1.0 kept": always(
        post(TOKEN, FORM, "Connection: keep-alive").replace(b"HTTP/1.1", b"HTTP/1.0"), 1
    ),
    "token, the last of its connection": always(post(TOKEN, FORM, "Connection: close"), 1),
    "token, with ids of its own": always(
        post(
            TOKEN,
            FORM,
            "X-Request-Id: callers-own",
            "traceparent: 00-0123456789abcdef0123456789abcdef-0123456789abcdef-01",
        ),
        1,
    ),
    "token, a query that says nothing": always(post(TOKEN + "?tenant=a%20b", FORM), 1),
    "token, for a page": always(post(TOKEN, FORM, f"Origin: {PAGE}"), 1),
    "token, for another page": always(post(TOKEN, FORM, "Origin: https://other.example"), 1),
    "token, a host that is another's": always(post(TOKEN, FORM).replace(b"auth.example", b"evil.example"), 1),
    "token, absolute target": always(post("http://auth.example" + TOKEN, FORM), 1),
    "token, an escaped path": always(post("/oauth2/%74oken", FORM), 1),
    # errors, in the order of the checks
    "no such path": always(post("/oauth2/tokens", FORM), 1),
    "no such path, a slash": always(post(TOKEN + "/", FORM), 1),
    "GET": always(get(TOKEN), 1),
    "HEAD": always(get(TOKEN, method="HEAD"), 1),
    "OPTIONS": always(get(TOKEN, method="OPTIONS"), 1),
    "OPTIONS, Max-Forwards": always(get(TOKEN, "Max-Forwards: 0", method="OPTIONS"), 1),
    "OPTIONS of a page": always(
        get(TOKEN, f"Origin: {PAGE}", "Access-Control-Request-Method: POST", method="OPTIONS"), 1
    ),
    "OPTIONS of another page": always(get(TOKEN, "Origin: https://other.example", method="OPTIONS"), 1),
    "PUT": always(post(TOKEN, FORM).replace(b"POST", b"PUT", 1), 1),
    "an offer to upgrade": always(get(TOKEN, "Connection: upgrade", "Upgrade: websocket"), 1),
    "an unknown method": always(get(TOKEN, method="BREW"), 1),
    "JSON": always(post(TOKEN, "{}", "Content-Type: application/json"), 1),
    "no type": always(
        post(TOKEN, FORM).replace(b"Content-Type: application/x-www-form-urlencoded\r\n", b""), 1
    ),
    "two types": always(post(TOKEN, FORM, "Content-Type: text/plain", "Content-Type: text/plain"), 1),
    "two user agents": always(
        get("/oauth2/jwks", "User-Agent: a", "User-Agent: a"), 1, get("/oauth2/jwks"), 1
    ),
    "two entity tags": always(get("/oauth2/jwks", "ETag: a", "ETag: a"), 1),
    "latin-1 as charset": always(
        post(TOKEN, FORM, "Content-Type: application/x-www-form-urlencoded; charset=iso-8859-1"), 1
    ),
    "UTF-8 as charset": always(
        post(TOKEN, FORM, "Content-Type: application/x-www-form-urlencoded; charset=UTF-8"), 1
    ),
    "encoded": always(post(TOKEN, FORM, "Content-Encoding: gzip"), 1),
    "a secret in the query": always(post(TOKEN + "?client_secret=x", FORM), 1),
    "a hundred parameters in the query": always(post(TOKEN + "?" + "&".join(["a=1"] * 101), FORM), 1),
    "said to be too large": always(
        post(TOKEN, FORM).partition(b"Content-Length")[0] + b"Content-Length: 65537\r\n\r\n", 1
    ),
    "larger than any body": always(
        post(TOKEN, FORM).partition(b"Content-Length")[0] + b"Content-Length: 99999999\r\n\r\n", 1
    ),
    "a percent sign": always(post(TOKEN, "grant_type=%zz"), 1),
    "twice the same": always(post(TOKEN, "grant_type=a&grant_type=a"), 1),
    "no UTF-8": always(post(TOKEN, "grant_type=%ff"), 1),
    "an empty form": always(post(TOKEN, ""), 1),
    "no length": always(post(TOKEN, "").replace(b"Content-Length: 0\r\n", b""), 1),
    "an unknown grant": always(post(TOKEN, {"grant_type": "password"}), 1),
    "no proof": always(post(TOKEN, FORM, auth=None), 1),
    "a wrong secret": always(post(TOKEN, FORM, auth=basic("guessed", "x")), 1),
    "a wrong secret once more": always(post(TOKEN, FORM, auth=basic("guessed", "x")), 1),
    "a wrong secret too often": always(post(TOKEN, FORM, auth=basic("guessed", "x")), 1),
    "a wrong secret too often, for a page": always(
        post(TOKEN, FORM, f"Origin: {PAGE}", auth=basic("guessed", "x")), 1
    ),
    "two proofs": always(post(TOKEN, {**FORM, "client_id": "reader", "client_secret": "reader"}), 1),
    "two Authorization fields": always(post(TOKEN, FORM, f"Authorization: {READER}"), 1),
    "a client that is off": always(post(TOKEN, FORM, auth=basic("off", "off")), 1),
    "no audience": always(post(TOKEN, {**FORM, "audience": "nobody"}), 1),
    "no such scope": always(post(TOKEN, {**FORM, "scope": "country.delete"}), 1),
    "a field that its connection ends": always(post(TOKEN, FORM, "Connection: authorization"), 1),
    "fields that are dropped": always(
        post(TOKEN, FORM, "X-Forwarded-For: 1.2.3.4", "X-Auth-Client-Id: x"), 1
    ),
    # introspection and revocation
    "introspection": lambda world: (post("/oauth2/introspect", {"token": world.tokens[0]}), 1),
    "introspection of nothing": always(post("/v1/introspect", {"token": "x"}), 1),
    "introspection without a token": always(post("/oauth2/introspect", {}), 1),
    "introspection by nobody": always(post("/oauth2/introspect", {"token": "x"}, auth=None), 1),
    "introspection, GET": always(get("/oauth2/introspect"), 1),
    "revocation": lambda world: (post("/oauth2/revoke", {"token": world.tokens[0]}), 1),
    "revocation again": lambda world: (post("/v1/revoke", {"token": world.tokens[0]}), 1),
    "introspection of what was revoked": lambda world: (
        post("/v1/introspect", {"token": world.tokens[0]}),
        1,
    ),
    "revocation of nothing": always(post("/oauth2/revoke", {"token": "x"}), 1),
    "revocation of another's": lambda world: (
        post("/oauth2/revoke", {"token": world.tokens[1]}, auth=basic("busy", "busy")),
        1,
    ),
    "revocation, HEAD": always(get("/oauth2/revoke", method="HEAD"), 1),
    # documents
    "keys": always(get("/.well-known/jwks.json"), 1),
    "keys, by the other name": always(get("/oauth2/jwks"), 1),
    "keys, HEAD": always(get("/oauth2/jwks", method="HEAD"), 1),
    "keys, POST": always(post("/oauth2/jwks", "x=y"), 1),
    "keys, OPTIONS": always(get("/oauth2/jwks", method="OPTIONS"), 1),
    "keys, with a body": always(get("/oauth2/jwks", "Content-Length: 3") + b"abc", 1),
    "keys, before their body": always(get("/oauth2/jwks", "Content-Length: 3"), 1),
    "keys, known": always(get("/oauth2/jwks", "If-None-Match: *"), 1),
    "keys, known, HEAD": always(get("/oauth2/jwks", "If-None-Match: *", method="HEAD"), 1),
    "keys, another tag": always(get("/oauth2/jwks", 'If-None-Match: "x", W/"y"'), 1),
    "keys, HTTP/1.0": always(get("/oauth2/jwks", version="1.0"), 1),
    "keys, HTTP/1.0 kept": always(get("/oauth2/jwks", "Connection: keep-alive", version="1.0"), 1),
    "metadata": always(get("/.well-known/oauth-authorization-server"), 1),
    "metadata for OpenID": always(get("/.well-known/openid-configuration"), 1),
    "metadata, HEAD": always(get("/.well-known/openid-configuration", method="HEAD"), 1),
    "metadata, DELETE": always(get("/.well-known/openid-configuration", method="DELETE"), 1),
    "metadata, a query": always(get("/.well-known/openid-configuration?a=b"), 1),
    # bodies in pieces
    "chunked": always(CHUNKED_HEAD + b"1d\r\n" + GRANT + b"\r\n0\r\n\r\n", 1),
    "chunked, with a trailer": always(
        CHUNKED_HEAD
        + b"5\r\n"
        + GRANT[:5]
        + b"\r\n18;a=b\r\n"
        + GRANT[5:]
        + b"\r\n0\r\nX-Trailer: y\r\n\r\n",
        1,
    ),
    "chunked, and the next": always(
        CHUNKED_HEAD + b"1d\r\n" + GRANT + b"\r\n0\r\n\r\n" + get("/oauth2/jwks"), 2
    ),
    "chunked, malformed": always(CHUNKED_HEAD + b"xyz\r\n", 1),
    "chunked, too long": always(CHUNKED_HEAD + b"10001\r\n" + b"a" * 0x10001, 1),
    "chunked, refused at once": always(CHUNKED_HEAD.replace(b"POST", b"PUT"), 1),
    "100-continue": always(EXPECTING, 1, GRANT, 1),
    "100-continue, at once": always(EXPECTING + GRANT, 2),
    "100-continue, refused": always(EXPECTING.replace(b"POST", b"PUT"), 2),
    "100-continue, an unknown path": always(EXPECTING.replace(b"token", b"tokens"), 1),
    "100-continue in HTTP/1.0": always(EXPECTING.replace(b"HTTP/1.1", b"HTTP/1.0") + GRANT, 1),
    "100-continue that its connection ends": always(
        EXPECTING.replace(b"Host:", b"Connection: expect\r\nHost:") + GRANT, 1
    ),
    "100-continue without a body": always(get("/oauth2/jwks", "Expect: 100-continue"), 2),
    "another expectation": always(get("/oauth2/jwks", "Expect: 200-ok"), 1),
    "refused before its body": always(REFUSED_HEAD, 1),
    "refused with its body": always(REFUSED_HEAD + b"abcde" + get("/oauth2/jwks"), 2),
    # several on one connection
    "three at once": always(get("/oauth2/jwks") + post(TOKEN, FORM) + get(TOKEN), 3),
    "issuer and gate in turns": always(
        get("/open/x", "Max-Forwards: 0", method="OPTIONS") + post(TOKEN, FORM) + get("/read/x"), 3
    ),
    "the last, and more": always(post(TOKEN, FORM, "Connection: close") + get("/oauth2/jwks"), 1),
}


# --- what is written down ----------------------------------------------------------------


MASKS = (
    (re.compile(r'"(x|y|kid|jti|access_token)":"[^"]*"'), r'"\1":"…"'),
    (re.compile(r'"(exp|iat|nbf)":\d+'), r'"\1":…'),
    (re.compile(r"^Date: .*$", re.MULTILINE), "Date: …"),
    (re.compile(r'^ETag: "[0-9a-f]{32}"$', re.MULTILINE), 'ETag: "…"'),
    (re.compile(r"sidegate-[0-9a-f]{8}"), "sidegate-…"),
    (re.compile(r"[0-9a-f]{32}"), "(id)"),
    (re.compile(r"^Retry-After: \d\d+$", re.MULTILINE), "Retry-After: …"),
)
TIMES = frozenset(
    {"at", "duration_s", "overhead_s", "decision_s", "connect_s", "ttfb_s", "upstream_s", "level", "logger"}
)


def masked(text: str) -> str:
    for pattern, shown in MASKS:
        text = pattern.sub(shown, text)
    return text


def told(exchange: Exchange) -> str:
    """Return what the access log says of a request, without its times; those that were measured are named."""
    said = {
        name: value
        for name in exchange.__struct_fields__
        if name not in TIMES and (value := getattr(exchange, name))
    }
    measured = [name for name in ("decision_s", "ttfb_s", "upstream_s") if getattr(exchange, name) >= 0]
    return masked(json.dumps({**said, "measured": measured}))


def logged(record: logging.LogRecord) -> str:
    names = (*IssuerRequest.__struct_fields__[4:],)
    said = {name: value for name in names if (value := record.__dict__.get(name)) and name not in TIMES}
    return masked(f"{record.levelname} {record.getMessage()} {json.dumps(said)}")


class Collecting(logging.Handler):
    """Keeps what the issuer logs."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


async def transcript(world: World, row: Row, collected: Collecting) -> str:
    """Return all that one row makes happen."""
    appliance = world.appliance
    exchanges, records = len(appliance.exchanges), len(collected.records)
    received, due = b"", 0
    async with appliance.connect() as caller:
        steps = row(world)
        to_head = any(isinstance(step, bytes) and step.startswith(b"HEAD ") for step in steps)
        for step in steps:
            if isinstance(step, bytes):
                caller.send(step)
                continue
            due += step
            while answers_in(received, to_head=to_head) < due:
                async with asyncio.timeout(PATIENCE_S):
                    data = await caller.reader.read(65536)
                assert data, received
                received += data
        caller.writer.write_eof()
        received += await caller.rest()
    await until(lambda: not appliance.gate.connections)
    tokens = re.findall(rb'"access_token":"([^"]+)"', received)
    world.tokens += [token.decode() for token in tokens]
    lines = [masked(received.decode("utf-8").replace("\r\n", "\n"))]
    lines += [f"record {told(each)}" for each in appliance.exchanges[exchanges:]]
    lines += [f"log {logged(each)}" for each in collected.records[records:]]
    return "\n".join(lines)


def answers_in(received: bytes, *, to_head: bool) -> int:
    """Return how many whole answers there are, all of them to HEAD or none."""
    count = 0
    while (end := received.find(b"\r\n\r\n")) >= 0:
        head = received[:end]
        length = re.search(rb"\r\nContent-Length: (\d+)", head)
        is_bodiless = to_head or length is None or head[9:12] in (b"100", b"204", b"304")
        size = 0 if is_bodiless else int(length[1])
        if len(received) < end + 4 + size:
            break
        received = received[end + 4 + size :]
        count += 1
    return count


@pytest.fixture(scope="module")
def transcripts() -> dict[str, str]:
    return uvloop.run(all_transcripts())


async def all_transcripts() -> dict[str, str]:
    collected = Collecting()
    logger = logging.getLogger("gateway.issuer")
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(collected)
    try:
        with tempfile.TemporaryDirectory() as directory:
            async with running(Path(directory), SETTINGS, targets={"country": [1]}) as appliance:
                world = World(appliance)
                return {name: await transcript(world, row, collected) for name, row in ROWS.items()}
    finally:
        logger.removeHandler(collected)
        logger.setLevel(level)


def read_golden() -> dict[str, str]:
    parts = re.split(r"^=== (.*)\n", GOLDEN.read_text("utf-8"), flags=re.MULTILINE)
    return dict(zip(parts[1::2], (part[:-2] for part in parts[2::2]), strict=True))


@pytest.mark.parametrize("name", ROWS)
def test_it_is_as_it_was(name: str, transcripts: dict[str, str]) -> None:
    assert transcripts[name] == read_golden()[name]


def test_there_are_no_other_rows() -> None:
    assert list(read_golden()) == list(ROWS)


if __name__ == "__main__":
    found = uvloop.run(all_transcripts())
    GOLDEN.write_text("".join(f"=== {name}\n{text}\n\n" for name, text in found.items()), "utf-8")
