"""Use an assertion twice: at once, after the process was killed, and at another process."""

import itertools
import json
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.journeys.conftest import Answer, Appliance, Make, Replicas
from tests.support.jws import Key, make_key
from tests.support.redis_server import RedisServer

JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
CLIENT_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
PLATFORM = "https://platform.example"
NUMBERS = itertools.count()


@pytest.fixture(scope="module")
def key() -> Key:
    return make_key("ES256", "k1")


@pytest.fixture
def policy(key: Key) -> str:
    keys = json.dumps({"keys": [key.public]})
    return f"""\
clients:
  country-service: {{scopes: {{country.read: Read}}}}
  caller: {{secrets: ["plain:caller-secret"]}}
  signer: {{jwks: {keys}}}
  workload:
    assertions: [{{issuer: "{PLATFORM}", subject: job, jwks: {keys}}}]
authorizations:
  - {{client: caller, audience: country-service, scopes: [country.read]}}
  - {{client: signer, audience: country-service, scopes: [country.read]}}
  - {{client: workload, audience: country-service, scopes: [country.read]}}
routes:
  - path: /ms-system/**
    upstream: country
    require: {{audience: country-service, scopes: [country.read]}}
"""


@pytest.fixture(params=["client_assertion", "grant_assertion"])
def use(request: pytest.FixtureRequest, key: Key) -> "Use":
    return Use(request.param, key)


class Use:
    """One of the two uses of an assertion."""

    def __init__(self, kind: str, key: Key) -> None:
        self.kind = kind
        self.authenticates = kind == "client_assertion"
        self._key = key

    def assertion(self, process: Appliance, **changes: Any) -> str:
        """Return a new assertion for the issuer that `process` is."""
        by, subject = ("signer", "signer") if self.authenticates else (PLATFORM, "job")
        claims = {
            "iss": by,
            "sub": subject,
            "aud": f"http://127.0.0.1:{process.port}",
            "exp": int(time.time()) + 300,
            "jti": f"j{next(NUMBERS)}",
        }
        return self._key.token({**claims, **changes})

    def send(self, process: Appliance, assertion: str) -> Answer:
        """Return the answer to a token request."""
        form = {"grant_type": JWT_BEARER, "assertion": assertion}
        if self.authenticates:
            form = {
                "grant_type": "client_credentials",
                "client_assertion_type": CLIENT_ASSERTION,
                "client_assertion": assertion,
            }
        return process.post_form("/oauth2/token", {**form, "scope": "country.read"})

    def is_refused(self, process: Appliance, assertion: str) -> bool:
        """Return whether it counts as used: refused by the code of this use, and counted."""
        answer = self.send(process, assertion)
        if answer.status == 200:
            return False
        expected = (401, "invalid_client") if self.authenticates else (400, "invalid_grant")
        assert (answer.status, answer.json["error"]) == expected
        assert "used before" in answer.json["error_description"]
        assert process.metric(f'sidegate_replay_rejected_total{{kind="{self.kind}"}}') >= 1
        return True


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_what_was_used_stays_used_when_the_process_ends(
    make: Make, policy: str, use: Use, number: signal.Signals
) -> None:
    process = make(policy=policy, state="sqlite:state.db").start()
    used = use.assertion(process)
    answer = use.send(process, used)
    assert answer.status == 200, answer.body
    assert process.get(bearer=answer.json["access_token"]).status == 200
    assert use.is_refused(process, used)
    process.signal(number)
    process.wait()
    process.start()
    assert use.is_refused(process, used)
    assert not use.is_refused(process, use.assertion(process))


def test_what_was_used_at_one_process_is_used_at_the_other(
    replicas: Replicas, redis: RedisServer, policy: str, use: Use
) -> None:
    one, two = replicas(redis.url, policy=policy)
    for first, second in ((one, two), (two, one)):
        used = use.assertion(one)
        answer = use.send(first, used)
        assert answer.status == 200, answer.body
        assert second.get(bearer=answer.json["access_token"]).status == 200
        assert use.is_refused(second, used)
        assert use.is_refused(first, used)
        assert not use.is_refused(second, use.assertion(one))


def test_without_its_store_an_assertion_is_refused_and_not_used_up(
    replicas: Replicas,
    redis: RedisServer,
    policy: str,
    use: Use,
    wait_until: Callable[..., Any],
) -> None:
    one, two = replicas(redis.url, policy=policy)
    used, unused = use.assertion(one), use.assertion(one)
    assert use.send(one, used).status == 200
    redis.stop()
    for process, assertion in ((one, used), (two, used), (two, unused)):
        answer = use.send(process, assertion)
        assert (answer.status, answer.json["error"]) == (503, "temporarily_unavailable")
        assert answer.headers["Retry-After"]
    assert two.ask_token(scope="country.read").status == 200
    redis.start()
    wait_until(lambda: use.send(two, use.assertion(one)).status == 200, "the store")
    assert use.send(two, unused).status == 200
    assert use.is_refused(one, unused)
