"""Show that a token is refused where it is asked for when the gate would not take it."""

import json

import pytest

from gateway.tokens.jwt import MAX_TOKEN_BYTES

SCOPES = [f"department-{number:04}.documents.read" for number in range(600)]
POLICY = f"""\
clients:
  archive:
    scopes: {json.dumps(dict.fromkeys(SCOPES, "Read"))}
    secrets: ["plain:archive-secret"]
  caller:
    secrets: ["plain:caller-secret"]
  stamped:
    secrets: ["plain:stamped-secret"]
    claims: {{roles: {json.dumps(SCOPES[:100])}}}
authorizations:
  - {{client: caller, audience: archive, scopes: {json.dumps(SCOPES)}}}
  - {{client: stamped, audience: archive, scopes: {json.dumps(SCOPES[:300])}}}
routes:
  - name: archive
    path: /ms-system/**
    upstream: country
    require: {{audience: archive, scopes: ["{SCOPES[0]}"]}}
"""


def test_every_token_that_is_issued_is_taken(make, wait_until):
    appliance = make(policy=POLICY).start()
    refused = []
    for count in range(360, 420, 4):
        answer = appliance.ask_token(scope=" ".join(SCOPES[:count]))
        if answer.status == 200:
            token = answer.json["access_token"]
            assert not refused, "more scopes make no smaller token"
            assert len(token) <= MAX_TOKEN_BYTES
            assert appliance.get(bearer=token).status == 200
            assert appliance.introspect(token)["active"]
        else:
            refused.append(answer)
    assert refused
    for answer in refused:
        assert (answer.status, answer.json["error"]) == (400, "invalid_scope")
        assert f"and {MAX_TOKEN_BYTES} are taken at most" in answer.json["error_description"]
    request_id = refused[0].headers["X-Request-Id"]
    (line,) = wait_until(
        lambda: [line for line in appliance.logged if line.get("request_id") == request_id], "the line"
    )
    assert (line["client"], line["cause"]) == ("caller", "token_too_large")


def test_claims_that_make_it_so_large_are_refused_alike(make):
    appliance = make(policy=POLICY).start()
    scope = " ".join(SCOPES[:300])
    assert appliance.ask_token(scope=scope).status == 200
    answer = appliance.ask_token("stamped", scope=scope)
    assert (answer.status, answer.json["error"]) == (400, "invalid_scope")


def test_a_smaller_header_limit_makes_the_tokens_smaller(make):
    """A head is more than its token: the request line and the other fields count as well."""
    appliance = make(policy=POLICY, more="limits: {header_bytes: 8KiB}\n").start()
    answer = appliance.ask_token(scope=" ".join(SCOPES[:250]))
    assert answer.json["error"] == "invalid_scope"
    assert "7168 are taken at most" in answer.json["error_description"]
    statuses = {}
    for count in range(150, 200, 2):
        answer = appliance.ask_token(scope=" ".join(SCOPES[:count]))
        statuses[count] = answer.status
        if answer.status == 200:
            bearer = answer.json["access_token"]
            assert appliance.get(bearer=bearer, headers={"User-Agent": "u" * 256}).status == 200
    assert set(statuses.values()) == {200, 400}


@pytest.mark.parametrize("count", [300, 600])
def test_check_warns_of_a_grant_that_fits_no_token(make, count):
    appliance = make(policy=POLICY.replace(json.dumps(SCOPES), json.dumps(SCOPES[:count])))
    checked = appliance.cli("check")
    output = checked.stdout + checked.stderr
    assert ("authorizations[0].scopes: a token with all of it" in output) == (count == 600)
    assert "authorizations[1].scopes: a token with all of it" in output
