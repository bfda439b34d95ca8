"""Say what a rule of an RFC is, as a row: a request, its answer, and its accepted twin.

A row is one rule of one RFC: a request, the answer it must get, and, where that is a
refusal, a twin that differs in the one thing and is accepted. `{…}` in a request is
replaced by what the process has issued, or by what is signed with its own key: the
words are those of `tests.conformance.world`.

The rows themselves are in `rfcNNNN.py`, one file per RFC. `docs/conformance.md` is
written from them: `.venv/bin/python -m tests.conformance.page docs/conformance.md`.
"""

import base64
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote_plus

SECRETS = {
    "caller": "caller-secret",
    "other": "other-secret",
    "limited": "limited-secret",
    "country-service": "service-secret",
    "odd client:%+/": "p:%+ /w",
    "workload": "workload-secret",
}


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
    """Raises, or returns something false, when the answer is not as it must be."""
    live_after: bool | None = None
    """Whether the token that the request is about is active afterwards; None: it is about none."""
    twin: Ask | None = None
    """The same but for the defect: accepted."""

    def __str__(self) -> str:
        return re.sub(r"[^a-zA-Z0-9.]+", "-", f"{self.rfc}-{self.rule}")[:90]


NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache", "Content-Type": "application/json.*"}

BASIC = r'Basic realm="[^"]+".*'
CHALLENGE = {"WWW-Authenticate": BASIC}
ORDERS = "https://orders.example/api"
INACTIVE = b'{"active":false}'

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


def as_client(ask: Ask, client_id: str, **more: object) -> Ask:
    return ask.without("Authorization").sending(("Authorization", basic(client_id, **more)))  # type: ignore[arg-type]


def is_of(client_id: str) -> Look:
    """Return a look for a token of this client in a reply."""
    return lambda answer: parts(answer)[1]["sub"] == parts(answer)[1]["client_id"] == client_id


def is_active(client_id: str) -> Look:
    """Return a look for an introspected token of this client that is live."""
    return lambda answer: answer.json["active"] is True and answer.json["client_id"] == client_id


def arrived(client_id: str) -> Look:
    """Return a look for a request that the upstream received as this client's."""
    return lambda answer: answer.json["client"] == client_id


def is_empty(answer: Answer) -> bool:
    return answer.body == b""


def wrong(ask: Ask) -> Ask:
    return as_client(ask, "caller", secret="wrong")
