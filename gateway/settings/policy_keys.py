"""List the keys of policies, which any file may hold, and make settings of policy tests.

Those of their entries are in `client_keys`, `identity_keys` and `route_keys`. Those of the process
are in `process_keys`.
"""

from typing import Any
from urllib.parse import urlsplit

from gateway.observe.secret_parameters import mask_address
from gateway.reasons import REFUSALS
from gateway.settings.client_keys import AUTHORIZATION, CLIENT
from gateway.settings.document import MapNode, Node, ScalarNode
from gateway.settings.kinds import Text
from gateway.settings.lists import Claims, ListOf, MapOf
from gateway.settings.model import PolicyTest
from gateway.settings.problems import SpellingError
from gateway.settings.reading import FROM_ENVIRONMENT, UNREAD, UNSAID, Reading, Schema, any_of, found
from gateway.settings.route_keys import ROUTE
from gateway.settings.scalars import resolve_plain
from gateway.settings.sections import Field, Section
from gateway.settings.shared_kinds import CLIENT_ID, SCOPES, Values
from gateway.settings.texts import choose_from, parse_claim_name, parse_client_id, parse_method, parse_name


def parse_request(text: str) -> tuple[str, str]:
    """Return method and URL of `GET /path?query` or `GET http://host/path`."""
    method, _, url = text.partition(" ")
    parse_method(method)
    absolute = url.startswith(("http://", "https://")) and bool(urlsplit(url).netloc)
    if not (url.startswith("/") or absolute) or not url.isprintable() or " " in url:
        raise SpellingError("is not a request", "METHOD and path, e.g. GET /a/b, or METHOD and absolute URL")
    return method, url


def _spell_request(request: tuple[str, str]) -> str:
    method, url = request
    return f"{method} {mask_address(url)}"


class Expectation:
    """What a policy test expects: `allow`, `deny`, `{deny: reason}` or a status."""

    label = "expectation"

    def __init__(self, reasons: tuple[str, ...]) -> None:
        self._reasons = reasons
        self._parse_reason = choose_from("a reason for a refusal", reasons)

    def read(self, node: Node, reading: Reading) -> Any:
        """Return the matching attributes of a policy test."""
        if isinstance(node, MapNode):
            if list(node.members) == ["deny"]:
                reason = Text("a reason", self._parse_reason).read(node.members["deny"][1], reading)
                return UNREAD if reason is UNREAD else {"expect_allow": False, "expect_reason": reason}
        elif isinstance(node, ScalarNode):
            value = resolve_plain(node.text) if node.plain else node.text
            if value in ("allow", "deny"):
                return {"expect_allow": value == "allow"}
            if isinstance(value, int) and not isinstance(value, bool) and 200 <= value <= 599:
                return {"expect_status": value}
        reading.error(
            node, f"expected an expectation, found {found(node)}", "allow, deny, {deny: reason} or a status"
        )
        return UNREAD

    def show(self, value: Values) -> Any:
        """Return what is expected of attributes of a policy test."""
        if value["expect_reason"] is not None:
            return {"deny": value["expect_reason"]}
        if value["expect_allow"] is not None:
            return "allow" if value["expect_allow"] else "deny"
        return value["expect_status"]

    def schema(self) -> Schema:
        """Return the two words, a mapping with a reason, or a status."""
        reason = any_of({"enum": list(self._reasons)}, FROM_ENVIRONMENT)
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
        Field("name", Text("name", parse_name), "What is shown. Default: the request."),
        Field(
            "request",
            Text("request", parse_request, spell=_spell_request),
            "`METHOD /path`, or `METHOD http://host/path`.",
            required=True,
        ),
        Field("client", CLIENT_ID, "The caller, with a token as the issuer would give it."),
        Field("audience", CLIENT_ID, "The audience of that token. Default: the route's."),
        Field(
            "scopes",
            SCOPES,
            "The scopes it asks for. Null: all that it is granted for the audience.",
        ),
        Field(
            "claims",
            Claims(parse_claim_name),
            "The claims of a token that is made up for the test, in place of `client`.",
        ),
        Field(
            "expect",
            Expectation(REFUSALS),
            "`allow`, `deny`, `{deny: reason}` with a reason of the closed list, or a status.",
            required=True,
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
    ),
    Field(
        "authorizations",
        ListOf("list of authorizations", AUTHORIZATION, distinct=False),
        "Which client may have tokens for which audience, with which scopes. No authorization, no token.",
        nullable=True,
    ),
    Field(
        "routes",
        ListOf("list of routes", ROUTE, distinct=False),
        "What the gate lets through. No route, no way: nothing is forwarded by default.",
        nullable=True,
    ),
    Field(
        "tests",
        ListOf("list of tests", TEST, distinct=False),
        "What must hold: run by `sidegate test` and before every reload.",
        nullable=True,
    ),
)
