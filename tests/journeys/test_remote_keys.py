"""Live with key sets of others in the whole process: they rotate, die and are probed."""

import itertools
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.journeys.conftest import Answer, Appliance, Make, call
from tests.support.jws import Key, make_key

JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
CLIENT_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
PROBES = 10_000 if os.environ.get("SIDEGATE_SOAK") else 400
NUMBERS = itertools.count()


@dataclass
class Platform:
    """A platform that vouches for workloads, and what it was asked."""

    url: str
    keys: list[Key] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    alive: bool = True
    hangs_up: bool = False
    """How it is not alive: without an answer, instead of with a 500."""

    def token(self, key: Key, **changes: Any) -> str:
        now = int(time.time())
        claims = {"iss": self.url, "sub": "job", "iat": now, "exp": now + 300, "jti": f"j{next(NUMBERS)}"}
        return key.token({**claims, **changes})


@pytest.fixture
def platform() -> Iterator[Platform]:
    made = Platform("", [make_key("ES256", "first")])

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            made.asked.append(self.path)
            if not made.alive:
                if not made.hangs_up:
                    self.send_error(500)
                return
            if self.path == "/.well-known/openid-configuration":
                document: Any = {"issuer": made.url, "jwks_uri": made.url + "/keys"}
            else:
                document = {"keys": [key.public for key in made.keys]}
            body = json.dumps(document).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        made.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield made
        server.shutdown()
        thread.join()


def policy(platform: Platform, *, replay: str = "single_use") -> str:
    return f"""\
clients:
  country-service: {{scopes: {{country.read: Read}}}}
  workload:
    assertions:
      - {{issuer: "{platform.url}", subject: job, replay: {replay}}}
  signer:
    jwks_uri: "{platform.url}/keys"
    replay: {replay}
authorizations:
  - {{client: workload, audience: country-service, scopes: [country.read]}}
  - {{client: signer, audience: country-service, scopes: [country.read]}}
routes:
  - path: /ms-system/**
    upstream: country
    require: {{audience: country-service, scopes: [country.read]}}
"""


def grant(process: Appliance, token: str) -> Answer:
    form = {"grant_type": JWT_BEARER, "assertion": token, "scope": "country.read"}
    return process.post_form("/oauth2/token", form)


def authenticate(
    process: Appliance, platform: Platform, key: Key, *, sender: str = "", **changes: Any
) -> Answer:
    token = platform.token(key, iss="signer", sub="signer", aud=f"http://127.0.0.1:{process.port}", **changes)
    form = {
        "grant_type": "client_credentials",
        "client_assertion_type": CLIENT_ASSERTION,
        "client_assertion": token,
        "scope": "country.read",
    }
    headers = {"X-Forwarded-For": sender} if sender else {}
    return process.post_form("/oauth2/token", form, headers=headers)


def ours(process: Appliance) -> str:
    return f"http://127.0.0.1:{process.port}"


def test_a_workload_calls_the_service_with_what_its_platform_gave_it(make: Make, platform: Platform) -> None:
    process = make(policy=policy(platform)).start()
    answer = grant(process, platform.token(platform.keys[0], aud=ours(process)))
    assert answer.status == 200, answer.body
    assert process.get(bearer=answer.json["access_token"]).status == 200
    assert authenticate(process, platform, platform.keys[0]).status == 200
    assert platform.asked[0] in ("/.well-known/openid-configuration", "/keys")


def test_keys_are_fetched_before_anybody_asks(
    make: Make, platform: Platform, wait_until: Callable[..., Any]
) -> None:
    process = make(policy=policy(platform)).start()
    wait_until(lambda: len(platform.asked) == 3, "the discovery and both key sets")
    before = len(platform.asked)
    assert authenticate(process, platform, platform.keys[0]).status == 200
    assert len(platform.asked) == before


@pytest.mark.parametrize(("hangs_up", "result"), [(False, "bad_status"), (True, "unreachable")])
def test_a_dead_platform_neither_keeps_the_process_from_starting_nor_its_tokens_from_working(
    make: Make, platform: Platform, wait_until: Callable[..., Any], hangs_up: bool, result: str
) -> None:
    platform.alive, platform.hangs_up = False, hangs_up
    process = make(policy=policy(platform)).start()
    refused = grant(process, platform.token(platform.keys[0], aud=ours(process)))
    assert (refused.status, refused.json["error"]) == (503, "temporarily_unavailable")
    assert refused.headers["Retry-After"]
    platform.alive = True
    wait_until(lambda: authenticate(process, platform, platform.keys[0]).status == 200, "the next fetch")
    grants = lambda: grant(process, platform.token(platform.keys[0], aud=ours(process))).status  # noqa: E731
    wait_until(lambda: grants() == 200, "the next fetch")

    platform.alive = False
    new = make_key("ES256", "second")
    assert grants() == 200
    unknown = grant(process, platform.token(new, aud=ours(process)))
    assert (unknown.status, unknown.json["error"]) == (503, "temporarily_unavailable")
    assert grants() == 200
    fetches = 'sidegate_jwks_fetch_total{{issuer="{}",result="{}"}}'
    age = f'sidegate_jwks_age_seconds{{issuer="{platform.url}"}}'
    assert process.metric(fetches.format(platform.url, result)) >= 2
    assert process.metric(fetches.format(platform.url, "ok")) >= 1
    before = process.metric(age)
    wait_until(lambda: process.metric(age) > before, "the keys to grow older")
    assert grants() == 200

    platform.alive, platform.keys = True, [platform.keys[0], new]
    accepted = lambda: grant(process, platform.token(new, aud=ours(process))).status == 200  # noqa: E731
    wait_until(accepted, "the next fetch")


def test_the_first_token_of_a_rotated_key_succeeds(make: Make, platform: Platform) -> None:
    process = make(policy=policy(platform)).start()
    old, new = platform.keys[0], make_key("ES256", "second")
    assert authenticate(process, platform, old).status == 200
    platform.keys = [new]
    assert authenticate(process, platform, new).status == 200
    assert authenticate(process, platform, old).status == 401


def test_invented_keys_cost_the_platform_little_and_honest_callers_nothing(
    make: Make, platform: Platform, wait_until: Callable[..., Any]
) -> None:
    process = make(policy=policy(platform), more="trusted_proxies: [127.0.0.1/32]\n").start()
    wait_until(lambda: len(platform.asked) == 3, "the discovery and both key sets")
    started = time.monotonic()

    def invent(number: int, sender: str) -> int:
        attacker = Key(f"invented-{number}", "ES256", platform.keys[0].jwk, platform.keys[0].sign)
        return authenticate(process, platform, attacker, sender=sender).status

    def honest() -> int:
        return authenticate(process, platform, platform.keys[0], sender="203.0.113.1").status

    for number in range(PROBES):
        # As many senders as it takes to be slowed down nowhere.
        assert invent(number, f"198.51.100.{number // 50}") == 401
        if number % 40 == 0:
            assert honest() == 200
    # One alone is soon not listened to any more (`limits.auth_failures`).
    assert {invent(PROBES + number, "192.0.2.1") for number in range(101)} == {401, 429}
    assert honest() == 200
    allowed = 3 + (time.monotonic() - started) / 10.0
    assert len(platform.asked) - 3 <= allowed


def test_a_peer_with_too_many_bad_tokens_causes_no_fetch(
    make: Make, platform: Platform, wait_until: Callable[..., Any]
) -> None:
    more = "limits: {bad_tokens: {requests: 1, per: 1h}}"
    process = make(policy=policy(platform), more=more).start()
    wait_until(lambda: len(platform.asked) == 3, "the discovery and both key sets")
    forger = make_key("ES256", "first")
    for _ in range(2):
        assert authenticate(process, platform, forger).status == 401
    new = make_key("ES256", "second")
    platform.keys.append(new)
    assert authenticate(process, platform, new).status == 401
    assert len(platform.asked) == 3
    assert authenticate(process, platform, platform.keys[0]).status == 200


def test_a_reload_brings_new_platforms_and_keeps_known_keys(make: Make, platform: Platform) -> None:
    process = make(policy=policy(platform)).start()
    assert authenticate(process, platform, platform.keys[0]).status == 200
    before = len(platform.asked)
    process.policy.write_text(policy(platform, replay="allow"))
    assert process.reload().status == 200
    token = platform.token(platform.keys[0], aud=ours(process))
    assert [grant(process, token).status for _ in range(2)] == [200, 200]
    assert len(platform.asked) - before <= 2
    assert call(process.admin_port, "GET", "/readyz").status == 200
