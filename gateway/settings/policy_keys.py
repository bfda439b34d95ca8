"""List the keys of policies, which any file may hold, and make settings of policy tests.

Those of their entries are in `client_keys`, `identity_keys` and `route_keys`. Those of the process
are in `process_keys`.
"""

from typing import Any
from urllib.parse import urlsplit

from gateway.observe.secret_parameters import mask_address
from gateway.reasons import REFUSALS, Reason
from gateway.settings.client_keys import AUTHORIZATION, CLIENT
from gateway.settings.document import MapNode, Node, ScalarNode
from gateway.settings.kinds import Text
from gateway.settings.lists import Claims, ListOf, MapOf
from gateway.settings.model import PolicyTest
from gateway.settings.problems import SpellingError
from gateway.settings.reading import FROM_ENVIRONMENT, UNREAD, UNSAID, Reading, Schema, any_of
from gateway.settings.route_keys import ROUTE
from gateway.settings.scalars import resolve_plain
from gateway.settings.sections import Field, Section
from gateway.settings.shared_kinds import CLIENT_ID, SCOPES, Values
from gateway.settings.texts import choose_from, parse_claim_name, parse_client_id, parse_method, parse_name


def parse_request(text: str) -> tuple[str, str]:
    """Return method and URL of `GET /path?query` or `GET http://host/path`."""
    method, _, url = text.partition(" ")
    if method.startswith("/"):
        raise SpellingError("names no method", instead=f"GET {text}")
    parse_method(method)
    absolute = url.startswith(("http://", "https://")) and bool(urlsplit(url).netloc)
    if not (url.startswith("/") or absolute) or not url.isprintable() or " " in url:
        words = url.split()
        path = words[0] if words and "://" in words[0] else "/" + words[0].lstrip("/") if words else ""
        raise SpellingError(
            "is not a request",
            "a method and a path, or a method and an absolute URL",
            instead=f"{method} {path}" if path and path != url else "",
        )
    return method, url


def _spell_request(request: tuple[str, str]) -> str:
    method, url = request
    return f"{method} {mask_address(url)}"


_IN_OTHER_WORDS: dict[str, str] = {
    Reason.NO_TOKEN: "unauthorized unauthenticated missing_token",
    Reason.EXPIRED: "token_expired",
    Reason.WRONG_AUDIENCE: "invalid_audience",
    Reason.CLIENT_NOT_ALLOWED: "forbidden access_denied unauthorized_client",
    Reason.NO_ROUTE: "not_found",
    Reason.RATE_LIMITED: "too_many_requests",
}
"""What people write for a reason."""
_ALLOWED, _REFUSED = ("allowed", "permit", "pass", "ok", "true"), ("denied", "refuse", "refused", "false")
_FORMS = "allow, deny, {deny: reason} or a status"


def parse_reason(text: str) -> str:
    """Return a reason for a refusal; who writes the code that callers are told gets the reasons for it."""
    told = [reason for reason in REFUSALS if reason.challenge == text]
    if len(told) == 1:
        raise SpellingError("is what callers are told", instead=told[0])
    if told:
        raise SpellingError("is what callers are told", f"one of its reasons: {', '.join(told)}")
    return _choose_reason(text)


_choose_reason = choose_from("a reason for a refusal", REFUSALS, others=_IN_OTHER_WORDS)


class Expectation:
    """What a policy test expects: `allow`, `deny`, `{deny: reason}` or a status."""

    label = "expectation"
    _reason = Text("reason", parse_reason, words=REFUSALS)

    def read(self, node: Node, reading: Reading) -> Any:
        """Return the matching attributes of a policy test."""
        if isinstance(node, MapNode):
            if list(node.members) == ["deny"] and not _is_status(node.members["deny"][1]):
                reason = self._reason.read(node.members["deny"][1], reading)
                return UNREAD if reason is UNREAD else {"expect_allow": False, "expect_reason": reason}
        elif isinstance(node, ScalarNode):
            value = resolve_plain(node.text) if node.plain else node.text
            if value in ("allow", "deny"):
                return {"expect_allow": value == "allow"}
            if isinstance(value, int) and not isinstance(value, bool) and 200 <= value <= 599:
                return {"expect_status": value}
        meant = "" if isinstance(node, ScalarNode) and node.text != node.written else self._meant(node)
        hint = f"did you mean expect: {meant}?" if meant else _FORMS
        reading.mismatch(node, self.label, hint, wants_example=not meant)
        return UNREAD

    def _meant(self, node: Node) -> str:
        """Return the expectation that is meant by another form of it, or nothing."""
        if isinstance(node, MapNode) and len(node.members) == 1:
            ((key, value),) = node.members.items()
            if key in ("deny", "status") and _is_status(value[1]):
                assert isinstance(value[1], ScalarNode)
                return value[1].text if value[1].text == value[1].written else ""
            return "allow" if key == "allow" else ""
        if not isinstance(node, ScalarNode):
            return ""
        if node.text in REFUSALS:
            return f"{{deny: {node.text}}}"
        word = node.text.lower()
        return (
            node.text
            if _is_status(node)
            else "allow"
            if word in ("allow", *_ALLOWED)
            else "deny"
            if word in ("deny", *_REFUSED)
            else ""
        )

    def show(self, value: Values) -> Any:
        """Return what is expected of attributes of a policy test."""
        if value["expect_reason"] is not None:
            return {"deny": value["expect_reason"]}
        if value["expect_allow"] is not None:
            return "allow" if value["expect_allow"] else "deny"
        return value["expect_status"]

    def schema(self) -> Schema:
        """Return the two words, a mapping with a reason, or a status."""
        reason = self._reason.schema()
        return any_of(
            {"enum": ["allow", "deny"]},
            {
                "type": "object",
                "properties": {"deny": reason},
                "required": ["deny"],
                "additionalProperties": False,
            },
            {"type": "integer", "minimum": 200, "maximum": 599},
            FROM_ENVIRONMENT,
        )

    def example(self) -> str:
        """Return a refusal with its reason."""
        return f"{{deny: {Reason.MISSING_SCOPE}}}"


def _is_status(node: Node) -> bool:
    """Return whether a status is written, in quotes or not."""
    return (
        isinstance(node, ScalarNode) and node.text.isascii() and node.text.isdigit() and len(node.text) == 3
    )


def _join_test(values: Values, _node: Node, _reading: Reading) -> None:
    values["method"], values["url"] = values.pop("request")
    values.setdefault("name", _spell_request((values["method"], values["url"])))
    values |= values.pop("expect")


def _part_test(test: PolicyTest) -> Values:
    expected = ("expect_allow", "expect_reason", "expect_status")
    return {
        "name": test.name or UNSAID,
        "request": (test.method, test.url),
        "expect": {name: getattr(test, name) for name in expected},
    }


TEST = Section(
    "test",
    (
        Field(
            "name",
            Text("name", parse_name),
            "What is shown. Default: the request.",
            such_as="nobody reads without a token",
            aliases="description title it",
        ),
        Field(
            "request",
            Text("request", parse_request, spell=_spell_request),
            "`METHOD /path`, or `METHOD http://host/path`.",
            required=True,
            such_as="GET /country/AUS",
            aliases="url path call when req",
        ),
        Field(
            "client",
            CLIENT_ID,
            "The caller, with a token as the issuer would give it.",
            such_as="reporting-job",
            aliases="client_id caller as",
        ),
        Field(
            "audience",
            CLIENT_ID,
            "The audience of that token. Default: the route's.",
            such_as="country-service",
            aliases="aud resource",
        ),
        Field(
            "scopes",
            SCOPES,
            "The scopes it asks for. Null: all that it is granted for the audience.",
            such_as="[country.read]",
            aliases="scope scp",
        ),
        Field(
            "claims",
            Claims(parse_claim_name),
            "The claims of a token that is made up for the test, in place of `client`.",
            such_as="{tenant: acme}",
            aliases="claim token payload",
        ),
        Field(
            "expect",
            Expectation(),
            "`allow`, `deny`, `{deny: reason}` with a reason of the closed list, or a status.",
            required=True,
            aliases="expected expects result outcome status status_code decision want then assert",
        ),
    ),
    PolicyTest("", "", ""),
    _join_test,
    _part_test,
    is_sparse=True,
)

POLICY_FIELDS = (
    Field(
        "clients",
        MapOf("mapping of clients", parse_client_id, CLIENT, "id"),
        "Every client by its id. A client is a possible caller, and a possible audience.",
        nullable=True,
        such_as="{reporting-job: {secrets: [env:REPORTING_SECRET]}}",
        aliases="client consumers users accounts applications apps audiences service_accounts",
    ),
    Field(
        "authorizations",
        ListOf("list of authorizations", AUTHORIZATION, distinct=False),
        "Which client may have tokens for which audience, with which scopes. No authorization, no token.",
        nullable=True,
        such_as="[{client: reporting-job, audience: country-service, scopes: [country.read]}]",
        aliases="authorization permissions acl acls grants access rights allow",
    ),
    Field(
        "routes",
        ListOf("list of routes", ROUTE, distinct=False),
        "What the gate lets through. No route, no way: nothing is forwarded by default.",
        nullable=True,
        such_as="[{path: /health, upstream: country, access: public}]",
        aliases="route rules rule access_rules paths locations endpoints apis ingress",
    ),
    Field(
        "tests",
        ListOf("list of tests", TEST, distinct=False),
        "What must hold: run by `sidegate test` and before every reload.",
        nullable=True,
        such_as="[{request: GET /health, expect: allow}]",
        aliases="test cases test_cases assertions expectations",
    ),
)
