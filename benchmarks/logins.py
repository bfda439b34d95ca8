"""Measure what honest callers feel while others ask the issuer for tokens, and hold that to its bound.

`python -m benchmarks.logins` measures, each in a fresh process with shipped limits:

    right        50 logins per second with secrets stored as scrypt, all correct
    wrong        the same with wrong secrets
    signing      50 tokens per second, signed with an RSA key of 2048 bits
    signing3072  the same with a key of 3072 bits

Secrets are stored as `sidegate secret hash` stores them. Every login is of another client than
the 49 before it and comes from another address, so that `limits.auth_failures` refuses none
before its secret was looked at. How it is measured is in `benchmarks.felt`; `tests/` runs
the same under `make soak`.
"""

import argparse
import os
import sys
from collections.abc import Callable
from functools import partial

from benchmarks.callers import CROWD
from benchmarks.felt import AUDIENCE, ISSUER, LEAD_S, Felt, gate, measure
from benchmarks.tokens import make_key
from gateway.clients.secrets import hash_scrypt

RATE = 50
SECONDS = 8.0
SECRET = "correct horse battery staple"

CONFIGURATION = """\
version: 1
listeners: [{{address: "127.0.0.1:{port}"}}]
admin: {{address: "127.0.0.1:{admin_port}"}}
issuer: {{url: "{issuer}"}}
state: "memory:"
logs: {{access: access.log}}
upstreams: {{country: {{targets: ["http://127.0.0.1:{upstream_port}"]}}}}
clients:
  {audience}: {{scopes: {{read: Read}}}}
  caller: {{secrets: ["plain:caller"]}}
  {clients}
authorizations:
  - {{client: caller, audience: {audience}, scopes: [read]}}
  {authorizations}
routes:
  - {{path: /read, upstream: country, require: {{audience: {audience}, scopes: [read]}}}}
"""


def scrypt_logins(*, wrong: bool = False, rounds: int = 5, seconds: float = SECONDS) -> Felt:
    """Return what honest callers felt beside logins whose secrets are stored as scrypt."""
    return _beside_tokens(hash_scrypt, "ES256", wrong=wrong, rounds=rounds, seconds=seconds)


def rsa_signing(*, bits: int = 2048, rounds: int = 5, seconds: float = SECONDS) -> Felt:
    """Return what honest callers felt beside the issue of tokens signed with an RSA key."""
    return _beside_tokens("plain:{}".format, "RS256", bits=bits, rounds=rounds, seconds=seconds)


def _beside_tokens(
    store: Callable[[str], str],
    algorithm: str,
    *,
    bits: int = 2048,
    wrong: bool = False,
    rounds: int,
    seconds: float,
) -> Felt:
    """Return what honest callers felt beside tokens for `CROWD` clients, whose secret `store` stores."""
    names = [f"login{number}" for number in range(CROWD)]
    stored = store(SECRET)

    def configure(port: int, admin_port: int, upstream_port: int) -> str:
        return CONFIGURATION.format(
            port=port,
            admin_port=admin_port,
            upstream_port=upstream_port,
            issuer=ISSUER,
            audience=AUDIENCE,
            clients="\n  ".join(f'{name}: {{secrets: ["{stored}"]}}' for name in names),
            authorizations="\n  ".join(
                f"- {{client: {name}, audience: {AUDIENCE}, scopes: [read]}}" for name in names
            ),
        )

    with gate(make_key(algorithm, bits), configure) as target:
        role = ("log-in", target.port, seconds + 2 * LEAD_S, RATE, f"not {SECRET}" if wrong else SECRET)
        return measure(target, role, rounds=rounds, seconds=seconds)


def main() -> None:
    """Measure what the command line asks for and print it."""
    scenarios: dict[str, Callable[..., Felt]] = {
        "right": scrypt_logins,
        "wrong": partial(scrypt_logins, wrong=True),
        "signing": rsa_signing,
        "signing3072": partial(rsa_signing, bits=3072),
    }
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", nargs="*", default=list(scenarios))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    chosen = parser.parse_args()
    load = "/".join(f"{each:.1f}" for each in os.getloadavg())
    print(f"{os.cpu_count()} cores, load {load}, Python {sys.version.split()[0]}")
    for what in chosen.what:
        print(
            *scenarios[what](rounds=chosen.rounds, seconds=chosen.seconds).lines(what), sep="\n", flush=True
        )


if __name__ == "__main__":
    main()
