"""Show that every refusal has one word, in the answer, the access log and the metric alike.

Sixteen refusals of the gate and sixteen of the token endpoint, by a running process. Each is
found again by its request id; what the caller sent secretly is in no log and no metric. The
token endpoint leaves one line more, in the process log, which says to the operator what the
caller is not told.
"""

import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.journeys.conftest import call
from tests.support.jws import Key, make_key

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
FORM = "application/x-www-form-urlencoded"

POLICY = """\
clients:
  country-service:
    scopes: {country.read: Read, country.write: Write}
    secrets: ["plain:country-service-secret"]
  other-service:
    scopes: {other.read: Read}
  caller:
    secrets: ["plain:caller-secret"]
  leaver:
    secrets: ["plain:leaver-secret"]
    disabled: true
  lost:
    secrets: ["plain:lost-secret"]
    default_audience: other-service
  keyed:
    jwks: {keys: [KEY]}
  workload:
    assertions:
      - {issuer: "https://platform.example", subject: "job-1", jwks: {keys: [KEY]}}
  bound:
    secrets: ["plain:bound-secret"]
    grants: [jwt-bearer]
    assertions:
      - {issuer: "https://platform.example", subject: "job-9", jwks: {keys: [KEY]}}
authorizations:
  - {client: caller, audience: country-service, scopes: [country.read]}
  - {client: caller, audience: other-service, scopes: [other.read]}
  - {client: keyed, audience: country-service, scopes: [country.read]}
  - {client: workload, audience: country-service, scopes: [country.read]}
routes:
  - name: read-country
    path: /ms-system/**
    methods: [GET, HEAD]
    upstream: country
    require: {audience: country-service, scopes: [country.read]}
  - name: tenant
    path: /tenant
    upstream: country
    require: {audience: country-service, scopes: [country.read], claims: {tenant: [acme]}}
  - name: staff
    path: /staff
    upstream: country
    require: {audience: country-service, scopes: [country.read], clients: [keyed]}
  - name: limited
    path: /limited
    upstream: country
    require: {audience: country-service, scopes: [country.read]}
    rate_limit: {requests: 1, per: 1h, by: route}
"""


@dataclass
class World:
    """A running process, and what its callers hold."""

    appliance: Any
    key: Key
    secrets: list[str] = field(default_factory=list)
    """Whatever was sent that must be found nowhere."""

    def token(self, **form: str) -> str:
        token = self.appliance.token(audience="country-service", **form)
        self.secrets.append(token)
        return token

    def bearer(self, **form: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token(**form)}"}

    def assertion(self, **changes: Any) -> str:
        now = int(time.time())
        url = f"http://127.0.0.1:{self.appliance.port}"
        claims = {"iss": "keyed", "sub": "keyed", "aud": url, "iat": now, "exp": now + 60, "jti": f"{now}"}
        made = self.key.token(claims | changes)
        self.secrets.append(made)
        return made


@pytest.fixture(scope="module")
def key() -> Key:
    return make_key()


@pytest.fixture
def world(make, key) -> World:
    policy = POLICY.replace("KEY", json.dumps(key.public))
    return World(make(policy=policy).start(), key)


Fields = dict[str, str]


@dataclass(frozen=True)
class AtGate:
    reason: str
    fields: Callable[[World], Fields] = lambda world: {}
    target: str = "/ms-system/country/code/AUS"
    method: str = "GET"
    names_client: bool = False


def revoked(world: World) -> Fields:
    token = world.token()
    assert world.appliance.revoke(token).status == 200
    return {"Authorization": f"Bearer {token}"}


def tampered(world: World) -> Fields:
    token = world.token()
    return {"Authorization": f"Bearer {token[:-6]}{'AAAAAA' if token[-6:] != 'AAAAAA' else 'BBBBBB'}"}


def used_up(world: World) -> Fields:
    fields = world.bearer(scope="country.read")
    assert world.appliance.get("/limited", headers=fields).status == 200
    return fields


GATE = [
    AtGate("no_token"),
    AtGate("no_token", target="/tenant?access_token=c2VjcmV0LXF1ZXJ5"),
    AtGate("no_token", lambda world: {"Authorization": "Token c2VjcmV0LXNjaGVtZQ"}),
    AtGate("malformed_token", lambda world: {"Authorization": "Bearer c2VjcmV0LW1hbGZvcm1lZA"}),
    AtGate("bad_signature", tampered),
    AtGate("revoked", revoked, names_client=True),
    AtGate("wrong_type", lambda world: {"Authorization": f"Bearer {world.assertion()}"}),
    AtGate(
        "wrong_issuer",
        lambda world: {"Authorization": f"Bearer {world.assertion(iss='https://platform.example')}"},
    ),
    AtGate("missing_scope", lambda world: world.bearer(scope=""), names_client=True),
    AtGate("claim_mismatch", lambda world: world.bearer(), "/tenant", names_client=True),
    AtGate("client_not_allowed", lambda world: world.bearer(), "/staff", names_client=True),
    AtGate(
        "wrong_audience",
        lambda world: {
            "Authorization": f"Bearer {world.appliance.token(audience='other-service', scope='')}"
        },
        names_client=True,
    ),
    AtGate("rate_limited", used_up, "/limited", names_client=True),
    AtGate("no_route", target="/nowhere"),
    AtGate("method_not_allowed", method="DELETE"),
    AtGate("bad_path", target="/ms-system/a//b"),
]


@dataclass(frozen=True)
class AtIssuer:
    error: str
    form: Callable[[World], dict[str, str]] = lambda world: {}
    basic: tuple[str, str] | None = ("caller", "caller-secret")
    content_type: str = FORM
    method: str = "POST"
    line: dict[str, Any] = field(default_factory=dict)
    """What the process log says besides."""


def asking(**form: str) -> Callable[[World], dict[str, str]]:
    return lambda world: {"grant_type": "client_credentials", "audience": "country-service", **form}


def proving(**changes: Any) -> Callable[[World], dict[str, str]]:
    return lambda world: {
        "grant_type": "client_credentials",
        "client_assertion_type": ASSERTION_TYPE,
        "client_assertion": world.assertion(**changes),
    }


def of_platform(**changes: Any) -> Callable[[World], dict[str, str]]:
    claims = {"iss": "https://platform.example", "sub": "job-1", **changes}
    return lambda world: {"grant_type": JWT_BEARER, "assertion": world.assertion(**claims)}


ISSUER = [
    AtIssuer("invalid_client", asking(), None, line={"cause": "no_credentials"}),
    AtIssuer(
        "invalid_client",
        asking(),
        ("caller", "not-the-secret"),
        line={"cause": "wrong_secret", "unverified_client": "caller", "auth_method": "client_secret_basic"},
    ),
    AtIssuer(
        "invalid_client",
        asking(),
        ("caler", "caller-secret"),
        line={"cause": "unknown_client", "unverified_client": "caler"},
    ),
    AtIssuer(
        "invalid_client",
        asking(),
        ("keyed", "some-secret-text"),
        line={"cause": "method_not_allowed", "unverified_client": "keyed"},
    ),
    AtIssuer("invalid_client", asking(), ("leaver", "leaver-secret"), line={"cause": "disabled"}),
    AtIssuer(
        "invalid_client",
        proving(exp=1),
        None,
        line={
            "cause": "expired",
            "unverified_client": "keyed",
            "unverified_iss": "keyed",
            "unverified_kid": "k1",
        },
    ),
    AtIssuer(
        "invalid_client", proving(aud="https://elsewhere.example"), None, line={"cause": "wrong_audience"}
    ),
    AtIssuer(
        "invalid_grant",
        of_platform(sub="job-2"),
        None,
        line={
            "cause": "unknown_identity",
            "grant": JWT_BEARER,
            "unverified_iss": "https://platform.example",
            "unverified_sub": "job-2",
            "unverified_kid": "k1",
        },
    ),
    AtIssuer(
        "unsupported_grant_type",
        asking(grant_type="password"),
        line={"asked_grant": "password"},
    ),
    AtIssuer("invalid_request", lambda world: {"scope": "country.read"}),
    AtIssuer("invalid_request", asking(client_secret="caller-secret"), line={"cause": "several_methods"}),
    AtIssuer("invalid_request", asking(), content_type="application/json"),
    AtIssuer(
        "invalid_scope",
        asking(scope="country.read country.write"),
        line={
            "client": "caller",
            "auth_method": "client_secret_basic",
            "asked_audience": "country-service",
            "asked_scope": "country.read country.write",
        },
    ),
    AtIssuer(
        "invalid_target",
        asking(audience="contry-service"),
        line={"client": "caller", "cause": "unknown_audience", "asked_audience": "contry-service"},
    ),
    AtIssuer(
        "invalid_target",
        asking(audience=""),
        ("lost", "lost-secret"),
        line={"client": "lost", "cause": "default_audience_not_authorized"},
    ),
    AtIssuer("unauthorized_client", asking(), ("bound", "bound-secret"), line={"client": "bound"}),
]
SENT = ["-secret", "not-the-secret", "c2VjcmV0", "some-secret-text"]


def test_there_are_enough() -> None:
    assert len(GATE) == len(ISSUER) == 16


def http_requests(world: World, reason: str) -> float:
    """Return how many requests ended with this reason, on any route."""
    text = world.appliance.admin("GET", "/metrics").body.decode()
    rows = re.findall(r"^sidegate_http_requests_total\{(.*)\} (\S+)$", text, re.MULTILINE)
    return sum(float(value) for labels, value in rows if f'reason="{reason}"' in labels)


def assert_kept_secret(world: World, secrets: list[str]) -> None:
    written = (
        world.appliance.out,
        world.appliance.err,
        world.appliance.admin("GET", "/metrics").body.decode(),
    )
    for secret in secrets:
        for text in written:
            assert secret not in text, secret
            assert secret.rpartition(".")[2] not in text, secret


def access_of(world: World, request_id: str, wait_until: Callable[..., Any]) -> dict[str, Any]:
    (line,) = wait_until(
        lambda: [line for line in world.appliance.accesses if line["request_id"] == request_id],
        "the access log",
    )
    return line


def test_sixteen_refusals_of_the_gate(world, wait_until):
    for row in GATE:
        fields = row.fields(world)
        before = http_requests(world, row.reason)
        answer = call(world.appliance.port, row.method, row.target, headers=fields)
        problem = answer.json
        request_id = answer.headers["X-Request-Id"]
        assert problem["request_id"] == request_id, row
        assert problem["type"] == f"urn:sidegate:reason:{row.reason}"
        line = access_of(world, request_id, wait_until)
        assert {problem["reason"], answer.reason, line["reason"]} == {row.reason}, row
        assert line["status"] == answer.status == problem["status"]
        assert line["response_bytes"] == len(answer.body)
        assert line.get("client") == ("caller" if row.names_client else None), row
        assert http_requests(world, row.reason) == before + 1, row
    assert_kept_secret(world, [*world.secrets, *SENT])


def test_sixteen_refusals_of_the_token_endpoint(world, wait_until):
    for row in ISSUER:
        form = {name: value for name, value in row.form(world).items() if value}
        before = http_requests(world, row.error)
        answer = call(
            world.appliance.port,
            row.method,
            "/oauth2/token",
            headers={"Content-Type": row.content_type},
            body=urlencode(form).encode(),
            basic=row.basic,
        )
        request_id = answer.headers["X-Request-Id"]
        line = access_of(world, request_id, wait_until)
        assert {answer.json["error"], line["reason"]} == {row.error}, (row, answer)
        assert answer.reason is None
        assert line["status"] == answer.status
        assert http_requests(world, row.error) == before + 1, row
        (said,) = [entry for entry in world.appliance.logged if entry.get("request_id") == request_id]
        assert (said["message"], said["level"], said["result"]) == ("token request", "info", row.error)
        assert said["detail"] == answer.json["error_description"]
        assert {name: said.get(name) for name in row.line} == row.line, row
        if "client" not in row.line and row.error == "invalid_client":
            assert "client" not in said
        counted = f'result="{row.error}"'
        assert counted in world.appliance.admin("GET", "/metrics").body.decode()
    assert_kept_secret(world, [*world.secrets, *SENT])


def test_what_was_granted_is_one_line_too(world, wait_until):
    answer = world.appliance.ask_token(audience="country-service", scope="country.read")
    request_id = answer.headers["X-Request-Id"]
    (said,) = wait_until(
        lambda: [line for line in world.appliance.logged if line.get("request_id") == request_id], "the line"
    )
    wanted = {
        "message": "token request",
        "result": "ok",
        "client": "caller",
        "grant": "client_credentials",
        "auth_method": "client_secret_basic",
        "audience": "country-service",
        "scope": "country.read",
        "asked_audience": "country-service",
        "asked_scope": "country.read",
        "lifetime_s": 3600,
        "peer": "127.0.0.1",
    }
    assert {name: said.get(name) for name in wanted} == wanted
    assert not [name for name in said if name.startswith("unverified")]
    platform = of_platform()(world)
    answer = world.appliance.post_form("/oauth2/token", platform)
    assert answer.status == 200
    (said,) = wait_until(
        lambda: [
            line
            for line in world.appliance.logged
            if line.get("request_id") == answer.headers["X-Request-Id"]
        ],
        "the line",
    )
    assert (said["client"], said["grant"], said["result"]) == ("workload", JWT_BEARER, "ok")


def test_whoever_was_proven_is_named_also_when_its_assertion_is_refused(world, wait_until):
    form = of_platform(sub="job-2")(world)
    answer = world.appliance.post_form("/oauth2/token", form, basic=("bound", "bound-secret"))
    assert answer.json["error"] == "invalid_grant"
    request_id = answer.headers["X-Request-Id"]
    (said,) = wait_until(
        lambda: [line for line in world.appliance.logged if line.get("request_id") == request_id], "the line"
    )
    assert (said["client"], said["cause"], said["unverified_sub"]) == ("bound", "unknown_identity", "job-2")
    assert "unverified_client" not in said


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_no_caller_writes_a_line_of_its_own(make, wait_until, log_format):
    appliance = make(more=f"logs: {{format: {log_format}}}\n").start()
    forged = 'x\n{"level":"error","message":"forged"}\r\n\x1b[31m\x7f\u202e'
    jwt = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJzZWNyZXQifQ.c2lnbmF0dXJl"
    for form, basic in (
        ({"grant_type": forged}, None),
        ({"grant_type": "client_credentials", "client_id": forged, "client_secret": "guess"}, None),
        ({"grant_type": "client_credentials", "client_id": jwt, "client_secret": "guess"}, None),
        (
            {"grant_type": "client_credentials", "audience": forged, "scope": forged},
            ("caller", "caller-secret"),
        ),
        ({"grant_type": "client_credentials", "audience": "a" * 5000}, ("caller", "caller-secret")),
    ):
        assert appliance.post_form("/oauth2/token", form, basic=basic).status in (400, 401)
    wait_until(lambda: appliance.err.count("token request") == 5, "the lines")
    assert appliance.err.isascii()
    assert "\x1b" not in appliance.err
    assert "\x7f" not in appliance.err
    assert not [line for line in appliance.err.splitlines() if line.startswith('{"level')]
    assert jwt not in appliance.err
    assert "[masked]" in appliance.err
    assert max(map(len, appliance.err.splitlines())) < 2000


def test_introspection_and_revocation_leave_a_line_each(world, wait_until):
    token = world.token()
    world.appliance.introspect(token)
    world.appliance.revoke(token)
    world.appliance.revoke(token, client="nobody")

    def lines():
        found = [
            (line["message"], line["result"], line.get("client"), line.get("unverified_client"))
            for line in world.appliance.logged
            if line["message"] in ("introspection request", "revocation request")
        ]
        return found if len(found) == 3 else None

    assert wait_until(lines, "three lines") == [
        ("introspection request", "ok", "caller", None),
        ("revocation request", "ok", "caller", None),
        ("revocation request", "invalid_client", None, "nobody"),
    ]
    assert_kept_secret(world, [token])


def test_a_log_of_warnings_holds_no_requests(make):
    appliance = make(more="logs: {level: warning}\n").start()
    appliance.token()
    assert appliance.stop() == 0
    assert "token request" not in appliance.err
