"""Run the process that the rows are held against, and make what their requests carry."""

import http.client
import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlencode

from gateway.tokens.base64url import encode_base64url
from gateway.tokens.keyfiles import load_keys
from gateway.tokens.signing import sign_compact
from tests.conformance.assertions import ASSERTIONS, HMAC_SECRET, JOB, JOB_RSA, PLATFORM, SIGNER, SIGNER_RSA
from tests.conformance.rfc7523 import CLIENT, GRANT
from tests.conformance.rows import INTROSPECT, REVOKE, TOKEN, Answer, Ask, Row, as_client, basic

CONFIGURATION = """\
version: 1
listeners: [{{address: "127.0.0.1:{port}"}}]
admin: {{address: "127.0.0.1:{admin_port}"}}
issuer: {{url: "{issuer}", path_prefix: "{prefix}", signing_algorithm: {alg}}}
state: "memory:"
upstreams:
  country: {{targets: ["http://127.0.0.1:{upstream_port}"]}}
limits: {{auth_failures: {{requests: 50, per: 10m}}, loop_lag: 0}}  # a busy machine is no reason to refuse
clients:
  country-service:
    secrets: ["plain:service-secret"]
    scopes: {{country.read: Read, country.write: Write}}
  https://orders.example/api:
    scopes: {{orders.read: Read}}
  caller:
    secrets: ["plain:caller-secret"]
    default_audience: country-service
  other:
    secrets: ["plain:other-secret"]
  limited:
    secrets: ["plain:limited-secret"]
    grants: [jwt-bearer]
  "odd client:%+/":
    secrets: ["plain:p:%+ /w"]
  signer:
    jwks: {signer_keys}
  hmac:
    secrets: ["plain:{hmac_secret}"]
  workload:
    secrets: ["plain:workload-secret"]
    assertions: [{{issuer: "{platform}", subject: job, jwks: {job_keys}}}]
  idle:
    secrets: ["plain:idle-secret"]
    grants: [client_credentials]
    assertions: [{{issuer: "{platform}", subject: idler, jwks: {job_keys}}}]
authorizations:
  - {{client: caller, audience: country-service, scopes: [country.read, country.write]}}
  - {{client: caller, audience: "https://orders.example/api", scopes: [orders.read]}}
  - client: other
    audience: country-service
    scopes: [country.read, country.write]
    default_scopes: [country.write]
  - {{client: limited, audience: country-service, scopes: [country.read]}}
  - {{client: "odd client:%+/", audience: country-service, scopes: [country.read]}}
  - {{client: signer, audience: country-service, scopes: [country.read]}}
  - {{client: hmac, audience: country-service, scopes: [country.read]}}
  - {{client: workload, audience: country-service, scopes: [country.read]}}
routes:
  - name: read
    path: /read
    upstream: country
    require: {{audience: country-service, scopes: [country.read]}}
"""

KEYS = {
    "signer_keys": json.dumps({"keys": [SIGNER.public, SIGNER_RSA.public]}),
    "job_keys": json.dumps({"keys": [JOB.public, JOB_RSA.public]}),
    "platform": PLATFORM,
    "hmac_secret": HMAC_SECRET,
}
"""What the configuration says of those who sign."""
_IN_DESCRIPTION = re.compile(r"[\x20\x21\x23-\x5b\x5d-\x7e]+")


@dataclass
class World:
    """The running process."""

    directory: Path
    port: int
    issuer: str
    prefix: str = ""
    alg: str = "ES256"

    def send(self, ask: Ask) -> Answer:
        """Return the answer to one request on a connection of its own."""
        ask = self.spell(ask)
        body = ask.body
        fields = list(ask.fields)
        if ask.form is not None:
            body = urlencode(ask.form)
            if not any(name.lower() == "content-type" for name, _ in fields):
                fields.append(("Content-Type", "application/x-www-form-urlencoded"))
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.putrequest(ask.method, self.prefix + ask.path, skip_accept_encoding=True)
            for name, value in fields:
                connection.putheader(name, value)
            if body is not None:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body.encode() if body is not None else None)
            answer = connection.getresponse()
            return Answer(answer.status, tuple(answer.getheaders()), answer.read())
        finally:
            connection.close()

    def spell(self, ask: Ask) -> Ask:
        """Return the request with what its words in braces stand for, made now."""
        words = self.words()

        def said(text: str) -> str:
            return re.sub(r"\{(\w+)\}", lambda match: words[match[1]](), text)

        fields = tuple((name, said(value)) for name, value in ask.fields)
        form = None if ask.form is None else tuple((name, said(value)) for name, value in ask.form)
        return replace(ask, path=said(ask.path), fields=fields, form=form)

    def words(self) -> Mapping[str, Callable[[], str]]:
        """Return what may stand in braces in a request."""
        now = int(time.time())
        return {
            "token": lambda: self.token(),
            "write_token": lambda: self.token(scope="country.write"),
            "orders_token": lambda: self.token(audience="https://orders.example/api", scope="orders.read"),
            "other_token": lambda: self.token("other", audience="country-service", scope="country.read"),
            "revoked": self.revoked,
            "signed": lambda: self.sign(),
            "expired": lambda: self.sign(exp=now - 1, iat=now - 100, nbf=now - 100),
            "early": lambda: self.sign(nbf=now + 600),
            "foreign": lambda: self.sign(iss="https://evil.example"),
            "elsewhere": lambda: self.sign(aud="https://orders.example/api"),
            "typed_jwt": lambda: self.sign(typ="JWT"),
            "typed_long": lambda: self.sign(typ="application/at+jwt"),
            "unsigned": self.unsigned,
            "forged": lambda: self.sign()[:-8] + "AAAAAAAA",
            "signer_token": self.signer_token,
            "used_client_assertion": lambda: self.used("client"),
            "used_grant_assertion": lambda: self.used("grant"),
            **{name: lambda make=make: make(self.issuer) for name, make in ASSERTIONS.items()},
            **{
                f"without_{claim}": lambda claim=claim: self.sign(**{claim: None})
                for claim in ("iss", "exp", "aud", "sub", "client_id", "iat", "jti")
            },
        }

    def token(self, client: str = "caller", **form: str) -> str:
        """Return a token from the token endpoint."""
        form = {"audience": "country-service", "scope": "country.read", **form}
        asked = TOKEN.without("Authorization").having(**form).sending(("Authorization", basic(client)))
        answer = self.send(asked)
        assert answer.status == 200, answer.body
        return str(answer.json["access_token"])

    def signer_token(self) -> str:
        """Return a token of the client that has a key in place of a secret."""
        answer = self.send(CLIENT)
        assert answer.status == 200, answer.body
        return str(answer.json["access_token"])

    def used(self, use: str) -> str:
        """Return an assertion that was accepted once."""
        assertion = ASSERTIONS[f"{use}_honest"](self.issuer)
        ask = (
            CLIENT.having(client_assertion=assertion)
            if use == "client"
            else GRANT.having(assertion=assertion)
        )
        answer = self.send(ask)
        assert answer.status == 200, answer.body
        return assertion

    def revoked(self) -> str:
        """Return a token that was revoked."""
        token = self.token()
        assert self.send(REVOKE.having(token=token)).status == 200
        return token

    def sign(self, *, typ: str = "at+jwt", **changes: object) -> str:
        """Return a token signed with the key of the process; None leaves a claim out."""
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "sub": "caller",
            "client_id": "caller",
            "aud": "country-service",
            "iat": now,
            "nbf": now,
            "exp": now + 600,
            "jti": f"signed {time.perf_counter_ns()}",
            "scope": "country.read",
        } | changes
        key = load_keys(self.directory / "keys", self.alg, create=False).ring.active
        signed = sign_compact(
            key, {name: value for name, value in claims.items() if value is not None}, typ=typ
        )
        return signed.decode()

    def unsigned(self) -> str:
        """Return a token whose header says that it needs no signature."""
        _, payload, _ = self.sign().split(".")
        return (
            f"{encode_base64url(json.dumps({'alg': 'none', 'typ': 'at+jwt'}).encode()).decode()}.{payload}."
        )

    def hold(self, row: Row) -> None:
        """Hold the process to one row."""
        ask = self.spell(row.ask)
        answer = self.send(ask)
        assert answer.status == row.status, (answer.status, answer.body)
        if row.error is not None:
            body = answer.json
            assert body["error"] == row.error, body
            assert _IN_DESCRIPTION.fullmatch(body["error_description"])
            assert (body["messages"], body["status"]) == ([body["error_description"]], row.status)
        for name, pattern in row.fields.items():
            value = answer.one(name)
            if pattern is None:
                assert value is None, f"{name}: {value}"
            else:
                assert value is not None, f"{name} is missing"
                assert re.fullmatch(pattern, value), f"{name}: {value}"
        if row.look is not None:
            assert row.look(answer)
        if row.live_after is not None:
            token = dict(ask.form or ())["token"]
            # Asked by the audience, which may ask about everybody's.
            shown = self.send(as_client(INTROSPECT, "country-service").having(token=token))
            assert shown.json["active"] is row.live_after
        if row.twin is not None:
            accepted = self.send(row.twin)
            assert accepted.status in (200, 204), (accepted.status, accepted.body)
