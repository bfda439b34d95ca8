"""List the keys of routes, and make settings of them."""

from gateway.settings.document import Node
from gateway.settings.kinds import OneOrMore, Text, Whole
from gateway.settings.lists import ListOf, MapOf
from gateway.settings.model import (
    Access,
    LimitBy,
    Mode,
    RateLimitSettings,
    RequireSettings,
    RewriteSettings,
    RouteSettings,
)
from gateway.settings.reading import UNSAID, Reading
from gateway.settings.sections import Field, Section
from gateway.settings.shared_kinds import (
    CLIENT_ID,
    CLIENT_SET,
    SCOPE_SET,
    TIMEOUT,
    Values,
    later_key,
    member_of,
    one_of,
)
from gateway.settings.texts import (
    parse_claim_name,
    parse_host_pattern,
    parse_method,
    parse_name,
    parse_path_prefix,
    parse_path_template,
    parse_protocol,
)


def _join_require(values: Values, _node: Node, _reading: Reading) -> None:
    # `audience` is the short form of one `any_audience`.
    audience = values.pop("audience", None)
    audiences = values.pop("any_audience", frozenset())
    values["audiences"] = audiences if audience is None else frozenset({audience})


def _part_require(require: RequireSettings) -> Values:
    if len(require.audiences) == 1:
        return {"audience": next(iter(require.audiences)), "any_audience": frozenset()}
    return {"audience": UNSAID, "any_audience": require.audiences}


REQUIRE = Section(
    "requirement",
    (
        Field(
            "audience",
            CLIENT_ID,
            "The audience that the token must be for.",
            attribute="audience",
            such_as="country-service",
            aliases="aud resource",
        ),
        Field(
            "any_audience",
            CLIENT_SET,
            "Several audiences, of which one will do.",
            such_as="[country-service, reporting-job]",
            aliases="audiences any_aud aud_any",
        ),
        Field(
            "scopes",
            SCOPE_SET,
            "Scopes that the token must have, all of them.",
            such_as="[country.read]",
            aliases="scope scp required_scope required_scopes permissions roles authorities",
        ),
        Field(
            "any_scopes",
            SCOPE_SET,
            "Scopes of which it must have at least one.",
            such_as="[country.read, country.write]",
            aliases="any_scope one_of_scopes scopes_any",
        ),
        Field(
            "claims",
            MapOf("mapping of claims", parse_claim_name, OneOrMore()),
            "Claims that must be equal to the value, or to one of a list of values.",
            such_as="{tenant: acme}",
            aliases="claim required_claims conditions",
        ),
        Field(
            "clients",
            CLIENT_SET,
            "The only clients that may call. Empty: every client with the rights.",
            such_as="[reporting-job]",
            aliases="client client_id client_ids allow allowed allowed_clients allow_list allowlist "
            "whitelist azp principals consumers subjects",
        ),
    ),
    RequireSettings(),
    _join_require,
    _part_require,
    is_sparse=True,
    one_of=(("audience", "any_audience"),),
)


REWRITE = Section(
    "rewrite",
    (
        Field(
            "strip_prefix",
            Text("path prefix", parse_path_prefix),
            "Taken from the beginning of the path.",
            such_as="/ms-system",
            aliases="strip strip_path prefix remove_prefix trim_prefix",
        ),
        Field(
            "add_prefix",
            Text("path prefix", parse_path_prefix),
            "Put before what is left.",
            such_as="/v2",
            aliases="add prepend prefix_rewrite replace_prefix",
        ),
    ),
    RewriteSettings(),
    is_sparse=True,
)


def _join_rate_limit(values: Values, _node: Node, _reading: Reading) -> None:
    values["burst"] = values.get("burst") or values["requests"]


def _part_rate_limit(limit: RateLimitSettings) -> Values:
    return {"burst": limit.burst or UNSAID}


RATE_LIMIT = Section(
    "rate limit",
    (
        Field(
            "requests",
            Whole(1, 10_000_000),
            "How many requests per period in the long run.",
            required=True,
            such_as="100",
            aliases="rate limit average rps max count requests_per_unit",
        ),
        Field(
            "per",
            TIMEOUT,
            "The period.",
            attribute="per_s",
            required=True,
            such_as="1s",
            aliases="period unit interval window every second",
        ),
        Field(
            "burst",
            Whole(1, 10_000_000),
            "How many at once after a pause. Default: `requests`.",
            such_as="200",
            aliases="max_burst bucket",
        ),
        Field(
            "by",
            member_of(LimitBy, client="consumer client_id token", peer="ip address", route="global all"),
            "Whose requests are counted together: those of one `client` (by its token; without one, of its "
            "address), of one `peer` (its address; IPv6: its /64), or all of the `route`.",
            aliases="key limit_by scope per_key source",
        ),
    ),
    RateLimitSettings(1, 1.0, 0),
    _join_rate_limit,
    _part_rate_limit,
)


def default_route_name(methods: frozenset[str] | None, host: str | None, path: str) -> str:
    """Return the name of a route that has none: `GET,HEAD api.example.com/a/{id}`."""
    place = (host or "") + path
    return f"{','.join(sorted(methods))} {place}" if methods else place


def _join_route(values: Values, _node: Node, _reading: Reading) -> None:
    if "name" not in values:
        values["name"] = default_route_name(values.get("methods"), values.get("host"), values["path"])
    for allowed in values.pop("allow_in_path", ()):
        values["allow_" + allowed] = True


def _part_route(route: RouteSettings) -> Values:
    allowed = tuple(word for word in _ALLOWED_IN_PATH if getattr(route, "allow_" + word))
    return {"name": route.name or UNSAID, "allow_in_path": allowed}


_ALLOWED_IN_PATH = ("encoded_slash", "opaque_slash", "parameters")

ROUTE = Section(
    "route",
    (
        Field(
            "name",
            Text("name", parse_name),
            "For logs, metrics and explanations. Default: from methods, host, path.",
            such_as="read-country",
            aliases="id route_name",
        ),
        Field(
            "host",
            Text("host", parse_host_pattern),
            "Only requests for this host, or with `*.example.com` for every name below it.",
            such_as="api.example.com",
            aliases="hosts hostname domain domains server_name authority virtual_host",
        ),
        Field(
            "path",
            Text("path", parse_path_template),
            "Exact segments, `{name}` for any one segment, `/**` at the end for the rest (`/x/**` also "
            "matches `/x`). The most specific route wins, wherever it is written.",
            required=True,
            such_as="/country/{code}",
            aliases="paths prefix path_prefix location uri url match pattern regex",
        ),
        Field(
            "methods",
            ListOf(
                "list of methods",
                Text("method", parse_method),
                1,
                frozenset,
                "leave the key out for all methods",
            ),
            "Only these methods; GET does not imply HEAD. Null: all methods.",
            such_as="[GET, HEAD]",
            aliases="method verbs http_methods",
        ),
        Field(
            "upstream",
            Text("name", parse_name),
            "The upstream that allowed requests go to.",
            required=True,
            such_as="country",
            aliases="service backend cluster proxy_pass proxy_to upstream_url destination target targets "
            "forward_to route action",
        ),
        Field(
            "require",
            REQUIRE,
            "What the caller's token must grant.",
            such_as="{audience: country-service, scopes: [country.read]}",
            aliases="requires required authorization authorize auth policy permissions allow jwt "
            "authenticators authorizer",
        ),
        Field(
            "access",
            member_of(
                Access,
                required="private protected authenticated token jwt",
                public="anonymous none open allow noop",
            ),
            "`required`: no token, no entry. `optional`: a token that is sent is checked, none is fine. "
            "`public`: no token is looked at, and `require` is not allowed.",
            such_as="public",
            aliases="public anonymous unauthenticated authentication protected security",
        ),
        Field(
            "rewrite",
            REWRITE,
            "How the path changes on its way to the upstream.",
            such_as="{strip_prefix: /ms-system}",
            aliases="path_rewrite url_rewrite transform",
        ),
        Field(
            "timeout",
            TIMEOUT,
            "Until the head of the response, in place of the upstream's `response_timeout`.",
            attribute="timeout_s",
            such_as="5s",
            aliases="request_timeout response_timeout read_timeout proxy_read_timeout",
        ),
        Field(
            "allow_in_path",
            ListOf("list of exceptions", one_of(*_ALLOWED_IN_PATH, parameters="semicolon matrix")),
            "What is let through although it is refused elsewhere: `encoded_slash` (`%2F`, where the path "
            "leads to this very route also when it is read as `/`), `opaque_slash` (any `%2F`: the service "
            "never decodes it), `parameters` (`;`: the service cuts them off).",
            such_as="[encoded_slash]",
        ),
        Field(
            "mode",
            member_of(Mode, enforce="enforcing on", shadow="dry_run report report_only audit permissive"),
            "`shadow`: refusals of the token, scope, claim and client checks are recorded, not carried "
            "out. A warning.",
            such_as="shadow",
            aliases="enforcement dry_run report_only shadow",
        ),
        Field(
            "upgrade",
            ListOf("list of protocols", Text("protocol", parse_protocol), into=frozenset),
            "Protocols that may be switched to, e.g. `[websocket]`; the field is dropped for all others, and "
            "beside a body it is 400 for these. Never HTTP or TLS (`h2c`, `HTTP/2.0`, `TLS/1.0`).",
            such_as="[websocket]",
            aliases="upgrades websocket websockets web_socket upgrade_configs",
        ),
        Field(
            "rate_limit",
            RATE_LIMIT,
            "How many allowed requests a client, a caller's address or all callers together may make; "
            "beyond it 429. Null: no limit.",
            aliases="limit_req rate_limiting throttle quota limits",
        ),
        later_key("resource_metadata", "Publish RFC 9728 metadata for this route."),
    ),
    RouteSettings("", "", ""),
    _join_route,
    _part_route,
    is_sparse=True,
)
