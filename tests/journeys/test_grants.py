"""Get from one process what each cell of the grant matrix gives, and see the gate agree."""

import base64
import datetime
import json

import pytest

TODAY = datetime.datetime.now(datetime.UTC).date()
YESTERDAY = TODAY - datetime.timedelta(days=1)

CALM = "limits: {loop_lag: 0}\n"
"""A busy machine is no reason to refuse."""

POLICY = f"""\
clients:
  country-service: {{scopes: {{country.read: Read, country.write: Write}}}}
  orders: {{scopes: {{orders.read: Read}}}}
  plain: {{secrets: ["plain:plain-secret"]}}
  short: {{secrets: ["plain:short-secret"], token_lifetime: 2m, default_audience: country-service}}
  ended: {{secrets: ["plain:ended-secret"]}}
  ending: {{secrets: ["plain:ending-secret"]}}
  off: {{secrets: ["plain:off-secret"], disabled: true}}
  tenant:
    secrets: ["plain:tenant-secret"]
    claims: {{tenant: acme, level: 3, tags: [a, b], deep: {{x: null}}}}
  basic-only: {{secrets: ["plain:basic-only-secret"], auth_methods: [client_secret_basic]}}
  post-only: {{secrets: ["plain:post-only-secret"], auth_methods: [client_secret_post]}}
  credentials-only: {{secrets: ["plain:credentials-only-secret"], grants: [client_credentials]}}
  defaults: {{secrets: ["plain:defaults-secret"]}}
  two: {{secrets: ["plain:two-secret", "plain:two-other-secret"]}}
  nothing: {{secrets: ["plain:nothing-secret"]}}
authorizations:
  - {{client: plain, audience: country-service, scopes: [country.read]}}
  - {{client: short, audience: country-service, scopes: [country.read], token_lifetime: 1m}}
  - {{client: short, audience: orders, scopes: [orders.read]}}
  - {{client: ended, audience: country-service, scopes: [country.read], until: {YESTERDAY}}}
  - {{client: ending, audience: country-service, scopes: [country.read], until: {TODAY}, token_lifetime: 2d}}
  - {{client: off, audience: country-service, scopes: [country.read]}}
  - {{client: tenant, audience: country-service, scopes: [country.read]}}
  - {{client: basic-only, audience: country-service, scopes: [country.read]}}
  - {{client: post-only, audience: country-service, scopes: [country.read]}}
  - {{client: credentials-only, audience: country-service, scopes: [country.read]}}
  - client: defaults
    audience: country-service
    scopes: [country.read, country.write]
    default_scopes: [country.write, country.read]
  - {{client: two, audience: country-service, scopes: [country.read]}}
routes:
  - name: read-country
    path: /ms-system/**
    upstream: country
    require: {{audience: country-service, scopes: [country.read]}}
"""


@pytest.fixture
def granting(make):
    return make(policy=POLICY, more=CALM).start()


def claims_of(answer):
    payload = answer.json["access_token"].split(".")[1]
    return json.loads(base64.urlsafe_b64decode(payload + "=="))


def refused(answer):
    return answer.status, answer.json["error"]


def test_the_matrix(granting):
    read = {"scope": "country.read"}

    plain = granting.ask_token("plain", **read)
    assert (plain.status, plain.json["expires_in"]) == (200, 3600)
    assert granting.get(bearer=plain.json["access_token"]).status == 200

    # A lifetime: the authorization's, else the client's, else the issuer's.
    lifetimes = {
        audience: granting.ask_token("short", audience=audience).json["expires_in"]
        for audience in ("country-service", "orders")
    }
    assert lifetimes == {"country-service": 60, "orders": 120}
    short = claims_of(granting.ask_token("short", **read))
    assert (short["aud"], short["exp"] - short["iat"]) == ("country-service", 60)

    # Until: its last day holds whole, and no token outlives it.
    assert refused(granting.ask_token("ended", audience="country-service")) == (400, "invalid_target")
    assert refused(granting.ask_token("ended")) == (400, "invalid_request")
    ending = claims_of(granting.ask_token("ending", **read))
    midnight = datetime.datetime.combine(TODAY + datetime.timedelta(days=1), datetime.time(), datetime.UTC)
    if datetime.datetime.now(datetime.UTC).date() == TODAY:
        assert ending["exp"] == int(midnight.timestamp())

    # A disabled client that proves itself learns why.
    assert refused(granting.ask_token("off", **read)) == (401, "invalid_client")
    assert "disabled" in granting.ask_token("off", **read).json["error_description"]

    tenant = claims_of(granting.ask_token("tenant", **read))
    assert [tenant[name] for name in ("tenant", "level", "tags", "deep")] == [
        "acme",
        3,
        ["a", "b"],
        {"x": None},
    ]

    # Ways to authenticate.
    assert granting.ask_token("basic-only", **read).status == 200
    assert refused(posted(granting, "basic-only")) == (401, "invalid_client")
    assert refused(granting.ask_token("post-only", **read)) == (401, "invalid_client")
    assert posted(granting, "post-only").status == 200
    for secret in ("two-secret", "two-other-secret"):
        assert posted(granting, "two", secret).status == 200

    assert granting.ask_token("credentials-only", **read).status == 200
    bearer = "urn:ietf:params:oauth:grant-type:jwt-bearer"
    asked = granting.post_form("/oauth2/token", {"grant_type": bearer, "assertion": "x.y.z"})
    assert refused(asked) == (400, "invalid_grant")

    # Scopes: those asked, else the authorization's default, else none.
    given = granting.ask_token("defaults")
    assert given.json["scope"] == claims_of(given)["scope"] == "country.write country.read"
    assert granting.ask_token("defaults", **read).json["scope"] == "country.read"
    none = granting.ask_token("plain")
    assert ("scope" in none.json, "scope" in claims_of(none)) == (False, False)
    assert granting.get(bearer=none.json["access_token"]).reason == "missing_scope"

    # Nobody gets a token by proving who he is alone.
    assert refused(granting.ask_token("nothing", audience="country-service")) == (400, "invalid_target")


def posted(appliance, client, secret=None):
    secret = secret or f"{client}-secret"
    form = {"grant_type": "client_credentials", "client_id": client, "client_secret": secret}
    return appliance.post_form("/oauth2/token", {**form, "scope": "country.read"})


def test_a_client_that_is_disabled_loses_its_live_tokens(granting):
    token = granting.token("plain")
    assert granting.get(bearer=token).status == 200
    text = granting.policy.read_text()
    granting.policy.write_text(
        text.replace('"plain:plain-secret"]}', '"plain:plain-secret"], disabled: true}')
    )
    assert granting.reload().status == 200
    assert granting.get(bearer=token).reason == "client_disabled"
    granting.policy.write_text(text)
    assert granting.reload().status == 200
    assert granting.get(bearer=token).status == 200


def test_scopes_may_be_an_array(make):
    appliance = make(policy=POLICY, more=CALM)
    text = appliance.main.read_text()
    appliance.main.write_text(text.replace("issuer: {url: ", "issuer: {scope_claim: array, url: "))
    appliance.start()
    answer = appliance.ask_token("defaults", scope="country.read country.write")
    assert claims_of(answer)["scope"] == ["country.read", "country.write"]
    assert answer.json["scope"] == "country.read country.write"
    assert appliance.get(bearer=answer.json["access_token"]).status == 200
    assert (
        appliance.introspect(answer.json["access_token"], "defaults")["scope"] == "country.read country.write"
    )


def test_an_error_says_the_same_to_older_callers(granting):
    answer = granting.ask_token("plain", scope="country.drop")
    body = answer.json
    assert body["messages"] == [body["error_description"]]
    assert body["status"] == answer.status == 400
    assert body["error_description"].isascii()
