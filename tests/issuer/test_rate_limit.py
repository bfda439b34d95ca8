"""Answer each client as often as `issuer.rate_limit` says, whatever the others do."""

import json
from dataclasses import replace
from typing import Any

import pytest

from gateway.issuer.rate_limit import ClientRateLimit
from gateway.settings.model import AssertionSettings, AuthorizationSettings, ClientSettings, Rate
from tests.issuer.conftest import BASIC, EC_RING, ServedIssuer, basic, make_settings
from tests.issuer.test_assertions import KEYS, PLATFORM, ask_by_grant, grant_claims, static

WRITER = basic("writer", "writer-secret")


def test_a_client_is_answered_again_when_its_wait_is_over() -> None:
    limit, rate = ClientRateLimit(), Rate(4, 2.0)
    assert [limit.wait_s("one", rate, 10.0) for _ in range(4)] == [0.0] * 4
    wait_s = limit.wait_s("one", rate, 10.0)
    assert wait_s == pytest.approx(0.5)
    assert limit.wait_s("one", rate, 10.0 + wait_s * 0.9) > 0
    assert limit.wait_s("another", rate, 10.0) == 0
    assert limit.wait_s("one", Rate(4, 2.0), 10.0 + wait_s) == 0


@pytest.mark.parametrize("rate", [None, Rate(0, 1.0)])
def test_without_a_rate_nothing_is_counted(rate: Rate | None) -> None:
    limit = ClientRateLimit()
    assert not any(limit.wait_s("one", rate, 0.0) for _ in range(1_000))


def test_another_rate_begins_anew() -> None:
    limit = ClientRateLimit()
    assert not limit.wait_s("one", Rate(1, 60.0), 0.0)
    assert limit.wait_s("one", Rate(1, 60.0), 0.0)
    assert not limit.wait_s("one", Rate(2, 60.0), 0.0)
    assert not limit.wait_s("one", None, 0.0)
    assert not limit.wait_s("one", Rate(1, 60.0), 0.0)


def limited(requests: int) -> Any:
    known = make_settings(rate_limit=Rate(requests, 3600.0))
    workload = ClientSettings(
        "workload", assertions=(AssertionSettings(PLATFORM, static(KEYS["ES256"]), subject="job"),)
    )
    return replace(
        known,
        clients={**known.clients, "workload": workload},
        authorizations=(
            *known.authorizations,
            AuthorizationSettings("workload", "country-service", ("country.read",)),
        ),
    )


async def ask(issuer: ServedIssuer, path: str, auth: str, **form: str) -> tuple[int, Any, str | None]:
    headers = {"Authorization": auth}
    async with issuer.http.post(issuer.url + path, data=form, headers=headers) as answer:
        body = await answer.read()
        return answer.status, json.loads(body) if body else None, answer.headers.get("Retry-After")


async def test_all_three_endpoints_count_together_and_each_client_alone(issuer: ServedIssuer) -> None:
    issuer.configure(limited(4), EC_RING)
    token = await issuer.token()
    grant = {"grant_type": "client_credentials"}
    asked = [
        ("/oauth2/introspect", {"token": token}),
        ("/v1/token", grant),
        ("/oauth2/revoke", {"token": "unknown"}),
    ]
    assert [(await ask(issuer, path, BASIC, **form))[0] for path, form in asked] == [200] * 3
    for path, form in asked:
        status, body, retry_after = await ask(issuer, path, BASIC, **form)
        assert (status, body["error"], body["status"]) == (429, "temporarily_unavailable", 429)
        assert retry_after is not None
        assert 0 < int(retry_after) <= 900
        assert (await ask(issuer, path, WRITER, **form))[0] == 200


async def test_who_has_not_proven_to_be_a_client_is_not_counted_as_it(issuer: ServedIssuer) -> None:
    issuer.configure(limited(1), EC_RING)
    for _ in range(5):
        assert (await ask(issuer, "/oauth2/token", basic("reader", "wrong")))[0] in (400, 401)
    assert await issuer.token()


async def test_a_grant_counts_for_the_client_that_it_acts_as(issuer: ServedIssuer) -> None:
    issuer.configure(limited(2), EC_RING)
    statuses = [(await ask_by_grant(issuer, KEYS["ES256"].token(grant_claims("job"))))[0] for _ in range(3)]
    assert statuses == [200, 200, 429]
    assert await issuer.token()
