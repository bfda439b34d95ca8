"""Measure what honest callers feel while others misbehave, and hold that to the promised bounds.

`python -m benchmarks.attacks` measures, each in a fresh process with shipped limits:

    forged     5 000 distinct forged ES256 tokens per second from one address
    slowloris  2 000 connections that drip a byte of their head per 100 ms
    rate       ten times a route's rate limit, offered for ten seconds
    texts      100 texts per second that take long to read, from one and from 50 addresses
    idle       10 000 idle keep-alive connections: resident memory for each

How it is measured is in `benchmarks.felt`. `tests/` runs the same under `make soak`.
"""

import argparse
import os
import resource
import socket
import sys
import time
from contextlib import AbstractContextManager

from benchmarks.felt import AUDIENCE, ISSUER, LEAD_S, Felt, Gate, gate, measure, result, start
from benchmarks.processes import resident_bytes
from benchmarks.tokens import make_key

ATTACKER = "127.0.0.2"
FORGED_RATE = 5000
DRIPPERS = 2000
TEXT_RATE = 100
CROWD = 50
HEADER_TIMEOUT_S = 10.0
LIMIT_RATE = 200
LIMIT_BURST = 400
LIMIT_SECONDS = 10.0

CONFIGURATION = """\
version: 1
listeners: [{{address: "127.0.0.1:{port}"}}]
admin: {{address: "127.0.0.1:{admin_port}"}}
issuer: {{url: "{issuer}"}}
state: "memory:"
logs: {{access: access.log}}
limits: {{connections: 20000}}
upstreams: {{country: {{targets: ["http://127.0.0.1:{upstream_port}"]}}}}
clients:
  {audience}: {{scopes: {{read: Read}}}}
  caller: {{secrets: ["plain:caller"]}}
authorizations: [{{client: caller, audience: {audience}, scopes: [read]}}]
routes:
  - {{path: /read, upstream: country, require: {{audience: {audience}, scopes: [read]}}}}
  - path: /limited
    upstream: country
    access: public
    rate_limit: {{requests: {limit_rate}, per: 1s, burst: {limit_burst}, by: peer}}
"""


def _attacked(more: str = "") -> AbstractContextManager[Gate]:
    return gate(make_key("ES256"), lambda *ports: _configuration(*ports) + more)


def _configuration(port: int, admin_port: int, upstream_port: int) -> str:
    return CONFIGURATION.format(
        port=port,
        admin_port=admin_port,
        upstream_port=upstream_port,
        issuer=ISSUER,
        audience=AUDIENCE,
        limit_rate=LIMIT_RATE,
        limit_burst=LIMIT_BURST,
    )


def forged_tokens(*, rounds: int = 5, seconds: float = 8.0) -> Felt:
    """Return what honest callers felt while one address sends forged tokens."""
    with _attacked() as target:
        lasts_s = seconds + 2 * LEAD_S
        forge = ("offer", target.port, lasts_s, FORGED_RATE, "/read", f"forge:{target.token}", ATTACKER)
        return measure(target, forge, rounds=rounds, seconds=seconds)


def slowloris(*, rounds: int = 5, connections: int = DRIPPERS) -> Felt:
    """Return what honest callers felt beside dripping connections, which must be closed in time."""
    _raise_file_limit()
    with _attacked() as target:
        drip = ("drip", target.port, HEADER_TIMEOUT_S + 3, connections, ATTACKER)
        return measure(target, drip, rounds=rounds, seconds=6)


def texts(*, addresses: int, rounds: int = 5, seconds: float = 8.0) -> Felt:
    """Return what honest callers felt while the worst texts arrive from so many addresses.

    All of them are proxies that are trusted, so that X-Forwarded-For is read as well.
    """
    with _attacked("trusted_proxies: [127.0.0.0/8]\n") as target:
        send = ("texts", target.port, seconds + 2 * LEAD_S, TEXT_RATE, addresses)
        return measure(target, send, rounds=rounds, seconds=seconds)


def rate_limit() -> dict[str, int]:
    """Return how many of ten times the limit passed and how many were refused."""
    with _attacked() as target:
        role = ("offer", target.port, LIMIT_SECONDS, LIMIT_RATE * 10, "/limited", "", "127.0.0.1")
        statuses = result(start(*role))["statuses"]
    return {"passed": statuses["200"], "refused": statuses["429"], "others": len(statuses) - 2}


def idle_connections(count: int = 10_000) -> float:
    """Return the resident bytes that one idle keep-alive connection costs, after one request on each."""
    _raise_file_limit()
    request = b"GET /limited HTTP/1.1\r\nHost: a\r\n\r\n"
    with _attacked() as target:
        warm = [_ask(target.port, request) for _ in range(200)]
        time.sleep(1)
        before = resident_bytes(target.pid)
        connections = [_ask(target.port, request) for _ in range(count)]
        time.sleep(1)
        after = resident_bytes(target.pid)
        for connection in (*warm, *connections):
            connection.close()
    return (after - before) / count


def _ask(port: int, request: bytes) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port))
    connection.sendall(request)
    assert connection.recv(4096)
    return connection


def _raise_file_limit() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def main() -> None:
    """Measure what the command line asks for and print it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", nargs="*", default=["forged", "slowloris", "texts", "rate", "idle"])
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    print(f"{os.cpu_count()} cores, Python {sys.version.split()[0]}")
    for what, scenario in (("forged", forged_tokens), ("slowloris", slowloris)):
        if what in chosen.what:
            print(*scenario(rounds=chosen.rounds).lines(what), sep="\n")
    for addresses in (1, CROWD) if "texts" in chosen.what else ():
        found_texts = texts(addresses=addresses, rounds=chosen.rounds)
        print(*found_texts.lines(f"texts from {addresses}"), sep="\n")
    if "rate" in chosen.what:
        found = rate_limit()
        expected = LIMIT_BURST + LIMIT_RATE * LIMIT_SECONDS
        print(f"rate: {found['passed']} passed (burst + rate: {expected:.0f}), {found['refused']} refused")
    if "idle" in chosen.what:
        print(f"idle: {idle_connections() / 1024:.2f} KiB resident per connection")


if __name__ == "__main__":
    main()
