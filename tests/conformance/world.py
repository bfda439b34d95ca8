"""One running process, the requests of the tables, and what is expected of their answers.

A row is one rule of one RFC: a request, the answer it must get, and, where that is a
refusal, a twin that differs in the one thing and is accepted. `{…}` in a request is
replaced by what the process has issued, or by what is signed with its own key.
"""

import base64
import http.client
import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus, urlencode

from gateway.tokens.jwt import encode_base64url, sign_compact
from gateway.tokens.keyfiles import load_keys

SECRETS = {
    "caller": "caller-secret",
    "other": "other-secret",
    "limited": "limited-secret",
    "country-service": "service-secret",
    "odd client:%+/": "p:%+ /w",
}
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
authorizations:
  - {{client: caller, audience: country-service, scopes: [country.read, country.write]}}
  - {{client: caller, audience: "https://orders.example/api", scopes: [orders.read]}}
  - client: other
    audience: country-service
    scopes: [country.read, country.write]
    default_scopes: [country.write]
  - {{client: limited, audience: country-service, scopes: [country.read]}}
  - {{client: "odd client:%+/", audience: country-service, scopes: [country.read]}}
routes:
  - name: read
    path: /read
    upstream: country
    require: {{audience: country-service, scopes: [country.read]}}
"""


def basic(client_id: str, secret: str | None = None, *, encoded: bool = True) -> str:
    """Return an Authorization value; RFC 6749 2.3.1 wants both halves form-encoded."""
    secret = SECRETS[client_id] if secret is None else secret
    pair = f"{quote_plus(client_id)}:{quote_plus(secret)}" if encoded else f"{client_id}:{secret}"
    return "Basic " + base64.b64encode(pair.encode()).decode()


@dataclass(frozen=True)
class Ask:
    """One request. `{name}` in fields and form is replaced by `World.words`."""

    method: str
    path: str
    fields: tuple[tuple[str, str], ...] = ()
    form: tuple[tuple[str, str], ...] | None = None
    body: str | None = None

    def having(self, **form: str) -> "Ask":
        """Return the request with these parameters replaced or added."""
        return replace(self, form=tuple({**dict(self.form or ()), **form}.items()))

    def without(self, *names: str) -> "Ask":
        """Return the request without these parameters or fields."""
        form = None if self.form is None else tuple(item for item in self.form if item[0] not in names)
        return replace(self, form=form, fields=tuple(item for item in self.fields if item[0] not in names))

    def twice(self, name: str, value: str) -> "Ask":
        """Return the request with one more parameter, whether or not there is one of that name."""
        return replace(self, form=(*(self.form or ()), (name, value)))

    def sending(self, *fields: tuple[str, str]) -> "Ask":
        """Return the request with further fields."""
        return replace(self, fields=(*self.fields, *fields))

    def to(self, path: str, method: str | None = None) -> "Ask":
        """Return the request to another path."""
        return replace(self, path=path, method=method or self.method)


@dataclass(frozen=True)
class Answer:
    """One answer."""

    status: int
    fields: tuple[tuple[str, str], ...]
    body: bytes

    def one(self, name: str) -> str | None:
        """Return the value of a field that comes at most once."""
        found = [value for key, value in self.fields if key.lower() == name.lower()]
        assert len(found) <= 1, f"{name} came {len(found)} times"
        return found[0] if found else None

    @property
    def json(self) -> Any:
        return json.loads(self.body)


Look = Callable[[Answer], object]


@dataclass(frozen=True)
class Row:
    """One rule: `rfc` says which, `rule` what it says in our words."""

    rfc: str
    rule: str
    ask: Ask
    status: int
    error: str | None = None
    fields: Mapping[str, str | None] = field(default_factory=dict)
    """Name -> a pattern for the whole value; None: the field must not be there."""
    look: Look | None = None
    """Raises, or returns something false, when the body is not as it must be."""
    twin: Ask | None = None
    """The same but for the defect: accepted."""

    def __str__(self) -> str:
        return re.sub(r"[^a-zA-Z0-9.]+", "-", f"{self.rfc}-{self.rule}")[:90]


NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache", "Content-Type": "application/json.*"}
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
        words = self.words(ask)

        def said(text: str) -> str:
            return re.sub(r"\{(\w+)\}", lambda match: words[match[1]](), text)

        body = ask.body
        fields = [(name, said(value)) for name, value in ask.fields]
        if ask.form is not None:
            body = urlencode([(name, said(value)) for name, value in ask.form])
            if not any(name.lower() == "content-type" for name, _ in fields):
                fields.append(("Content-Type", "application/x-www-form-urlencoded"))
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.putrequest(ask.method, self.prefix + said(ask.path), skip_accept_encoding=True)
            for name, value in fields:
                connection.putheader(name, value)
            if body is not None:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body.encode() if body is not None else None)
            answer = connection.getresponse()
            return Answer(answer.status, tuple(answer.getheaders()), answer.read())
        finally:
            connection.close()

    def words(self, ask: Ask) -> Mapping[str, Callable[[], str]]:
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
        answer = self.send(row.ask)
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
            assert row.look(answer) is not False
        if row.twin is not None:
            accepted = self.send(row.twin)
            assert accepted.status in (200, 204), (accepted.status, accepted.body)


TOKEN = Ask(
    "POST",
    "/oauth2/token",
    (("Authorization", basic("caller")),),
    (("grant_type", "client_credentials"), ("scope", "country.read")),
)
INTROSPECT = Ask("POST", "/oauth2/introspect", (("Authorization", basic("caller")),), (("token", "{token}"),))
REVOKE = Ask("POST", "/oauth2/revoke", (("Authorization", basic("caller")),), (("token", "{token}"),))
READ = Ask("GET", "/read", (("Authorization", "Bearer {token}"),))


def bearing(word: str, scheme: str = "Bearer") -> Ask:
    """Return a request to the protected route with another token."""
    return replace(READ, fields=(("Authorization", f"{scheme} {{{word}}}"),))


def parts(answer: Answer) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return header and claims of the token in a reply."""
    header, payload, _ = answer.json["access_token"].split(".")
    return tuple(json.loads(base64.urlsafe_b64decode(text + "==")) for text in (header, payload))  # type: ignore[return-value]


def refusals_without_twin(rows: Sequence[Row]) -> list[str]:
    """Return the refusals that have no accepted twin."""
    return [str(row) for row in rows if row.status >= 400 and row.twin is None]
