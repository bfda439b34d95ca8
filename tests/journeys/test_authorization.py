"""Show central authorization: who gets a token for whom, and that a right taken away is gone at once."""

import pytest

POLICY = """\
clients:
  plain-name: {scopes: {a.read: A}}
  https://billing.example/api: {scopes: {invoice.read: Read invoices}}
  http://archive.example: {scopes: {document.read: Read documents}}
  //ledger.example/books: {scopes: {entry.read: Read entries}}
  closed-service: {scopes: {closed.read: C}}
  caller: {secrets: ["plain:caller-secret"]}
  other: {secrets: ["plain:other-secret"]}
authorizations:
  - {client: caller, audience: plain-name, scopes: [a.read]}
  - {client: caller, audience: "https://billing.example/api", scopes: [invoice.read]}
  - {client: caller, audience: "http://archive.example", scopes: [document.read]}
  - {client: caller, audience: //ledger.example/books, scopes: [entry.read]}
routes:
  - {path: /plain, upstream: country, require: {audience: plain-name, scopes: [a.read]}}
  - {path: /ledger, upstream: country, require: {audience: //ledger.example/books}}
"""
SCOPES = {
    "plain-name": "a.read",
    "https://billing.example/api": "invoice.read",
    "http://archive.example": "document.read",
    "//ledger.example/books": "entry.read",
}


@pytest.fixture
def central(make):
    return make(policy=POLICY).start()


def test_who_gets_a_token_for_whom(central):
    for audience, scope in SCOPES.items():
        reply = central.ask_token(audience=audience, scope=scope)
        assert (reply.status, reply.json["scope"]) == (200, scope), audience
        seen = central.introspect(reply.json["access_token"])
        assert (seen["active"], seen["aud"]) == (True, audience)
    refusals = [
        ({"audience": "closed-service"}, "invalid_target"),
        ({"audience": "nobody"}, "invalid_target"),
        ({"audience": "plain-name", "scope": "a.read invoice.read"}, "invalid_scope"),
        ({"audience": "plain-name", "scope": "a.write"}, "invalid_scope"),
        ({"scope": "a.read"}, "invalid_request"),
        ({"resource": "https://billing.example/api", "audience": "plain-name"}, "invalid_target"),
    ]
    for form, error in refusals:
        reply = central.ask_token(**form)
        assert (reply.status, reply.json["error"]) == (400, error), form
    assert central.ask_token("other", audience="plain-name").json["error"] == "invalid_target"


def test_a_token_opens_only_the_service_it_is_for(central):
    plain = central.token(audience="plain-name", scope="a.read")
    ledger = central.token(audience="//ledger.example/books", scope="entry.read")
    assert central.get("/plain", bearer=plain).status == 200
    assert central.get("/ledger", bearer=ledger).status == 200
    assert central.get("/plain", bearer=ledger).reason == "wrong_audience"
    assert central.get("/ledger", bearer=plain).reason == "wrong_audience"


LINE = "  - {client: caller, audience: plain-name, scopes: [a.read]}\n"


@pytest.mark.parametrize(
    ("before", "after", "status", "reason"),
    [
        pytest.param(LINE, "", 403, "client_not_allowed", id="the authorization is removed"),
        pytest.param(LINE, LINE.replace("[a.read]", "[]"), 403, "missing_scope", id="the scope is removed"),
        pytest.param(
            'caller: {secrets: ["plain:caller-secret"]}',
            'caller: {secrets: ["plain:caller-secret"], disabled: true}',
            403,
            "client_disabled",
            id="the client is disabled",
        ),
    ],
)
def test_what_a_reload_takes_away_is_gone_for_live_tokens(central, before, after, status, reason):
    token = central.token(audience="plain-name", scope="a.read")
    assert central.get("/plain", bearer=token).status == 200
    central.policy.write_text(POLICY.replace(before, after))
    assert central.reload().status == 200
    refused = central.get("/plain", bearer=token)
    assert (refused.status, refused.reason) == (status, reason)
    central.policy.write_text(POLICY)
    assert central.reload().status == 200
    assert central.get("/plain", bearer=token).status == 200
